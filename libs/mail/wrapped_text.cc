#include "libs/mail/wrapped_text.h"

#include <algorithm>

namespace postfleet::mail {
namespace {

constexpr size_t kIndentBytes = 4;

// The length of the UTF-8 character at the start of `text`; 0: there is none.
size_t CharacterBytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (size == 0 || size > text.size()) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = static_cast<unsigned char>(text[1]);
  // Overlong forms, surrogates, and what is above U+10FFFF.
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
    return 0;
  }
  return size;
}

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

std::string_view WithoutBlanksAtEnd(std::string_view text) {
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

void AppendWrapped(std::string_view text, size_t line_bytes_max, std::string_view prefix,
                   std::string* out) {
  size_t line_bytes = line_bytes_max;
  bool first = true;
  while (true) {
    // The last blank at which the line still fits; else the first one.
    size_t end = text.size();
    if (text.size() > line_bytes) {
      end = text.find_last_of(" \t", line_bytes);
      if (end == std::string_view::npos || WithoutBlanksAtEnd(text.substr(0, end)).empty()) {
        end = std::min(text.find_first_of(" \t", text.find_first_not_of(" \t")), text.size());
      }
    }
    out->append(prefix);
    if (!first) out->append(kIndentBytes, ' ');
    out->append(WithoutBlanksAtEnd(text.substr(0, end)));
    out->push_back('\n');
    text.remove_prefix(end);
    while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
    if (text.empty()) return;
    if (first) line_bytes -= kIndentBytes;
    first = false;
  }
}

std::string PrintableText(std::string_view text, size_t bytes_max) {
  std::string printable;
  printable.reserve(std::min(text.size(), bytes_max));
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    const auto first = static_cast<unsigned char>(text[0]);
    const std::string_view character =
        bytes == 0 || first < 32 || first == 127 ? "?" : text.substr(0, bytes);
    if (printable.size() + character.size() > bytes_max) break;
    printable += character;
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return printable;
}

}  // namespace postfleet::mail
