#include "services/delivery/smtp/core/ehlo_keywords.h"

#include <algorithm>

#include "libs/mail/address.h"

namespace postfleet::delivery::smtp {
namespace {

constexpr std::string_view kBetween = ", \t\r\n";

// In lower case, one after the other; empty: the end.
std::string NextWord(std::string_view* text) {
  text->remove_prefix(std::min(text->find_first_not_of(kBetween), text->size()));
  const std::string_view word = text->substr(0, text->find_first_of(kBetween));
  text->remove_prefix(word.size());
  return mail::LowerCasedAscii(word);
}

bool HasWord(std::string_view text, std::string_view wanted) {
  for (std::string word; !(word = NextWord(&text)).empty();) {
    if (word == wanted) return true;
  }
  return false;
}

void AppendWord(std::string* words, std::string_view word) {
  if (!words->empty()) *words += ' ';
  words->append(word);
}

}  // namespace

EhloKeywords::EhloKeywords(std::string_view text) : silent_(HasWord(text, "silent-discard")) {
  if (text.empty()) return;
  for (std::string_view keyword : kEhloKeywords) {
    if (HasWord(text, mail::LowerCasedAscii(keyword))) AppendWord(&names_, keyword);
  }
}

bool EhloKeywords::Contains(std::string_view keyword) const {
  return !names_.empty() && HasWord(mail::LowerCasedAscii(names_), mail::LowerCasedAscii(keyword));
}

PixWorkarounds PixWorkarounds::Parse(std::string_view text) {
  return {.disable_esmtp = HasWord(text, "disable_esmtp"),
          .delay_dotcrlf = HasWord(text, "delay_dotcrlf")};
}

std::string PixWorkarounds::ToString() const {
  std::string words;
  if (disable_esmtp) AppendWord(&words, "disable_esmtp");
  if (delay_dotcrlf) AppendWord(&words, "delay_dotcrlf");
  return words;
}

XforwardNames XforwardNames::Parse(std::string_view text) {
  return {.name = HasWord(text, "name"),
          .addr = HasWord(text, "addr"),
          .proto = HasWord(text, "proto"),
          .helo = HasWord(text, "helo"),
          .ident = HasWord(text, "ident")};
}

}  // namespace postfleet::delivery::smtp
