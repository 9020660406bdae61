#include "libs/message/mime_structure.h"

#include "libs/message/header.h"
#include "libs/message/mime_tokens.h"

namespace postfleet::message {
namespace {

using Encoding = MimeStructure::Encoding;

struct EncodingRow {
  std::string_view name;
  Encoding encoding;
};
// RFC 2045, 6.1. Other names change nothing.
constexpr EncodingRow kEncodings[] = {{"7bit", Encoding::k7Bit},
                                      {"8bit", Encoding::k8Bit},
                                      {"binary", Encoding::kBinary},
                                      {"base64", Encoding::kBase64},
                                      {"quoted-printable", Encoding::kQuotedPrintable}};

struct MessageRow {
  std::string_view subtype;
  MimeStructure::Kind kind;
};
constexpr MessageRow kMessages[] = {{"rfc822", MimeStructure::Kind::kNestedMessage},
                                    {"global", MimeStructure::Kind::kGlobalMessage},
                                    {"partial", MimeStructure::Kind::kPartialMessage},
                                    {"external-body", MimeStructure::Kind::kPartialMessage}};

constexpr std::string_view kDashes = "--";

}  // namespace

std::string_view EncodingName(Encoding encoding) {
  for (const EncodingRow& row : kEncodings) {
    if (row.encoding == encoding) return row.name;
  }
  return "";
}

void MimeStructure::OnField(std::string_view name, std::string_view value) {
  if (EqualsIgnoreCase(name, "content-type")) ReadType(value);
  if (EqualsIgnoreCase(name, "content-transfer-encoding")) ReadEncoding(value);
}

void MimeStructure::ReadType(std::string_view value) {
  MimeTokens tokens(value, MimeTokens::kContentTypeSpecials);
  const auto type = tokens.NextItem(/*tokens_max=*/3);
  if (!type || type->empty() || (*type)[0].Is("text")) {
    kind_ = Kind::kLeaf;
    return;
  }
  const bool has_subtype = type->size() == 3 && (*type)[1].text == "/";
  if ((*type)[0].Is("message")) {
    kind_ = Kind::kMessage;
    for (const MessageRow& row : kMessages) {
      if (has_subtype && (*type)[2].Is(row.subtype)) kind_ = row.kind;
    }
  }
  if (!(*type)[0].Is("multipart")) return;
  kind_ = Kind::kMultipart;
  const Kind part = has_subtype && (*type)[2].Is("digest") ? Kind::kNestedMessage : Kind::kLeaf;
  while (const auto parameter = tokens.NextItem(/*tokens_max=*/3)) {
    if (parameter->size() < 3 || !(*parameter)[0].Is("boundary") || (*parameter)[1].text != "=") {
      continue;
    }
    if (boundaries_.size() > limits_.nesting_max + 1) {
      too_deep_ = true;
      return;
    }
    boundaries_.push_back({(*parameter)[2].text.substr(0, limits_.boundary_bytes_max), part});
  }
}

void MimeStructure::ReadEncoding(std::string_view value) {
  const auto words = MimeTokens(value, MimeTokens::kRfc822Specials).NextItem(/*tokens_max=*/1);
  if (!words || words->empty()) return;
  for (const EncodingRow& row : kEncodings) {
    if ((*words)[0].Is(row.name)) encoding_ = row.encoding;
  }
}

void MimeStructure::Enter(Kind kind, bool in_header) {
  kind_ = kind;
  encoding_ = Encoding::k7Bit;
  in_header_ = in_header;
}

void MimeStructure::OnHeaderEnd(bool empty_line, bool encoded) {
  in_header_ = false;
  // Without its empty line a header's kind is that of its body still.
  if (!empty_line) return;
  const bool message =
      kind_ == Kind::kNestedMessage || (kind_ == Kind::kGlobalMessage && !(encoded && is_8bit()));
  if (message || kind_ == Kind::kMultipart) Enter(Kind::kLeaf, message);
}

void MimeStructure::OnBodyLine(std::string_view line) {
  if (boundaries_.empty() || line.size() <= kDashes.size() || !line.starts_with(kDashes)) return;
  line.remove_prefix(kDashes.size());
  for (size_t depth = boundaries_.size(); depth > 0; --depth) {
    const std::string& boundary = boundaries_[depth - 1].text;
    if (!line.starts_with(boundary)) continue;
    boundaries_.resize(depth);
    const bool end = line.substr(boundary.size()).starts_with(kDashes);
    Enter(end ? Kind::kLeaf : boundaries_.back().part, !end);
    if (end) boundaries_.pop_back();
    return;
  }
}

}  // namespace postfleet::message
