// The words of structured MIME fields (RFC 2045, 5.1), read as Postfix reads them: nothing is
// refused.
//
// A value is a list of items between semicolons, an item a list of tokens: words, quoted strings
// without their quotes, single special or control characters. Blanks, line ends and comments (RFC
// 822, nested) only separate. A line end in a quoted string goes, with the blanks in front of it.
// Views nothing of the value after it returned.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::message {

struct MimeToken {
  enum class Type { kWord, kQuoted, kSpecial };
  Type type = Type::kWord;
  std::string text;

  // A word is this one, case ignored.
  bool Is(std::string_view word) const;
};

class MimeTokens {
 public:
  static constexpr std::string_view kContentTypeSpecials = "()<>@,;:\\\"/[]?=";  // RFC 2045
  static constexpr std::string_view kRfc822Specials = "()<>@,;:\\\".[]";

  // `value` must outlive this.
  MimeTokens(std::string_view value, std::string_view specials)
      : rest_(value), specials_(specials) {}

  // The next item's first `tokens_max` tokens; its others are read over. nullopt: nothing is left.
  std::optional<std::vector<MimeToken>> NextItem(size_t tokens_max);

 private:
  void SkipComment();
  std::string Quoted();
  std::string Word();

  std::string_view rest_;
  const std::string_view specials_;
};

}  // namespace postfleet::message
