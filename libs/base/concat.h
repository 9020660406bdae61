// Text from parts. Debian builds abseil with its own string_view, so absl::StrCat takes no
// std::string_view past its fifth argument; this takes any number of them, beside numbers and
// characters.
#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

namespace postfleet {

inline void AppendPart(std::string* text, std::string_view part) { text->append(part); }
inline void AppendPart(std::string* text, char part) { text->push_back(part); }
template <std::integral Integer>
requires(!std::same_as<Integer, bool> &&
         !std::same_as<Integer, char>) void AppendPart(std::string* text, Integer part) {
  char digits[24];
  text->append(digits, std::to_chars(digits, digits + sizeof(digits), part).ptr);
}

template <typename... Parts>
void ConcatTo(std::string* text, const Parts&... parts) {
  (AppendPart(text, parts), ...);
}

template <typename... Parts>
std::string Concat(const Parts&... parts) {
  std::string text;
  (AppendPart(&text, parts), ...);
  return text;
}

}  // namespace postfleet
