// message_strip_characters and message_reject_characters (postconf(5)): bytes that content must not
// have. Lines are ended by LF, which belongs to none of them and is never taken off.
//
// Any split of the input gives the same. Memory: the start of a line, for the log.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace postfleet::message {

// A set of bytes by Postfix's escapes: \a \b \f \n \r \t \v \\ \ddd (up to three octal digits); any
// other character stands for itself. nullopt: a backslash without any of those behind it, or a
// number over 255.
std::optional<std::string> ParseCharacters(std::string_view text);

class CharacterFilter {
 public:
  static constexpr size_t kShownBytesMax = 200;

  CharacterFilter(std::string_view strip, std::string_view reject);

  // Neither set has anything.
  bool idle() const { return idle_; }
  // Appends what is left of `in` to `*out`; from the first byte on that is rejected nothing.
  void Take(std::string_view in, std::string* out);
  // The end of the content, or of a piece of it that ends a line.
  void Finish();
  // The first line with a byte that is rejected, its first kShownBytesMax bytes, once it has ended.
  const std::optional<std::string>& rejected_line() const { return rejected_line_; }

 private:
  std::array<bool, 256> strip_{};
  std::array<bool, 256> reject_{};
  bool idle_ = true;
  bool rejecting_ = false;  // there is something to reject
  bool rejected_ = false;   // in this line
  std::string line_;        // its start
  std::optional<std::string> rejected_line_;
};

}  // namespace postfleet::message
