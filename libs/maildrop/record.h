// The records of a mail on its way through queue_directory/maildrop: a type, a length, data.
//
//   type       1 byte
//   length     of the data: 7 bits a byte, lowest first, bit 8 says that another byte follows
//   data
//
// It is the form of Postfix's own queue files, so that what waits in a maildrop when the one is
// replaced by the other is not lost, and postcat shows it. submission.h says which records stand
// where. There is no checksum: a file is synced before it gets the mode that shows it to the reader
// (files.h), so a torn one is never looked at.
//
// Pure. Input may be hostile: a record has at most kRecordBytesMax bytes of data.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace postfleet::maildrop {

inline constexpr size_t kRecordBytesMax = 64 * 1024;

enum RecordType : char {
  kTime = 'T',       // when it came: "SECONDS MICROSECONDS"; for people: readers go by the file
  kFullName = 'F',   // of the sender
  kSender = 'S',     // empty: the null sender
  kVerp = 'V',       // two delimiters
  kAttribute = 'A',  // "name=value"
  kRecipient = 'R',
  kContents = 'M',   // empty: the envelope is over
  kText = 'N',       // a line of the contents, without its end
  kTextPart = 'L',   // the start of a line that goes on in the next record
  kExtracted = 'X',  // empty: the contents are over; recipients from its header follow
  kEnd = 'E',        // empty: that was all
};

void AppendRecord(RecordType type, std::string_view data, std::string* out);

// Cuts bytes that come in any pieces into records.
class RecordReader {
 public:
  enum Result {
    kNeedMore,
    kRecord,
    kBroken,  // a length that is too long; stays so
  };

  void Feed(std::string_view bytes) { buffer_.append(bytes); }
  // After kRecord: type() and data() until the next call of Feed or Next.
  Result Next();

  char type() const { return type_; }
  std::string_view data() const { return data_; }
  // Bytes that are no whole record yet.
  bool pending() const { return at_ < buffer_.size(); }

 private:
  std::string buffer_;
  size_t at_ = 0;
  char type_ = 0;
  std::string_view data_;
};

}  // namespace postfleet::maildrop
