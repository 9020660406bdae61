// A message on sendmail's standard input, made into the records of its contents (libs/maildrop):
// line by line, in any pieces, a long line in several records.
//
//   `From ` and `>From ` lines in front   go
//   a line with a dot alone               ends the message, unless -i was said
//   CR before LF                          goes (sendmail_fix_line_endings)
//   To, Cc, Bcc of the header             are recipients, where -t was said; of a header with
//                                         Resent-To, -Cc or -Bcc only these are. Bcc fields stay
//                                         here: cleanup drops them
//
// Pure. Memory: one line of line_bytes_max, with -t one field of header_bytes_max, and recipients
// of kRecipientsBytesMax.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace postfleet::commands {

struct SendmailTextOptions {
  enum class LineEnds {
    kAlways,  // CRs before LF go
    kStrict,  // if the first line has one
    kNever,
  };
  bool dot_ends = true;
  LineEnds line_ends = LineEnds::kAlways;
  size_t line_bytes_max = 2048;  // line_length_limit
  bool recipients_in_header = false;
  size_t header_bytes_max = 102'400;  // header_size_limit
  size_t tokens_max = 10'240;         // header_address_token_limit
};

// "always", "strict", "never"; false: none of these.
bool ParseLineEnds(std::string_view word, SendmailTextOptions::LineEnds* line_ends);

// The addresses of a list in internal form, not completed.
std::vector<std::string> ReadAddresses(std::string_view list, size_t tokens_max);

class SendmailText {
 public:
  static constexpr size_t kRecipientsBytesMax = 8u << 20;

  explicit SendmailText(const SendmailTextOptions& options) : options_(options) {}

  // Appends records to `*records`. What is behind the end is thrown away.
  void Take(std::string_view bytes, std::string* records);
  // No more comes.
  void Finish(std::string* records);
  // A dot was read.
  bool ended() const { return ended_; }

  // Of the header, in their order. Error: a field or all of them are too long to be read.
  absl::Status header_status() const { return header_status_; }
  const std::vector<std::string>& recipients() const { return resent_.empty() ? plain_ : resent_; }

 private:
  void TakeLine(bool whole, std::string* records);
  void SeeHeader(std::string_view line, bool whole, bool starts);
  void EndField();

  const SendmailTextOptions options_;
  std::string line_;
  bool in_line_ = false;    // a part of the line was given out
  bool in_front_ = true;    // only lines that go so far
  bool dropping_ = false;   // the rest of such a line
  bool first_ = true;       // of all lines
  bool strips_cr_ = false;  // as the first line had one
  bool ended_ = false;
  bool in_header_ = true;
  std::string field_;
  size_t field_bytes_ = 0;
  size_t recipients_bytes_ = 0;
  std::vector<std::string> plain_;
  std::vector<std::string> resent_;
  absl::Status header_status_;
};

}  // namespace postfleet::commands
