// Iteration over the header fields of stored content (RFC 5322, 2.2; lines ended by LF).
//
// A field is its first line and the continuation lines (which start with a blank or tab). The
// header section ends before an empty line, before the first line that is no field, or with the
// content. Views point into the content; nothing is copied or unfolded.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace postfleet::message {

struct HeaderField {
  std::string_view name;   // without blanks before the colon
  std::string_view value;  // behind the colon, without blanks around, with inner LF and folding
  std::string_view raw;    // everything, the last LF included (if there is one)
};

// for (HeaderReader r(content); r.Next();) use(r.field());
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view content) : content_(content) {}
  bool Next();
  const HeaderField& field() const { return field_; }
  // Offset of what follows the last field: the empty line, or the body. Final once Next was false.
  size_t offset() const { return offset_; }
  // Where the body starts: behind the empty line if there is one. After Next was false.
  size_t body_offset() const;

 private:
  std::string_view content_;
  size_t offset_ = 0;
  HeaderField field_;
};

// The length of a field name at the start of `line`, as Postfix reads it: printable ASCII without
// blank and colon, then blanks or tabs, then a colon. 0: not a field. The colon must lie within
// `line`.
size_t FieldNameLength(std::string_view line);

// ASCII letters compare without case.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);

// `value` in one line: LF, CR and the folding's blanks become one blank.
std::string Unfold(std::string_view value);

// The first field of this name, or an empty one (raw is empty).
HeaderField FindHeader(std::string_view content, std::string_view name);
// One of the fields of this name has this value (case ignored, trimmed): local's Delivered-To loop
// check.
bool HasHeaderValue(std::string_view content, std::string_view name, std::string_view value);

}  // namespace postfleet::message
