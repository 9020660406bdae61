#include "libs/message/character_filter.h"

namespace postfleet::message {
namespace {

constexpr int kOctalDigitsMax = 3;
constexpr int kByteMax = 255;

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

struct Escape {
  char letter;
  char byte;
};
constexpr Escape kEscapes[] = {{'a', '\a'}, {'b', '\b'}, {'f', '\f'}, {'n', '\n'},
                               {'r', '\r'}, {'t', '\t'}, {'v', '\v'}, {'\\', '\\'}};

void Mark(std::string_view bytes, std::array<bool, 256>* set) {
  for (char c : bytes) (*set)[static_cast<unsigned char>(c)] = c != '\n';
}

}  // namespace

std::optional<std::string> ParseCharacters(std::string_view text) {
  std::string bytes;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\') {
      bytes.push_back(text[at]);
      continue;
    }
    if (++at == text.size()) return std::nullopt;
    if (IsOctal(text[at])) {
      int value = 0;
      for (int digits = 0; digits < kOctalDigitsMax && at < text.size() && IsOctal(text[at]);
           ++digits, ++at) {
        value = value * 8 + (text[at] - '0');
      }
      --at;
      if (value > kByteMax) return std::nullopt;
      bytes.push_back(static_cast<char>(value));
      continue;
    }
    const size_t before = bytes.size();
    for (const Escape& escape : kEscapes) {
      if (escape.letter == text[at]) bytes.push_back(escape.byte);
    }
    if (bytes.size() == before) return std::nullopt;
  }
  return bytes;
}

CharacterFilter::CharacterFilter(std::string_view strip, std::string_view reject)
    : idle_(strip.empty() && reject.empty()), rejecting_(!reject.empty()) {
  Mark(strip, &strip_);
  Mark(reject, &reject_);
}

void CharacterFilter::Take(std::string_view in, std::string* out) {
  for (char c : in) {
    const auto byte = static_cast<unsigned char>(c);
    rejected_ = rejected_ || reject_[byte];
    if (!strip_[byte] && !rejected_ && !rejected_line_) out->push_back(c);
    if (!rejecting_) continue;
    if (c == '\n') {
      Finish();
    } else if (line_.size() < kShownBytesMax) {
      line_.push_back(c);
    }
  }
}

void CharacterFilter::Finish() {
  if (rejected_ && !rejected_line_) rejected_line_ = line_;
  rejected_ = false;
  line_.clear();
}

}  // namespace postfleet::message
