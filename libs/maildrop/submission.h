// What a mail in maildrop says (record.h), in this order:
//
//   envelope     T F S V A R in any order, at least one S; the last S counts
//   contents     M, then N and L
//   extracted    X, then R: recipients that `sendmail -t` found in the header
//   end          E, and nothing behind it; at least one R above
//
// Attributes: encoding=7bit|8bit, rewrite_context=local|remote, envelope_id=, ret_flags= (RFC 3461:
// 1 FULL, 2 HDRS), trace_flags=, and of the next recipient dsn_orig_rcpt= and notify_flags= (sums
// of 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY). Others say nothing and are left out.
//
// Pure. Input may be hostile: it is bounded (recipients, bytes of the envelope), and an error is a
// value: InvalidArgument, "unexpected record type: 84", in Postfix's words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "libs/maildrop/record.h"

namespace postfleet::maildrop {

inline constexpr size_t kRecipientsMax = 100'000;
inline constexpr size_t kEnvelopeBytesMax = 16u << 20;

struct Recipient {
  std::string address;   // internal form, as it was said: not completed
  uint32_t notify = 0;   // 0: not said
  std::string original;  // of ORCPT, "rfc822;user@example.com"
};

struct Envelope {
  std::string sender;  // as it was said; "": the null sender
  std::string full_name;
  std::string verp;  // "+="; empty: no VERP
  std::string envelope_id;
  uint32_t dsn_return = 0;   // 0: not said
  bool body_8bit = false;    // said to be so
  bool body_7bit = false;    // the same
  bool is_remote = false;    // `sendmail -G`
  bool wants_probe = false;  // `sendmail -bv`: nothing is to be delivered
  bool wants_trace = false;  // `sendmail -v`: a report is to be mailed
  std::vector<Recipient> recipients;
};

// Which record may come next.
class RecordOrder {
 public:
  absl::Status Accept(char type);
  bool in_contents() const { return part_ == Part::kContents; }
  bool done() const { return part_ == Part::kEnd; }

 private:
  enum class Part { kEnvelope, kContents, kExtracted, kEnd };
  Part part_ = Part::kEnvelope;
  bool has_sender_ = false;
  bool has_recipient_ = false;
};

// True: the attribute is one of those above.
bool IsKnownAttribute(std::string_view text);

// Reads a whole mail, in any pieces.
class SubmissionReader {
 public:
  // Appends what it has of the contents to `*contents`: lines that end with LF.
  absl::Status Take(std::string_view bytes, std::string* contents);
  // No more comes. Error: something is missing.
  absl::Status Finish() const;

  // All but the extracted recipients are there.
  bool envelope_known() const { return envelope_known_; }
  const Envelope& envelope() const { return envelope_; }
  Envelope& envelope() { return envelope_; }

 private:
  absl::Status TakeRecord(char type, std::string_view data, std::string* contents);
  absl::Status TakeAttribute(std::string_view text);
  absl::Status Count(size_t bytes);

  RecordReader reader_;
  RecordOrder order_;
  Envelope envelope_;
  Recipient next_;  // its attributes come first
  size_t envelope_bytes_ = 0;
  bool envelope_known_ = false;
};

}  // namespace postfleet::maildrop
