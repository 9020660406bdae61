// Content for a server without 8BITMIME (RFC 6152, 3): what MIME declares as 8bit or binary becomes
// quoted-printable (RFC 2045, 6.7), in one pass, as Postfix converts it.
//
//   leaf, message/global      its Content-Transfer-Encoding: 8bit or binary goes, quoted-printable
//                             comes at the end of that header, and the body is encoded
//
//   multipart/*, message/*    the same, but 7bit comes: the parts speak for themselves
//
//   anything else             stays, bytes over 127 too: without a declaration nobody knows what
//                             they are. A header's bytes always stay
//
// Parts are found by their boundaries; a message in message/rfc822, and in a message/global that is
// not encoded, by the empty line. Other kinds of message/* are not looked into: a body of theirs
// that is declared 8bit is encoded although its header says 7bit, and so is a multipart's that has
// no empty line above it. Boundaries are compared by their first boundary_bytes_max bytes, within a
// line's first 2048 bytes. `Name :` becomes `Name:` in every header that is read; a field over
// header_bytes_max is cut.
//
// Input and output: lines ended by LF; an unfinished last line gets its LF. Any split of the input
// gives the same output. Linear time; memory: one header field, one line of 2048 bytes, nesting_max
// boundaries. Lines that come out of the encoder have 76 bytes at most.
//
// Error: too_deep(), status 5.6.0 and kTooDeepText; the output is worth nothing from there on.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::message {

class HeaderEditor;

struct DowngradeOptions {
  size_t header_bytes_max = 102400;  // header_size_limit
  size_t boundary_bytes_max = 2048;  // mime_boundary_length_limit
  size_t nesting_max = 100;          // two more than this are taken; mime_nesting_limit
  bool convert = true;               // false: MIME is not looked at; the editor's work is all
  HeaderEditor* editor = nullptr;    // not owned; sees the fields of the message's own header
};

class Downgrade {
 public:
  static constexpr std::string_view kTooDeepText = "MIME nesting exceeds safety limit";

  explicit Downgrade(DowngradeOptions options = {}) : options_(options) {}

  // Appends what is ready to `*out`.
  void Take(std::string_view in, std::string* out);
  // The end of the content.
  void Finish(std::string* out);
  bool too_deep() const { return too_deep_; }

 private:
  enum class State { kPrimaryHeader, kPartHeader, kBody };
  enum class Kind { kLeaf, kMessage, kNestedMessage, kGlobalMessage, kMultipart };
  struct Boundary {
    std::string text;
    Kind part;  // of the parts, unless their headers say otherwise
  };

  bool PassesThrough() const { return state_ == State::kBody && !encoding_ && boundaries_.empty(); }
  void Record(std::string_view text, bool ended, std::string* out);
  bool TakeHeaderRecord(std::string_view text, std::string* out);
  void AddToField(std::string_view text);
  void FlushField(std::string* out);
  void ReadContentType(std::string_view value);
  void ReadEncoding(std::string_view value);
  void EndHeader(std::string* out);
  void StartBody(bool empty_line, std::string* out);
  void FindBoundary(std::string_view line);
  void Encode(std::string_view text, bool ended, std::string* out);

  DowngradeOptions options_;
  State state_ = State::kPrimaryHeader;
  Kind kind_ = Kind::kLeaf;           // of the entity that is read
  bool encoding_ = false;             // it is declared 8bit or binary
  std::vector<Boundary> boundaries_;  // innermost last
  bool too_deep_ = false;

  std::string record_;      // the start of a line whose end, or 2048 bytes of it, have not come
  bool continues_ = false;  // the next record is of the line of the last one
  std::string field_;       // the header's current field, lines joined by LF
  std::string encoded_;     // the line that the encoder writes
};

}  // namespace postfleet::message
