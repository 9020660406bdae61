#include "libs/message/downgrade.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/mail/address.h"
#include "libs/message/cleanup.h"
#include "libs/message/header.h"

namespace postfleet::message {
namespace {

// line_length_limit: Postfix sees lines in records of that size; a field's name or a boundary must
// lie in the first one.
constexpr size_t kRecordBytesMax = 2048;
// A soft line break comes before what would follow this many bytes: with the longest last character
// and the `=` a line has 76.
constexpr size_t kEncodedBytesMax = 72;
constexpr char kHexDigits[] = "0123456789ABCDEF";

constexpr std::string_view kContentTransferEncoding = "content-transfer-encoding";

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

void AppendEscaped(std::string* out, char c) {
  const auto byte = static_cast<unsigned char>(c);
  out->append({'=', kHexDigits[byte >> 4], kHexDigits[byte & 15]});
}

}  // namespace

void Downgrade::Take(std::string_view in, std::string* out) {
  while (!in.empty()) {
    if (PassesThrough()) {
      out->append(in);
      continues_ = in.back() != '\n';
      return;
    }
    const std::string_view room = in.substr(0, kRecordBytesMax - record_.size());
    const size_t newline = room.find('\n');
    if (newline == std::string_view::npos) {
      record_.append(room);
      in.remove_prefix(room.size());
      if (record_.size() < kRecordBytesMax) return;
      Record(record_, /*ended=*/false, out);
      record_.clear();
      continue;
    }
    if (record_.empty()) {
      Record(room.substr(0, newline), /*ended=*/true, out);
    } else {
      record_.append(room.substr(0, newline));
      Record(record_, /*ended=*/true, out);
      record_.clear();
    }
    in.remove_prefix(newline + 1);
  }
}

void Downgrade::Finish(std::string* out) {
  if (continues_ || !record_.empty()) {
    Record(record_, /*ended=*/true, out);
    record_.clear();
  }
  if (!structure_.in_header()) return;
  FlushField(out);
  EndHeader(out);
  structure_.OnHeaderEnd(/*empty_line=*/false);
  primary_ = false;
}

// `text`: a line, or a piece of one that is not `ended`.
void Downgrade::Record(std::string_view text, bool ended, std::string* out) {
  if (!structure_.in_header() || !TakeHeaderRecord(text, out)) {
    if (!continues_) structure_.OnBodyLine(text);
    if (structure_.is_8bit()) {
      Encode(text, ended, out);
    } else {
      out->append(text);
      if (ended) out->push_back('\n');
    }
  }
  continues_ = !ended;
}

// False: the header ended above `text`.
bool Downgrade::TakeHeaderRecord(std::string_view text, std::string* out) {
  if (!field_.empty()) {
    if (continues_) {
      AddToField(text);
      return true;
    }
    if (!text.empty() && IsBlank(text[0])) {
      AddToField("\n");
      AddToField(text);
      return true;
    }
    FlushField(out);
  }
  if (const size_t name_length = FieldNameLength(text)) {
    field_.assign(text, 0, name_length);
    AddToField(text.substr(text.find(':', name_length)));
    return true;
  }
  EndHeader(out);
  StartBody(text.empty(), out);
  return false;
}

void Downgrade::AddToField(std::string_view text) {
  const size_t bytes_max = std::max(options_.header_bytes_max, kRecordBytesMax);
  field_.append(text.substr(0, bytes_max - std::min(field_.size(), bytes_max)));
}

void Downgrade::FlushField(std::string* out) {
  // A field that was cut behind a line end must not end the header.
  while (!field_.empty() && field_.back() == '\n') field_.pop_back();
  if (field_.empty()) return;
  const size_t colon = field_.find(':');
  const std::string_view name = std::string_view(field_).substr(0, colon);
  const std::string_view value = std::string_view(field_).substr(colon + 1);
  bool kept = true;
  if (options_.convert) {
    structure_.OnField(name, value);
    kept = !structure_.is_8bit() || !EqualsIgnoreCase(name, kContentTransferEncoding);
  }
  if (kept && primary_ && options_.editor != nullptr) {
    options_.editor->OnField(mail::LowerCasedAscii(name), &field_);
    kept = !field_.empty();
  }
  if (kept) out->append(field_).push_back('\n');
  field_.clear();
}

void Downgrade::EndHeader(std::string* out) {
  if (!structure_.is_8bit()) return;
  out->append("Content-Transfer-Encoding: ");
  // RFC 6532, 3.7: message/global may be encoded.
  const bool whole = structure_.kind() == MimeStructure::Kind::kLeaf ||
                     structure_.kind() == MimeStructure::Kind::kGlobalMessage;
  out->append(whole ? "quoted-printable\n" : "7bit\n");
}

void Downgrade::StartBody(bool empty_line, std::string* out) {
  structure_.OnHeaderEnd(empty_line, /*encoded=*/true);
  // Parts keep their bytes: they may be signed.
  if (std::exchange(primary_, false) && !empty_line) out->push_back('\n');
}

void Downgrade::Encode(std::string_view text, bool ended, std::string* out) {
  for (char c : text) {
    if (encoded_.size() > kEncodedBytesMax) {
      out->append(encoded_).append("=\n");
      encoded_.clear();
    }
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 32 && c != '\t') || c == '=' || byte > 126) {
      AppendEscaped(&encoded_, c);
    } else {
      encoded_.push_back(c);
    }
  }
  if (!ended) return;
  // RFC 2045, 6.7, rule 3.
  if (!encoded_.empty() && IsBlank(encoded_.back())) {
    const char blank = encoded_.back();
    encoded_.pop_back();
    AppendEscaped(&encoded_, blank);
  }
  out->append(encoded_).push_back('\n');
  encoded_.clear();
}

}  // namespace postfleet::message
