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
//   a NUL in a field                 ends that line of it, the rest is lost
//
//   body right under the header      an empty line goes in front; also of a first line that is no
//                                    field or starts with a blank
//
//   headers of parts (MIME)          the same for `Name :`, size and NUL; nothing is dropped or put
//                                    in front
//
//   CR (line ends are LF here)       a blank, in header and body
//
//   message_strip_characters         gone, in our own fields on top, too
//
// What is on top is the start of the header: it is cut and dropped as the rest. Where options ask
// for it, defects of content are noted (strict_7bit_headers and its kin): the caller refuses it.
//
// To mail of local origin (local_header_rewrite_clients), where CleanupOptions ask for it:
// incomplete addresses of header fields are completed (address_rewriting.h), missing fields are
// added (missing_fields.h).
//
// Bounded memory: one header field (at most header_bytes_max and a little) and one line of
// line_bytes_max, mime_structure.h's boundaries, kNotesMax notes. Any split of the input gives the
// same output. Linear time. What cannot have parts passes in bulk: one memchr for CR, one memcpy;
// or FilterBody in place without any copy. Of a multipart each line's first bytes are looked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/message/address_rewriting.h"
#include "libs/message/character_filter.h"
#include "libs/message/known_fields.h"
#include "libs/message/mime_structure.h"
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

// What is wrong with content, where it is asked for. The first of them is the reason that a client
// is told.
enum class Defect { kNesting, kHeader8Bit, kBody8Bit, kEncodingDomain, kCharacter };
std::string_view DefectText(Defect defect);

// What is to be logged.
struct CleanupNote {
  enum Kind { kMessageId, kResentMessageId, kDefect };
  Kind kind = kMessageId;
  std::string text;  // an id as it came, "<>": there is none; of a defect the text that has it
  Defect defect = Defect::kNesting;
};

struct CleanupOptions {
  std::vector<std::string> drop_headers = {"bcc", "content-length", "resent-bcc",
                                           "return-path"};  // lower case
  size_t header_bytes_max = 102400;                         // header_size_limit
  int hop_count_max = 50;        // hopcount_limit; reached = too many, our own Received counted
  bool replace_stray_cr = true;  // cleanup_replace_stray_cr_lf
  size_t line_bytes_max = 2048;  // line_length_limit: a name or a boundary must lie in these bytes
  bool mime = true;              // false: disable_mime_input_processing
  MimeStructure::Limits mime_limits;
  bool refuse_header_8bit = false;      // strict_7bit_headers
  bool refuse_body_8bit = false;        // strict_8bitmime_body
  bool refuse_encoding_domain = false;  // strict_mime_encoding_domain
  std::string strip_bytes;              // message_strip_characters
  std::string reject_bytes;             // message_reject_characters
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

  // Nothing but body follows: from here FilterBody may be used in place of Append, on a writable
  // buffer, with no copy.
  bool in_body() const { return state_ == State::kBody && filter_.idle(); }
  void FilterBody(char* data, size_t size);

  // What was met since the last call, at most kNotesMax in all.
  static constexpr size_t kNotesMax = 100;
  std::vector<CleanupNote> TakeNotes() { return std::exchange(notes_, {}); }

  // All of these so far.
  bool too_many_hops() const { return hops_ >= options_.hop_count_max; }
  int hop_count() const { return hops_; }  // Received fields, ours included
  // Why it is to be refused.
  std::optional<Defect> defect() const;
  bool header_has_8bit() const { return header_8bit_; }  // headers of parts, too
  // A Content-Transfer-Encoding, also of a part, is 8bit or binary: whoever sends the message on
  // declares it so, whatever its client did (detect_8bit_encoding_header). As Postfix reads it:
  // with a comment or blanks behind it, it is another word.
  bool says_8bit() const { return says_8bit_; }
  bool body_has_8bit() const { return body_8bit_; }
  bool header_was_cut() const { return header_cut_; }
  uint64_t output_bytes() const { return output_bytes_; }

 private:
  // kLines: a body whose lines are looked at.
  enum class State { kFirstLine, kHeader, kLines, kBody };
  // Where the rest of a line goes whose first line_bytes_max bytes were taken.
  enum class Rest { kNone, kField, kSkipped, kBody };

  void Take(std::string_view in, std::string* out);
  size_t TakeHeaderBytes(std::string_view in, std::string* out);
  size_t TakeRest(std::string_view in, std::string* out);
  size_t TakeBodyLine(std::string_view in, std::string* out);
  bool GatherLine(std::string_view in, size_t* taken);
  void HeaderLine(std::string* out);
  void BodyLine(std::string_view line, std::string* out);
  void StartField(size_t name_length);
  void AddToField(std::string_view bytes);
  void FlushField(std::string* out);
  void NoteField(std::string_view name);
  void NoteMessageId(CleanupNote::Kind kind, std::string_view id);
  void AddNote(CleanupNote note);
  void AddDefect(Defect defect, std::string_view text);
  bool IsDropped() const;
  void EndHeader(bool empty_line, std::string* out);
  void CheckDomain();
  void ChooseBodyState();
  void AddMissing(std::string* out);
  void AppendBody(std::string_view in, std::string* out);
  void NoteBody(const char* data, size_t size);
  void WritePrepended(std::string* out);

  CleanupOptions options_;
  CharacterFilter filter_;
  MimeStructure structure_;
  std::string prepended_;
  State state_ = State::kFirstLine;
  bool primary_ = true;  // the message's own header is not over
  bool prepended_written_ = false;

  std::string line_;    // the current line's first bytes, until its kind is known
  bool ended_ = false;  // line_ is whole
  Rest rest_ = Rest::kNone;
  std::string field_;             // the current field, lines joined by LF
  bool field_line_over_ = false;  // by a NUL
  size_t name_length_ = 0;        // of field_'s name
  std::string name_;              // that, in lower case
  bool last_byte_lf_ = true;

  int hops_ = 0;
  std::vector<CleanupNote> notes_;
  size_t notes_made_ = 0;
  uint32_t defects_ = 0;  // bits of Defect
  bool says_8bit_ = false;
  bool header_8bit_ = false;
  bool body_8bit_ = false;
  bool header_cut_ = false;
  uint8_t seen_ = 0;  // SeenField, dropped ones too
  uint64_t output_bytes_ = 0;
};

}  // namespace postfleet::message
