#include "services/lookup/core/own_domains.h"

#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/mail/address_tokens.h"

namespace postfleet::lookup {
namespace {

using mail::AddressToken;
using mail::AddressTokens;
using mail::TokenizeAddresses;

// Each round takes something off the address.
constexpr size_t kSpareRounds = 100;

bool Ends(const AddressTokens& tokens, char op) {
  return !tokens.empty() && tokens.back().IsOperator(op);
}

// tokens.size(): there is none.
size_t FindLast(const AddressTokens& tokens, char op) {
  for (size_t i = tokens.size(); i-- > 0;) {
    if (tokens[i].IsOperator(op)) return i;
  }
  return tokens.size();
}
bool Has(const AddressTokens& tokens, char op) { return FindLast(tokens, op) < tokens.size(); }

std::string Plain(const AddressTokens& tokens) {
  std::string text;
  AppendAddressTokens(tokens, {.quoted = false}, &text);
  return text;
}

AddressTokens TokensOf(std::string_view internal_form) {
  // What stands in front of a route's colon is no local part to be quoted.
  const size_t route = internal_form.starts_with('@') ? internal_form.find(':') + 1 : 0;
  return TokenizeAddresses(
      Concat(internal_form.substr(0, route), mail::QuoteAddress(internal_form.substr(route))), 0);
}

class Stripping {
 public:
  Stripping(const OwnDomainRules& rules, const IsOwn& is_own, AddressTokens tokens)
      : rules_(rules), is_own_(is_own), tokens_(std::move(tokens)) {}

  absl::StatusOr<Destination> Run(size_t rounds_max) {
    for (size_t round = 0; round < rounds_max; ++round) {
      StripEnd();
      absl::StatusOr<bool> foreign = StripDomain();
      if (!foreign.ok()) return foreign.status();
      if (*foreign && !Complete()) return Destination{Plain(tokens_), false, HidesAt()};
      if (*foreign) continue;
      if (!Rewrite()) {
        tokens_.insert(tokens_.end(), own_.begin(), own_.end());
        return Destination{Plain(tokens_), true};
      }
    }
    return absl::UnavailableError("too many domains in an address");
  }

 private:
  void StripEnd() {
    if (tokens_.size() > 1 && Ends(tokens_, '.') && Has(tokens_, '@')) {
      const AddressToken& before = tokens_[tokens_.size() - 2];
      if (!before.IsOperator('.') && !before.IsOperator('@')) tokens_.pop_back();
    }
    if (rules_.resolve_null_domain && Ends(tokens_, '@')) tokens_.pop_back();
  }

  // True: the domain is another's. Else the last of ours is in own_.
  absl::StatusOr<bool> StripDomain() {
    const size_t at = FindLast(tokens_, '@');
    if (at == tokens_.size()) return false;
    AddressTokens domain(tokens_.begin() + at, tokens_.end());
    if (domain.size() > 1) {
      absl::StatusOr<bool> own = is_own_(std::string_view(Plain(domain)).substr(1));
      if (!own.ok()) return own.status();
      if (!*own) return true;
    }
    tokens_.resize(at);
    own_ = std::move(domain);
    return false;
  }

  bool HidesAt() const {
    const size_t at = FindLast(tokens_, '@');
    return Plain(AddressTokens(tokens_.begin() + at + 1, tokens_.end())).find('@') !=
           std::string::npos;
  }

  // Of an address that came as it is. True: its domain is another now.
  bool Complete() {
    const std::string before = Plain(tokens_);
    CompleteTokens(rules_.rewriting, &tokens_);
    return Plain(tokens_) != before;
  }

  // True: it may have another domain now.
  bool Rewrite() {
    const message::AddressRewriting& rewriting = rules_.rewriting;
    if (Has(tokens_, '@') || (rewriting.swap_bangpath && Has(tokens_, '!')) ||
        (rewriting.percent_hack && Has(tokens_, '%'))) {
      CompleteTokens(rewriting, &tokens_);
      return true;
    }
    if (OpenQuotes()) return true;
    const bool quoted_nothing = tokens_.size() == 1 &&
                                tokens_.front().kind == AddressToken::Kind::kQuoted &&
                                tokens_.front().text.empty();
    if (tokens_.empty() || quoted_nothing) {
      tokens_ = TokenizeAddresses(rules_.empty_address_recipient, 0);
      return true;
    }
    if (!own_.empty()) return false;
    tokens_.push_back({AddressToken::Kind::kOperator, '@', {}});
    for (AddressToken& token : TokenizeAddresses(rules_.myhostname, 0)) {
      tokens_.push_back(std::move(token));
    }
    return true;
  }

  // A quoted local part with a route in it becomes that route. True: it was one.
  bool OpenQuotes() {
    if (!rules_.resolve_dequoted_address || tokens_.size() != 1 ||
        tokens_.front().kind != AddressToken::Kind::kQuoted)
      return false;
    std::string text = std::move(tokens_.front().text);
    size_t route = text.rfind('@');
    if (route == text.npos && rules_.rewriting.percent_hack) {
      route = text.rfind('%');
      if (route != text.npos) text[route] = '@';
    }
    const bool bang =
        route == text.npos && rules_.rewriting.swap_bangpath && text.find('!') != text.npos;
    if (route == text.npos && !bang) {
      tokens_.front().text = std::move(text);
      return false;
    }
    tokens_ = TokenizeAddresses(bang ? text : mail::QuoteAddress(text), 0);
    CompleteTokens(rules_.rewriting, &tokens_);
    return true;
  }

  const OwnDomainRules& rules_;
  const IsOwn& is_own_;
  AddressTokens tokens_;
  AddressTokens own_;  // @ and the domain of ours that was taken off last
};

}  // namespace

absl::StatusOr<Destination> StripOwnDomains(const OwnDomainRules& rules, std::string_view address,
                                            const IsOwn& is_own) {
  AddressTokens tokens = TokensOf(address);
  if (!Has(tokens, '@')) CompleteTokens(rules.rewriting, &tokens);
  return Stripping(rules, is_own, std::move(tokens)).Run(address.size() + kSpareRounds);
}

}  // namespace postfleet::lookup
