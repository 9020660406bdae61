#include "services/delivery/smtp/core/ehlo_keywords.h"

namespace postfleet::delivery::smtp {
namespace {

using postfleet::smtp::HasListedWord;

void AppendWord(std::string* words, std::string_view word) {
  if (!words->empty()) *words += ' ';
  words->append(word);
}

}  // namespace

PixWorkarounds PixWorkarounds::Parse(std::string_view text) {
  return {.disable_esmtp = HasListedWord(text, "disable_esmtp"),
          .delay_dotcrlf = HasListedWord(text, "delay_dotcrlf")};
}

std::string PixWorkarounds::ToString() const {
  std::string words;
  if (disable_esmtp) AppendWord(&words, "disable_esmtp");
  if (delay_dotcrlf) AppendWord(&words, "delay_dotcrlf");
  return words;
}

XforwardNames XforwardNames::Parse(std::string_view text) {
  return {.name = HasListedWord(text, "name"),
          .addr = HasListedWord(text, "addr"),
          .port = HasListedWord(text, "port"),
          .proto = HasListedWord(text, "proto"),
          .helo = HasListedWord(text, "helo"),
          .ident = HasListedWord(text, "ident"),
          .source = HasListedWord(text, "source")};
}

}  // namespace postfleet::delivery::smtp
