// What cleanup does to mail, as a stream between DataReader (LF lines) and the stored content. To
// mail of all SMTP clients:
//
//   prepended fields                 first, as given (Received, PREPEND actions)
//
//   first line `From ` or `>From `   X-Mailbox-Line: From … (SMTP); left out with kDelete
//   (sendmail:
//                                    all such lines)
//
//   dropped fields                   message_drop_headers: bcc, content-length, resent-bcc,
//                                    return-path
//
//   `Name : v`                       `Name: v`
//
//   a field over header_size_limit   cut there, the rest lost
//
//   body right under the header      an empty line goes in front; also of a first line that is no
//                                    field or starts with a blank
//
//   CR (line ends are LF here)       a blank, in header and body; NUL is never touched
//
// To mail of local origin (local_header_rewrite_clients), where CleanupOptions ask for it:
// incomplete addresses of header fields are completed (address_rewriting.h), missing fields are
// added (missing_fields.h).
//
// Bounded memory: one header field (at most header_bytes_max and a little) while in the header,
// nothing in the body. Any split of the input gives the same output. Body bytes pass in bulk: one
// memchr for CR, one memcpy; or FilterBody in place without any copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/message/address_rewriting.h"
#include "libs/message/known_fields.h"
#include "libs/message/missing_fields.h"

namespace postfleet::message {

// Sees every field that is kept; for header_checks, rewriting and milters. Fields are complete
// (continuations included), without the last LF.
class HeaderEditor {
 public:
  virtual ~HeaderEditor() = default;
  // May change `*field` (to several fields, LF between them) or empty it: then it is left out.
  virtual void OnField(std::string_view name, std::string* field) = 0;
  // Before the empty line: what is appended to `*fields` (each field with its LF) follows the
  // header.
  virtual void OnHeaderEnd(std::string* fields) = 0;
};

struct CleanupOptions {
  std::vector<std::string> drop_headers = {"bcc", "content-length", "resent-bcc",
                                           "return-path"};  // lower case
  size_t header_bytes_max = 102400;                         // header_size_limit
  int hop_count_max = 50;        // hopcount_limit; reached = too many, our own Received counted
  bool replace_stray_cr = true;  // cleanup_replace_stray_cr_lf
  enum class MailboxLines { kRename, kDelete };
  MailboxLines mailbox_lines = MailboxLines::kRename;
  const AddressRewriting* rewriting = nullptr;  // not owned; null: addresses stay as they came
  std::optional<MissingFields> missing;         // nullopt: nothing is added
  HeaderEditor* editor = nullptr;               // not owned
};

class Cleanup {
 public:
  // `prepended`: whole fields with LF ends; written before anything else. Its Received fields count
  // as hops.
  Cleanup(CleanupOptions options, std::string prepended);

  // Appends filtered content to `*out`.
  void Append(std::string_view in, std::string* out);
  // The end of content: flushes an unfinished field and gives an unfinished last line its LF.
  // A message that is header only gets no empty line, as in Postfix.
  void Finish(std::string* out);

  // The header is over: from here FilterBody may be used in place of Append, on a writable buffer,
  // with no copy.
  bool in_body() const { return state_ == State::kBody; }
  void FilterBody(char* data, size_t size);

  // Known when in_body() or after Finish; before, so far.
  bool too_many_hops() const { return hops_ >= options_.hop_count_max; }
  int hop_count() const { return hops_; }  // Received fields, ours included
  const std::string& message_id() const {
    return message_id_;
  }  // the first Message-Id's value, or the one that was added, for the log; "" if none
  const std::string& resent_message_id() const { return resent_message_id_; }
  bool header_has_8bit() const { return header_8bit_; }
  // A Content-Transfer-Encoding of the header (not of parts) is 8bit or binary: whoever sends the
  // message on declares it so, whatever its client did.
  bool says_8bit() const { return says_8bit_; }
  bool body_has_8bit() const { return body_8bit_; }
  bool header_was_cut() const { return header_cut_; }
  uint64_t output_bytes() const { return output_bytes_; }

 private:
  enum class State { kFirstLine, kHeader, kBody };

  size_t TakeHeaderBytes(std::string_view in, std::string* out);
  void HeaderLine(std::string* out);
  void StartField(size_t name_length);
  void AddToField(std::string_view bytes);
  void FlushField(std::string* out);
  bool IsDropped() const;
  bool FieldSays8Bit() const;
  void EndHeader(bool add_empty_line, std::string* out);
  void AddMissing(std::string* out);
  void AppendBody(std::string_view in, std::string* out);
  void NoteBody(const char* data, size_t size);
  void WritePrepended(std::string* out);

  CleanupOptions options_;
  std::string prepended_;
  State state_ = State::kFirstLine;
  bool prepended_written_ = false;

  std::string line_;        // the current line's first bytes, until its kind is known
  bool in_line_ = false;    // inside a long line of field_: bytes up to the LF belong to it
  bool skip_line_ = false;  // inside a long line that is left out
  std::string field_;       // the current field, lines joined by LF
  size_t name_length_ = 0;  // of field_'s name
  std::string name_;        // that, in lower case
  bool body_takes_newline_ = false;  // the line that opened the body has its LF still to come
  bool last_byte_lf_ = true;

  int hops_ = 0;
  std::string message_id_;
  std::string resent_message_id_;
  bool header_8bit_ = false;
  bool says_8bit_ = false;
  bool body_8bit_ = false;
  bool header_cut_ = false;
  uint8_t seen_ = 0;  // SeenField, dropped ones too
  uint64_t output_bytes_ = 0;
};

}  // namespace postfleet::message
