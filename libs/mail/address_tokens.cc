#include "libs/mail/address_tokens.h"

namespace postfleet::mail {
namespace {

using Kind = AddressToken::Kind;

constexpr std::string_view kOperators = "|%!()<>@,;:\\\".[]";

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 32 || c == 127; }
bool IsOperator(char c) { return kOperators.find(c) != std::string_view::npos; }

// Takes bytes up to one for which `ends`, backslashes resolved, line ends and tabs made blanks.
template <typename Ends>
void TakeText(std::string_view* in, Ends ends, std::string* out) {
  size_t at = 0;
  for (; at < in->size(); ++at) {
    char c = (*in)[at];
    if (c == '\\') {
      if (++at == in->size()) break;
      c = (*in)[at];
    } else if (ends(c)) {
      break;
    }
    out->push_back(IsSpace(c) ? ' ' : c);
  }
  in->remove_prefix(at);
}

void TakeUpTo(char end, std::string_view* in, std::string* out) {
  in->remove_prefix(1);
  TakeText(
      in, [end](char c) { return c == end; }, out);
  if (!in->empty()) in->remove_prefix(1);
}

// Comments nest (RFC 5322, 3.2.2).
std::string TakeComment(std::string_view* in) {
  size_t depth = 0, at = 0;
  while (at < in->size()) {
    const char c = (*in)[at++];
    if (c == '\\' && at < in->size()) ++at;
    if (c == '(') ++depth;
    if (c == ')' && --depth == 0) break;
  }
  std::string comment(in->substr(0, at));
  in->remove_prefix(at);
  return comment;
}

// A word whose backslashes hid what ends words.
bool NeedsQuotes(std::string_view word) {
  for (char c : word) {
    if (c == ' ' || IsControl(c) || IsOperator(c)) return true;
  }
  return false;
}

AddressToken TakeToken(std::string_view* in) {
  AddressToken token;
  const char c = in->front();
  if (c == '(') {
    token.kind = Kind::kComment;
    token.text = TakeComment(in);
  } else if (c == '[') {
    token.kind = Kind::kLiteral;
    TakeUpTo(']', in, &token.text);
  } else if (c == '"') {
    token.kind = Kind::kQuoted;
    TakeUpTo('"', in, &token.text);
  } else if (c != '\\' && IsOperator(c)) {
    token.kind = Kind::kOperator;
    token.op = c;
    in->remove_prefix(1);
  } else {
    TakeText(
        in, [](char next) { return IsSpace(next) || IsOperator(next); }, &token.text);
    if (NeedsQuotes(token.text)) token.kind = Kind::kQuoted;
  }
  return token;
}

void AppendQuoted(std::string_view text, std::string_view special, std::string* out) {
  for (char c : text) {
    if (special.find(c) != std::string_view::npos) out->push_back('\\');
    out->push_back(c);
  }
}

void AppendToken(const AddressToken& token, bool quoted, std::string* out) {
  switch (token.kind) {
    case Kind::kQuoted:
      if (!quoted) break;
      out->push_back('"');
      AppendQuoted(token.text, "\"\\", out);
      out->push_back('"');
      return;
    case Kind::kLiteral:
      out->push_back('[');
      AppendQuoted(token.text, quoted ? "\\" : "", out);
      out->push_back(']');
      return;
    case Kind::kOperator:
      out->push_back(token.op);
      return;
    case Kind::kGroupStart:
      out->push_back(':');
      return;
    default:
      break;
  }
  out->append(token.text);
}

bool BlankBetween(const AddressToken& token, const AddressToken& next) {
  return token.IsOperator(',') || token.kind == Kind::kGroupStart || next.IsOperator('<') ||
         (token.IsText() && next.IsText());
}

}  // namespace

AddressTokens TokenizeAddresses(std::string_view text, size_t tokens_max) {
  AddressTokens tokens;
  while (tokens_max == 0 || tokens.size() < tokens_max) {
    while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
    if (text.empty()) break;
    tokens.push_back(TakeToken(&text));
  }
  return tokens;
}

void AppendAddressTokens(const AddressTokens& tokens, TokenStyle style, std::string* out) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    AppendToken(tokens[i], style.quoted, out);
    if (style.line_ends && tokens[i].IsOperator(',')) {
      out->push_back('\n');
    } else if (style.spaced && i + 1 < tokens.size() && BlankBetween(tokens[i], tokens[i + 1])) {
      out->push_back(' ');
    }
  }
}

}  // namespace postfleet::mail
