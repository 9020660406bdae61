#include "libs/message/mime_tokens.h"

#include <algorithm>
#include <utility>

#include "libs/message/header.h"

namespace postfleet::message {
namespace {

constexpr char kItemEnd = ';';

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 32 || byte == 127;
}

}  // namespace

bool MimeToken::Is(std::string_view word) const {
  return type == Type::kWord && EqualsIgnoreCase(text, word);
}

std::optional<std::vector<MimeToken>> MimeTokens::NextItem(size_t tokens_max) {
  std::vector<MimeToken> tokens;
  const auto add = [&](MimeToken::Type type, std::string text) {
    if (tokens.size() < tokens_max) tokens.push_back({type, std::move(text)});
  };
  while (!rest_.empty()) {
    const char c = rest_[0];
    if (IsSpace(c)) {
      rest_.remove_prefix(1);
    } else if (c == kItemEnd) {
      rest_.remove_prefix(1);
      return tokens;
    } else if (c == '(') {
      SkipComment();
    } else if (c == '"') {
      add(MimeToken::Type::kQuoted, Quoted());
    } else if (IsControl(c) || specials_.find(c) != std::string_view::npos) {
      rest_.remove_prefix(1);
      add(MimeToken::Type::kSpecial, std::string(1, c));
    } else {
      add(MimeToken::Type::kWord, Word());
    }
  }
  if (tokens.empty()) return std::nullopt;
  return tokens;
}

// An unfinished one takes the rest.
void MimeTokens::SkipComment() {
  size_t depth = 0;
  size_t at = 0;
  for (; at < rest_.size(); ++at) {
    const char c = rest_[at];
    if (c == '(') ++depth;
    if (c == ')' && --depth == 0) break;
    if (c == '\\') ++at;
  }
  rest_.remove_prefix(std::min(at + 1, rest_.size()));
}

std::string MimeTokens::Quoted() {
  std::string text;
  size_t at = 1;
  for (; at < rest_.size() && rest_[at] != '"'; ++at) {
    if (rest_[at] == '\n') {
      while (!text.empty() && IsSpace(text.back())) text.pop_back();
      continue;
    }
    if (rest_[at] == '\\' && ++at == rest_.size()) break;
    text.push_back(rest_[at]);
  }
  rest_.remove_prefix(std::min(at + 1, rest_.size()));
  return text;
}

std::string MimeTokens::Word() {
  size_t size = 0;
  while (size < rest_.size() && !IsSpace(rest_[size]) && !IsControl(rest_[size]) &&
         specials_.find(rest_[size]) == std::string_view::npos) {
    ++size;
  }
  std::string text(rest_.substr(0, size));
  rest_.remove_prefix(size);
  return text;
}

}  // namespace postfleet::message
