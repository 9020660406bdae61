// The words of an address or of a list of them, as Postfix sees them: RFC 822's tokens (3.3), in
// which `%`, `!` and `|` stand alone too. Bytes over 127 are part of words.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::mail {

struct AddressToken {
  enum class Kind {
    kWord,
    kQuoted,      // without its quotes and backslashes
    kLiteral,     // without its brackets and backslashes
    kComment,     // as it stands, parentheses included
    kOperator,    // one of ()<>@,;:".[]|%!
    kGroupStart,  // the colon behind a group's name
    kAddress,     // an address that is complete: as it is to be written
  };
  Kind kind = Kind::kWord;
  char op = 0;       // of kOperator
  std::string text;  // of the others

  bool IsOperator(char c) const { return kind == Kind::kOperator && op == c; }
  bool IsText() const { return kind != Kind::kOperator && kind != Kind::kGroupStart; }
  // Two of them in a row are two addresses.
  bool IsWord() const {
    return kind == Kind::kWord || kind == Kind::kQuoted || kind == Kind::kLiteral;
  }
};
using AddressTokens = std::vector<AddressToken>;

// At most `tokens_max` tokens; 0: all. Whatever is left open ends with the text.
AddressTokens TokenizeAddresses(std::string_view text, size_t tokens_max);

struct TokenStyle {
  bool quoted = true;      // with quotes where a token had them or needs them
  bool spaced = true;      // a blank where words would run into one another
  bool line_ends = false;  // LF in place of the blank behind a comma
};
void AppendAddressTokens(const AddressTokens& tokens, TokenStyle style, std::string* out);

}  // namespace postfleet::mail
