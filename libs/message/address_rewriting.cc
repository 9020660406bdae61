#include "libs/message/address_rewriting.h"

#include <algorithm>
#include <array>
#include <utility>

#include "libs/mail/address_list.h"

namespace postfleet::message {
namespace {

using mail::AddressToken;
using mail::AddressTokens;
using mail::AppendAddressTokens;
using mail::TokenizeAddresses;
using Kind = AddressToken::Kind;

constexpr size_t kLineBytesMax = 70;

AddressToken Operator(char op) { return {Kind::kOperator, op, {}}; }

size_t FindOperator(const AddressTokens& tokens, char op) {
  const auto found = std::find_if(tokens.begin(), tokens.end(),
                                  [op](const AddressToken& token) { return token.IsOperator(op); });
  return found - tokens.begin();
}

// tokens.size(): there is none.
size_t FindLastOperator(const AddressTokens& tokens, char op) {
  for (size_t i = tokens.size(); i-- > 0;) {
    if (tokens[i].IsOperator(op)) return i;
  }
  return tokens.size();
}

void AppendDomain(std::string_view domain, AddressTokens* tokens) {
  for (AddressToken& token : TokenizeAddresses(domain, 0)) tokens->push_back(std::move(token));
}

void DropSourceRoute(AddressTokens* tokens) {
  if (!tokens->front().IsOperator('@')) return;
  const size_t colon = FindOperator(*tokens, ':');
  if (colon + 1 < tokens->size()) tokens->erase(tokens->begin(), tokens->begin() + colon + 1);
}

void AddDomain(const AddressRewriting& rules, AddressTokens* tokens) {
  if (FindLastOperator(*tokens, '@') < tokens->size()) return;
  const size_t bang = FindOperator(*tokens, '!');
  const size_t percent = FindLastOperator(*tokens, '%');
  if (rules.swap_bangpath && bang < tokens->size()) {
    (*tokens)[bang] = Operator('@');
    // site @ user -> user @ site: the three parts turn around.
    std::rotate(tokens->begin(), tokens->begin() + bang + 1, tokens->end());
    std::rotate(tokens->end() - bang - 1, tokens->end() - 1, tokens->end());
  } else if (rules.percent_hack && percent < tokens->size()) {
    (*tokens)[percent] = Operator('@');
  } else if (rules.append_at_origin && !rules.origin.empty()) {
    tokens->push_back(Operator('@'));
    AppendDomain(rules.origin, tokens);
  }
}

void CompleteDomain(const AddressRewriting& rules, AddressTokens* tokens) {
  const size_t at = FindLastOperator(*tokens, '@');
  // What ends in @ is wrong, and said to be so elsewhere.
  if (rules.append_dot_domain && !rules.domain.empty() && at + 1 < tokens->size() &&
      std::none_of(tokens->begin() + at, tokens->end(), [](const AddressToken& token) {
        return token.kind == Kind::kLiteral || token.IsOperator('.');
      })) {
    tokens->push_back(Operator('.'));
    AppendDomain(rules.domain, tokens);
  }
  if (tokens->size() < 2 || !tokens->back().IsOperator('.')) return;
  const AddressToken& before = (*tokens)[tokens->size() - 2];
  if (!before.IsOperator('.') && !before.IsOperator('@')) tokens->pop_back();
}

// Internal form with the quotes that the local part needs; a source route stays in front.
std::string Quoted(std::string_view plain) {
  size_t start = 0;
  if (plain.starts_with('@')) start = plain.find(':') + 1;
  return std::string(plain.substr(0, start)) + mail::QuoteAddress(plain.substr(start));
}

// Internal form.
std::string Plain(const AddressTokens& tokens) {
  std::string text;
  AppendAddressTokens(tokens, {.quoted = false}, &text);
  return text;
}

// One address in quoted form, not empty.
std::string Completed(const AddressRewriting& rules, std::string_view address) {
  AddressTokens tokens = TokenizeAddresses(address, 0);
  CompleteTokens(rules, &tokens);
  return Quoted(Plain(tokens));
}

// One address of a list becomes one token, as it is to be written. True: that is another than it
// was.
bool CompleteListed(const AddressRewriting& rules, AddressTokens* tokens) {
  std::string before;
  AppendAddressTokens(*tokens, {.quoted = true, .spaced = false}, &before);
  if (before.empty()) {  // a lone backslash
    *tokens = {{Kind::kAddress, 0, "\"\""}};
    return false;
  }
  const std::string after = Completed(rules, before);
  // Postfix reads it once more. Of what is no address, more can become apart.
  *tokens = {{Kind::kAddress, 0, Quoted(Plain(TokenizeAddresses(after, 0)))}};
  return before != after;
}

// Joins lines while they stay short; the others get a tab.
std::string Folded(std::string_view text) {
  std::string out(text.substr(0, text.find('\n')));
  size_t line_bytes = out.size();
  for (size_t at = out.size(); at < text.size();) {
    const std::string_view line = text.substr(at + 1, text.find('\n', at + 1) - at - 1);
    if (line_bytes + 1 + line.size() < kLineBytesMax) {
      out += ' ';
      line_bytes += 1 + line.size();
    } else {
      out += line.starts_with(' ') || line.starts_with('\t') ? "\n" : "\n\t";
      line_bytes = line.size();
    }
    out += line;
    at += 1 + line.size();
  }
  return out;
}

// Whether every address of a list has what it needs, for lists that keep to RFC 5322's common
// forms: `a@b.c`, `a@b.c (comment)`, `words <a@b.c>`, `name:;`. False says nothing.
class QuickLook {
 public:
  QuickLook(std::string_view text, bool dot_needed) : text_(text), dot_needed_(dot_needed) {}

  bool AllComplete() {
    while (true) {
      if (!SkipBlanksAndComments()) return false;
      if (AtEnd()) return true;
      if (text_[at_] != ',' && !SkipItem()) return false;
      if (AtEnd()) return true;
      if (text_[at_++] != ',') return false;
    }
  }

 private:
  enum Class : uint8_t { kOther, kAtom, kBlank };
  static constexpr std::array<Class, 256> kClasses = [] {
    std::array<Class, 256> classes{};
    for (int c = 33; c < 256; ++c) classes[c] = c == 127 ? kOther : kAtom;
    for (char c : std::string_view("()<>@,;:\\\".[]")) classes[c] = kOther;
    for (char c : std::string_view(" \t\r\n")) classes[c] = kBlank;
    return classes;
  }();

  bool AtEnd() const { return at_ >= text_.size(); }
  bool At(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool At(Class wanted) const {
    return at_ < text_.size() && kClasses[static_cast<unsigned char>(text_[at_])] == wanted;
  }

  bool SkipItem() {
    const size_t start = at_;
    if (SkipAddress() && SkipBlanksAndComments() && (AtEnd() || At(','))) return true;
    at_ = start;
    if (!SkipWords()) return false;
    if (At(':')) {
      ++at_;
      while (At(kBlank)) ++at_;
      if (!At(';')) return false;
      ++at_;
      // What follows a group is not common.
      while (At(kBlank)) ++at_;
      return AtEnd();
    }
    ++at_;
    if (!SkipAddress() || !At('>')) return false;
    ++at_;
    return SkipBlanksAndComments();
  }

  // Words joined by dots; how many.
  int SkipDotAtom() {
    int words = 0;
    while (At(kAtom)) {
      ++words;
      while (At(kAtom)) ++at_;
      if (!At('.')) return words;
      ++at_;
    }
    return 0;
  }

  bool SkipAddress() {
    if (SkipDotAtom() == 0 || !At('@')) return false;
    ++at_;
    if (!At('[')) return SkipDotAtom() > (dot_needed_ ? 1 : 0);
    ++at_;
    while (At(kAtom) || At('.') || At(':')) ++at_;
    if (!At(']')) return false;
    ++at_;
    return !At('.') && !At('@') && !At(kAtom) && !At('[');
  }

  // A name, up to the < or : behind it.
  bool SkipWords() {
    while (!AtEnd()) {
      if (At('<') || At(':')) return true;
      if (At('"')) {
        if (!SkipQuoted()) return false;
      } else if (At('(')) {
        if (!SkipComment()) return false;
      } else if (At(kAtom) || At(kBlank) || At('.') || At('@')) {
        ++at_;
      } else {
        return false;
      }
    }
    return false;
  }

  bool SkipQuoted() {
    for (++at_; !AtEnd(); ++at_) {
      if (At('"')) return ++at_, true;
      if (At('\\')) ++at_;
    }
    return false;
  }

  bool SkipComment() {
    int depth = 0;
    for (; !AtEnd(); ++at_) {
      if (At('\\')) {
        ++at_;
      } else if (At('(')) {
        ++depth;
      } else if (At(')') && --depth == 0) {
        return ++at_, true;
      }
    }
    return false;
  }

  bool SkipBlanksAndComments() {
    while (At(kBlank) || At('(')) {
      if (At('(')) {
        if (!SkipComment()) return false;
      } else {
        ++at_;
      }
    }
    return true;
  }

  const std::string_view text_;
  const bool dot_needed_;
  size_t at_ = 0;
};

bool DotNeeded(const AddressRewriting& rules) {
  return rules.append_dot_domain && !rules.domain.empty();
}

// The field whose value is `value` becomes another where `edit` says so.
template <typename Edit>
bool RewriteList(std::string_view value, size_t tokens_max, Edit edit, std::string* field) {
  AddressTokens list;
  if (!mail::EditAddresses(TokenizeAddresses(value, tokens_max), edit, &list)) return false;
  std::string text = field->substr(0, field->find(':')) + ": ";
  AppendAddressTokens(list, {.quoted = true, .spaced = true, .line_ends = true}, &text);
  *field = Folded(text);
  return true;
}

}  // namespace

void CompleteTokens(const AddressRewriting& rules, AddressTokens* tokens) {
  if (tokens->size() == 1) {
    AddressToken& only = tokens->front();
    // A lone @ is the empty address, "".
    if (only.IsOperator('@')) only = {Kind::kQuoted, 0, {}};
    if (only.kind == Kind::kQuoted && only.text.empty()) return;
  }
  DropSourceRoute(tokens);
  AddDomain(rules, tokens);
  CompleteDomain(rules, tokens);
}

std::string CompleteAddress(const AddressRewriting& rules, const mail::Address& address) {
  if (address.IsNull()) return "";
  const std::string plain = address.ToString();
  const bool complete = address.HasDomain() && address.domain.back() != '.' &&
                        plain.front() != '@' &&
                        (!DotNeeded(rules) || address.domain.front() == '[' ||
                         address.domain.find('.') != std::string::npos);
  if (complete) return plain;
  AddressTokens tokens = TokenizeAddresses(Quoted(plain), 0);
  CompleteTokens(rules, &tokens);
  return Plain(tokens);
}

std::string CompleteSender(const AddressRewriting& rules, const mail::Address& sender) {
  std::string text = CompleteAddress(rules, sender);
  const std::string daemon = CompleteAddress(rules, {"mailer-daemon", ""});
  const bool bounce = daemon.find('@') != daemon.npos &&
                      mail::LowerCasedAscii(text) == mail::LowerCasedAscii(daemon);
  return bounce ? "" : text;
}

bool RewriteAddressField(const AddressRewriting& rules, std::string* field) {
  const size_t colon = field->find(':');
  const std::string_view value = std::string_view(*field).substr(colon + 1);
  const bool all_tokens = rules.tokens_max == 0 || value.size() <= rules.tokens_max;
  if (all_tokens && QuickLook(value, DotNeeded(rules)).AllComplete()) return false;
  if (value.find('\0') != std::string_view::npos) return false;
  const auto edit = [&](AddressTokens* tokens) { return CompleteListed(rules, tokens); };
  return RewriteList(value, rules.tokens_max, edit, field);
}

bool MapAddressField(const AddressMap& map, std::string* field) {
  const size_t colon = field->find(':');
  const std::string_view value = std::string_view(*field).substr(colon + 1);
  if (value.find('\0') != std::string_view::npos) return false;
  const auto edit = [&](AddressTokens* tokens) {
    // Words that no blank belongs between grow together, in Postfix too.
    std::string address;
    AppendAddressTokens(*tokens, {.quoted = false, .spaced = false}, &address);
    const std::optional<std::string> mapped = map(address);
    *tokens = {{Kind::kAddress, 0, Quoted(mapped.value_or(address))}};
    return mapped.has_value();
  };
  return RewriteList(value, 0, edit, field);
}

std::vector<std::string> ReadAddressList(const AddressRewriting& rules, std::string_view text) {
  std::vector<std::string> addresses;
  AddressTokens list;
  const auto edit = [&](AddressTokens* tokens) {
    CompleteTokens(rules, tokens);
    addresses.push_back(Plain(*tokens));
    *tokens = {{Kind::kAddress, 0, {}}};
    return false;
  };
  mail::EditAddresses(TokenizeAddresses(text, rules.tokens_max), edit, &list);
  std::reverse(addresses.begin(), addresses.end());
  return addresses;
}

}  // namespace postfleet::message
