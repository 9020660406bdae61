#include "libs/message/header.h"

#include <algorithm>

namespace postfleet::message {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t'; }
bool IsSpace(char c) { return IsBlank(c) || c == '\n' || c == '\r'; }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

size_t FieldNameLength(std::string_view line) {
  size_t length = 0;
  while (length < line.size() && line[length] > ' ' && line[length] < 127 && line[length] != ':')
    ++length;
  size_t colon = length;
  while (colon < line.size() && IsBlank(line[colon])) ++colon;
  return colon < line.size() && line[colon] == ':' ? length : 0;
}

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return Lower(x) == Lower(y); });
}

std::string Unfold(std::string_view value) {
  std::string line;
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '\n' && value[i] != '\r') {
      line.push_back(value[i]);
      continue;
    }
    while (i + 1 < value.size() && IsSpace(value[i + 1])) ++i;
    while (!line.empty() && IsBlank(line.back())) line.pop_back();
    line.push_back(' ');
  }
  return line;
}

bool HeaderReader::Next() {
  const std::string_view rest = content_.substr(offset_);
  size_t end = std::min(rest.find('\n'), rest.size());
  const size_t name_length = FieldNameLength(rest.substr(0, end));
  if (name_length == 0) return false;
  while (end + 1 < rest.size() && IsBlank(rest[end + 1]))
    end = std::min(rest.find('\n', end + 1), rest.size());
  end = std::min(end + 1, rest.size());
  field_.raw = rest.substr(0, end);
  field_.name = field_.raw.substr(0, name_length);
  field_.value = Trim(field_.raw.substr(field_.raw.find(':') + 1));
  offset_ += end;
  return true;
}

size_t HeaderReader::body_offset() const {
  return offset_ < content_.size() && content_[offset_] == '\n' ? offset_ + 1 : offset_;
}

HeaderField FindHeader(std::string_view content, std::string_view name) {
  for (HeaderReader reader(content); reader.Next();) {
    if (EqualsIgnoreCase(reader.field().name, name)) return reader.field();
  }
  return {};
}

bool HasHeaderValue(std::string_view content, std::string_view name, std::string_view value) {
  for (HeaderReader reader(content); reader.Next();) {
    if (EqualsIgnoreCase(reader.field().name, name) &&
        EqualsIgnoreCase(reader.field().value, Trim(value)))
      return true;
  }
  return false;
}

}  // namespace postfleet::message
