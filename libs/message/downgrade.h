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
// Parts are found as mime_structure.h says, in the first 2048 bytes of lines; a message/global that
// is encoded is not looked into. A body of message/* that is not looked into and is declared 8bit
// is encoded although its header says 7bit, and so is a multipart's that has no empty line above
// it. `Name :` becomes `Name:` in every header that is read; a field over header_bytes_max is cut.
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

#include "libs/message/mime_structure.h"

namespace postfleet::message {

class HeaderEditor;

struct DowngradeOptions {
  size_t header_bytes_max = 102400;  // header_size_limit
  size_t boundary_bytes_max = 2048;  // mime_boundary_length_limit
  size_t nesting_max = 100;          // mime_nesting_limit
  bool convert = true;               // false: MIME is not looked at; the editor's work is all
  HeaderEditor* editor = nullptr;    // not owned; sees the fields of the message's own header
};

class Downgrade {
 public:
  static constexpr std::string_view kTooDeepText = "MIME nesting exceeds safety limit";

  explicit Downgrade(DowngradeOptions options = {})
      : options_(options), structure_({options.boundary_bytes_max, options.nesting_max}) {}

  // Appends what is ready to `*out`.
  void Take(std::string_view in, std::string* out);
  // The end of the content.
  void Finish(std::string* out);
  bool too_deep() const { return structure_.too_deep(); }

 private:
  bool PassesThrough() const {
    return !structure_.in_header() && !structure_.is_8bit() && structure_.is_last();
  }
  void Record(std::string_view text, bool ended, std::string* out);
  bool TakeHeaderRecord(std::string_view text, std::string* out);
  void AddToField(std::string_view text);
  void FlushField(std::string* out);
  void EndHeader(std::string* out);
  void StartBody(bool empty_line, std::string* out);
  void Encode(std::string_view text, bool ended, std::string* out);

  DowngradeOptions options_;
  MimeStructure structure_;
  bool primary_ = true;  // the message's own header is not over

  std::string record_;      // the start of a line whose end, or 2048 bytes of it, have not come
  bool continues_ = false;  // the next record is of the line of the last one
  std::string field_;       // the header's current field, lines joined by LF
  std::string encoded_;     // the line that the encoder writes
};

}  // namespace postfleet::message
