#include "libs/mail/enhanced_status.h"

namespace postfleet::mail {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// One to three digits at `*at`.
std::optional<int> TakeNumber(std::string_view text, size_t* at) {
  constexpr size_t kDigitsMax = 3;
  int value = 0;
  const size_t start = *at;
  while (*at < text.size() && IsDigit(text[*at])) {
    if (*at - start == kDigitsMax) return std::nullopt;
    value = value * 10 + (text[(*at)++] - '0');
  }
  if (*at == start) return std::nullopt;
  return value;
}

}  // namespace

std::string EnhancedStatus::ToString() const {
  if (!present()) return "";
  return std::to_string(class_) + "." + std::to_string(subject) + "." + std::to_string(detail);
}

std::optional<EnhancedStatus> ParseEnhancedStatusPrefix(std::string_view text, size_t* length) {
  if (text.size() < 5 || text[1] != '.') return std::nullopt;
  if (text[0] != '2' && text[0] != '4' && text[0] != '5') return std::nullopt;
  size_t at = 2;
  const auto subject = TakeNumber(text, &at);
  if (!subject || at == text.size() || text[at++] != '.') return std::nullopt;
  const auto detail = TakeNumber(text, &at);
  if (!detail) return std::nullopt;
  if (at < text.size() && text[at] != ' ' && text[at] != '\t' && text[at] != '\r' &&
      text[at] != '\n')
    return std::nullopt;
  *length = at;
  return EnhancedStatus{text[0] - '0', *subject, *detail};
}

std::optional<EnhancedStatus> ParseEnhancedStatus(std::string_view text) {
  size_t length = 0;
  const auto status = ParseEnhancedStatusPrefix(text, &length);
  if (!status || length != text.size()) return std::nullopt;
  return status;
}

}  // namespace postfleet::mail
