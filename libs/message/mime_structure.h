// Where the headers and bodies of a MIME message are (RFC 2045, RFC 2046), as Postfix reads it:
// nothing is refused, what is wrong is not seen.
//
// The caller has the text and cuts it into fields and lines; this says what comes next. Parts are
// found by their boundaries; a message in message/rfc822 and message/global by the empty line.
// Other kinds of message/* are not looked into. Boundaries are compared by their first
// boundary_bytes_max bytes; a header without an empty line ends at its first line that is no field.
// Names, types and encodings compare without case; what is neither text nor message nor multipart
// leaves the kind as it was.
//
// Memory: nesting_max + 2 boundaries. Time: for a field its length, for a line that begins with
// `--` at most the length of those boundaries, for others nothing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::message {

class MimeStructure {
 public:
  enum class Kind {
    kLeaf,
    kMessage,         // opaque, of a type that is not known
    kPartialMessage,  // message/partial, message/external-body: opaque, too
    kNestedMessage,   // message/rfc822
    kGlobalMessage,   // RFC 6532
    kMultipart,
  };
  enum class Encoding { k7Bit, k8Bit, kBinary, kQuotedPrintable, kBase64 };
  struct Limits {
    size_t boundary_bytes_max = 2048;  // mime_boundary_length_limit
    size_t nesting_max = 100;  // mime_nesting_limit; two more are taken, what is deeper is not seen
  };

  MimeStructure() = default;
  explicit MimeStructure(Limits limits) : limits_(limits) {}

  // A field of the current header, its value behind the colon.
  void OnField(std::string_view name, std::string_view value);
  // The header is over: by an empty line, or by a line that is the body's. A header follows at
  // once: in_header(). `encoded`: a message/global that is not 7bit is not looked into.
  void OnHeaderEnd(bool empty_line, bool encoded = false);
  // The start of a line in a body, at least boundary_bytes_max + 4 bytes of it. A boundary changes
  // what follows the line.
  void OnBodyLine(std::string_view line);

  bool in_header() const { return in_header_; }
  // No boundary is looked for: all that follows is body, if in_header() is false.
  bool is_last() const { return boundaries_.empty(); }
  Kind kind() const { return kind_; }
  // As it was said of the current entity.
  Encoding encoding() const { return encoding_; }
  // Bytes over 127 are declared.
  bool is_8bit() const { return encoding_ == Encoding::k8Bit || encoding_ == Encoding::kBinary; }
  bool too_deep() const { return too_deep_; }  // so far

 private:
  struct Boundary {
    std::string text;
    Kind part;  // of the parts, unless their headers say otherwise
  };
  void ReadType(std::string_view value);
  void ReadEncoding(std::string_view value);
  void Enter(Kind kind, bool in_header);

  Limits limits_;
  bool in_header_ = true;
  Kind kind_ = Kind::kLeaf;
  Encoding encoding_ = Encoding::k7Bit;
  std::vector<Boundary> boundaries_;  // innermost last
  bool too_deep_ = false;
};

// "7bit", "quoted-printable"…
std::string_view EncodingName(MimeStructure::Encoding encoding);

}  // namespace postfleet::message
