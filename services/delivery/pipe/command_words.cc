#include "services/delivery/pipe/command_words.h"

#include <optional>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/tables/maps.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Recipient;

// A piece of a word: text as it stands, or a macro.
struct Piece {
  bool is_macro = false;
  std::string text;
};

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

absl::Status Bad(std::string_view what, std::string_view word) {
  return absl::InvalidArgumentError(Concat(what, ": \"", word, "\""));
}

// The name at the start of `rest`, behind the "$"; takes it off.
absl::StatusOr<std::string> TakeName(std::string_view* rest, std::string_view word) {
  if (!rest->empty() && (rest->front() == '{' || rest->front() == '(')) {
    const char open = rest->front();
    const char close = open == '{' ? '}' : ')';
    int depth = 0;
    for (size_t i = 0; i < rest->size(); ++i) {
      if ((*rest)[i] == open) ++depth;
      if ((*rest)[i] != close || --depth > 0) continue;
      std::string name(rest->substr(1, i - 1));
      rest->remove_prefix(i + 1);
      if (name.empty()) return Bad("empty macro name", word);
      return name;
    }
    return Bad("truncated macro reference", word);
  }
  size_t end = 0;
  while (end < rest->size() && IsNameCharacter((*rest)[end])) ++end;
  if (end == 0) return Bad("empty macro name", word);
  std::string name(rest->substr(0, end));
  rest->remove_prefix(end);
  return name;
}

absl::StatusOr<std::vector<Piece>> ParseWord(std::string_view word) {
  std::vector<Piece> pieces;
  std::string text;
  for (std::string_view rest = word; !rest.empty();) {
    if (rest.front() != '$') {
      text.push_back(rest.front());
      rest.remove_prefix(1);
    } else if (rest.starts_with("$$")) {
      text.push_back('$');
      rest.remove_prefix(2);
    } else {
      rest.remove_prefix(1);
      absl::StatusOr<std::string> name = TakeName(&rest, word);
      if (!name.ok()) return name.status();
      if (!text.empty()) pieces.push_back({.text = std::exchange(text, {})});
      pieces.push_back({.is_macro = true, .text = *std::move(name)});
    }
  }
  if (!text.empty()) pieces.push_back({.text = std::move(text)});
  return pieces;
}

// "local@domain" with what the flags ask for.
std::string Address(std::string_view address, const WordRules& rules) {
  mail::Address parts = mail::SplitAddress(address);
  if (rules.fold_user) mail::LowerCaseAscii(&parts.local_part);
  if (rules.fold_host) mail::LowerCaseAscii(&parts.domain);
  if (rules.quote_local_part && !address.empty()) {
    parts.local_part = mail::QuoteLocalPart(parts.local_part);
  }
  return parts.HasDomain() ? Concat(parts.local_part, "@", parts.domain) : parts.local_part;
}

std::string Folded(std::string_view text, bool fold) {
  return fold ? mail::LowerCasedAscii(text) : std::string(text);
}

struct Context {
  const WordRules& rules;
  const WordFacts& facts;
};

// Of the message. nullopt: no such macro.
std::optional<std::string> OfMessage(std::string_view name, const Context& context) {
  const WordFacts& facts = context.facts;
  const mail::v1::Origin& origin = facts.envelope.origin();
  if (name == "sender") {
    // Flags h and u are for recipients.
    return Address(facts.sender, {.quote_local_part = context.rules.quote_local_part});
  }
  if (name == "nexthop") return Folded(facts.nexthop, context.rules.fold_host);
  if (name == "queue_id") return std::string(facts.queue_id);
  if (name == "size") return Concat(facts.message_bytes);
  if (name == "client_address") return origin.client_address();
  if (name == "client_helo") return origin.helo();
  if (name == "client_hostname") return origin.client_name();
  if (name == "client_port") return origin.client_port();
  if (name == "client_protocol") return origin.protocol();
  // No client logs in yet.
  if (name == "sasl_method" || name == "sasl_sender" || name == "sasl_username") return "";
  return std::nullopt;
}

std::string UserOf(const mail::Address& parts, const WordRules& rules) {
  const auto user = tables::WithoutExtension(parts.local_part, rules.recipient_delimiter);
  return user ? std::string(*user) : parts.local_part;
}

// What is empty leaves the word out: a user.
struct OfRecipientValue {
  std::string text;
  bool leave_out = false;
};

// nullopt: no macro of recipients.
std::optional<OfRecipientValue> OfRecipient(std::string_view name, const Recipient& recipient,
                                            const WordRules& rules) {
  if (name == "recipient") return OfRecipientValue{Address(recipient.address(), rules)};
  if (name == "original_recipient") {
    return OfRecipientValue{Address(
        recipient.original_address().empty() ? recipient.address() : recipient.original_address(),
        rules)};
  }
  const mail::Address parts = mail::SplitAddress(recipient.address());
  if (name == "domain") return OfRecipientValue{Folded(parts.domain, rules.fold_host)};
  const std::string user = UserOf(parts, rules);
  if (name == "user") return OfRecipientValue{Folded(user, rules.fold_user), user.empty()};
  if (name == "mailbox") {
    return OfRecipientValue{Folded(parts.local_part, rules.fold_user), parts.local_part.empty()};
  }
  if (name == "extension") {
    const size_t behind = std::min(user.size() + 1, parts.local_part.size());
    return OfRecipientValue{Folded(parts.local_part.substr(behind), rules.fold_user)};
  }
  return std::nullopt;
}

bool IsOfRecipients(const std::vector<Piece>& pieces, const WordRules& rules) {
  static const Recipient kNobody;
  for (const Piece& piece : pieces) {
    if (piece.is_macro && OfRecipient(piece.text, kNobody, rules)) return true;
  }
  return false;
}

// Appends the word for one recipient.
absl::Status AddWord(const std::vector<Piece>& pieces, const Recipient& recipient,
                     const Context& context, std::vector<std::string>* argv) {
  std::string word;
  bool leave_out = false;
  for (const Piece& piece : pieces) {
    if (!piece.is_macro) {
      word += piece.text;
    } else if (const auto value = OfRecipient(piece.text, recipient, context.rules)) {
      word += value->text;
      leave_out |= value->leave_out;
    } else if (const auto message_value = OfMessage(piece.text, context)) {
      word += *message_value;
    } else {
      return Bad("unknown macro name", piece.text);
    }
  }
  if (!leave_out) argv->push_back(std::move(word));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ExpandWords(const std::vector<std::string>& words,
                                                     const WordRules& rules,
                                                     const WordFacts& facts) {
  const Context context = {.rules = rules, .facts = facts};
  std::vector<std::string> argv;
  for (const std::string& word : words) {
    const absl::StatusOr<std::vector<Piece>> pieces = ParseWord(word);
    if (!pieces.ok()) return pieces.status();
    const size_t times = IsOfRecipients(*pieces, rules) ? facts.recipients.size() : 1;
    for (size_t i = 0; i < times; ++i) {
      if (const absl::Status added = AddWord(*pieces, *facts.recipients[i], context, &argv);
          !added.ok()) {
        return added;
      }
    }
  }
  return argv;
}

}  // namespace postfleet::delivery
