#include "libs/smtp/ehlo_keywords.h"

#include <algorithm>

#include "libs/mail/address.h"

namespace postfleet::smtp {
namespace {

constexpr std::string_view kBetween = ", \t\r\n";

// The next word, in lower case, taken from the front; empty: the end.
std::string TakeWord(std::string_view* text) {
  text->remove_prefix(std::min(text->find_first_not_of(kBetween), text->size()));
  const std::string_view word = text->substr(0, text->find_first_of(kBetween));
  text->remove_prefix(word.size());
  return mail::LowerCasedAscii(word);
}

}  // namespace

bool HasListedWord(std::string_view text, std::string_view wanted) {
  for (std::string word; !(word = TakeWord(&text)).empty();) {
    if (word == wanted) return true;
  }
  return false;
}

EhloKeywords::EhloKeywords(std::string_view text) : silent_(HasListedWord(text, "silent-discard")) {
  if (text.empty()) return;
  for (std::string_view keyword : kEhloKeywords) {
    if (!HasListedWord(text, mail::LowerCasedAscii(keyword))) continue;
    if (!names_.empty()) names_ += ' ';
    names_ += keyword;
  }
}

bool EhloKeywords::Contains(std::string_view keyword) const {
  return !names_.empty() &&
         HasListedWord(mail::LowerCasedAscii(names_), mail::LowerCasedAscii(keyword));
}

}  // namespace postfleet::smtp
