#include "services/delivery/local/expansion.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

tables::Maps OpenMaps(const std::vector<std::string>& items, const LocalOptions& options,
                      absl::Status* status) {
  auto opened = tables::Maps::Open(items, options.tables);
  if (opened.ok()) return *std::move(opened);
  maillog::Warning(options.program, std::string(opened.status().message()));
  *status = opened.status();
  return {};
}

// RFC 3461, 5.2.7: success is told of the alias, not of its addresses.
uint32_t WithoutSuccess(uint32_t notify) {
  if (notify == mail::v1::NOTIFY_FLAG_SUCCESS) return mail::v1::NOTIFY_FLAG_NEVER;
  return notify & ~static_cast<uint32_t>(mail::v1::NOTIFY_FLAG_SUCCESS);
}

}  // namespace

LocalTables::LocalTables(const LocalOptions& options)
    : aliases(options.alias_maps, options.tables),
      mailbox_commands(OpenMaps(options.mailbox_command_maps, options, &opened)),
      mailbox_transports(OpenMaps(options.mailbox_transport_maps, options, &opened)),
      fallback_transports(OpenMaps(options.fallback_transport_maps, options, &opened)) {}

Expansion::Expansion(const LocalOptions& options, LocalTables& tables, Accounts& accounts,
                     std::string queue_id, std::string sender, mail::v1::Recipient recipient,
                     std::set<std::string> delivered_before)
    : options_(options),
      tables_(tables),
      accounts_(accounts),
      queue_id_(std::move(queue_id)),
      delivered_before_(std::move(delivered_before)) {
  Party party;
  party.recipient = std::move(recipient);
  if (party.recipient.original_address().empty()) {
    party.recipient.set_original_address(party.recipient.address());
  }
  party.sender = std::move(sender);
  Push(std::move(party), RecipientPlace{});
}

Step Expansion::Next() {
  while (steps_.empty() && !places_.empty()) {
    Place place = std::move(places_.back());
    places_.pop_back();
    std::visit([&](auto& what) { Visit(std::move(place.party), std::move(what)); }, place.what);
  }
  if (steps_.empty()) return {};
  Step step = std::move(steps_.front());
  steps_.pop_front();
  return step;
}

void Expansion::OnDone(Outcome::Action action) {
  if (action == Outcome::ACTION_DEFERRED) ++deferred_;
}

void Expansion::Push(Party party, decltype(Place::what) what) {
  places_.push_back({.party = std::move(party), .what = std::move(what)});
}

void Expansion::Ask(Step step, Place place) {
  asked_ = std::move(place);
  steps_.push_back(std::move(step));
}

void Expansion::Do(Step step) { steps_.push_back(std::move(step)); }

void Expansion::Decide(const Party& party, Outcome::Action action, const std::string& status,
                       const std::string& text) {
  Step step = {.kind = Step::Kind::kDecided, .party = party};
  step.outcome.set_action(action);
  step.outcome.set_status(status);
  step.outcome.set_text(text);
  Do(std::move(step));
}

void Expansion::Defer(const Party& party, const std::string& status, const std::string& text) {
  Decide(party, Outcome::ACTION_DEFERRED, status, text);
}

void Expansion::Bounce(const Party& party, const std::string& status, const std::string& text) {
  Decide(party, Outcome::ACTION_BOUNCED, status, text);
}

bool Expansion::IsSeen(const std::string& what) {
  const std::string key = mail::LowerCasedAscii(what);
  if (seen_.contains(key)) return true;
  if (options_.duplicates_max == 0 || seen_.size() < options_.duplicates_max) seen_.insert(key);
  return false;
}

bool Expansion::WasSeen(const std::string& what) const {
  return seen_.contains(mail::LowerCasedAscii(what));
}

UserIds Expansion::RightsOf(const Party& party) const {
  if (!party.rights || party.rights->ids.uid == 0) return options_.default_rights;
  return party.rights->ids;
}

void Expansion::Visit(Party party, RecipientPlace) {
  ++party.level;
  const std::string& address = party.recipient.address();
  if (IsSeen(Concat("recipient ", party.level, " ", address))) return;
  if (delivered_before_.contains(mail::LowerCasedAscii(address))) {
    return Bounce(party, "5.4.6", Concat("mail forwarding loop for ", address));
  }
  if (party.delivered.empty()) party.delivered = address;
  SplitAddress(&party);
  if (party.user.empty()) {
    return Bounce(party, "5.1.3", Concat("null username in \"", address, "\""));
  }
  Switch(std::move(party));
}

void Expansion::SplitAddress(Party* party) {
  const std::string lower = mail::LowerCasedAscii(party->recipient.address());
  const size_t at = lower.rfind('@');
  party->local = lower.substr(0, at);
  party->domain = at == std::string::npos ? "" : lower.substr(at + 1);
  if (at == std::string::npos) {
    maillog::Warning(options_.program, "no @ in recipient address: ", party->recipient.address());
  }
  party->user = party->local;
  party->extension.reset();
  if (const auto user = tables::WithoutExtension(party->local, options_.recipient_delimiter)) {
    party->user = std::string(*user);
    party->delimiter = party->local[user->size()];
    party->extension = party->local.substr(user->size() + 1);
  }
  // It could name another folder where it is part of a path.
  if (party->extension && party->extension->find('/') != std::string::npos) {
    maillog::Warning(options_.program, queue_id_,
                     ": address with illegal extension: ", party->local);
    party->extension.reset();
  }
  party->unmatched = party->extension;
}

void Expansion::Switch(Party party) {
  if (party.recipient.address().starts_with('\\')) {
    // To the user, whatever aliases and .forward files say.
    party.recipient.set_address(party.recipient.address().substr(1));
    party.local.erase(0, 1);
    party.user.erase(0, 1);
    return Push(std::move(party), MailboxPlace{});
  }
  party.unmatched.reset();
  if (TryAlias(party, party.local)) return;
  if (party.extension) {
    if ((options_.extensions_go_to & static_cast<int>(Origin::kAlias)) != 0) {
      party.unmatched = party.extension;
    }
    if (TryAlias(party, party.user)) return;
    party.unmatched = party.extension;
  }
  // Who was forwarded to by another user or a list gets a message of its own, with its own state in
  // the queue.
  if (party.owner && mail::LowerCasedAscii(*party.owner) != party.user) return Forward(party);
  if (party.origin == Origin::kInclude) return Forward(party);
  ToUser(std::move(party));
}

bool Expansion::TryAlias(const Party& before, const std::string& name) {
  // An alias that names itself means the user.
  if (before.expanded_from && mail::LowerCasedAscii(*before.expanded_from) == name) return false;
  Party party = before;
  if (++party.level > kLevelsMax) {
    maillog::Warning(options_.program, "alias database loop for ", name);
    Bounce(party, "5.4.6", Concat("alias database loop for ", name));
    return true;
  }
  const auto found = tables_.aliases.Find(name);
  if (!found.ok()) {
    maillog::Warning(options_.program, std::string(found.status().message()), ": lookup of '", name,
                     "' failed");
    Defer(party, "4.3.0", "alias database unavailable");
    return true;
  }
  if (!*found) return false;
  party.expanded_from = name;
  party.origin = Origin::kAlias;
  if (!TakeAliasRights(**found, &party) || !TakeOwner(name, &party)) return true;
  if (!options_.frozen_delivered_to) party.delivered = party.recipient.address();
  std::vector<Destination> destinations = ReadDestinations((*found)->value);
  if (destinations.empty()) {
    maillog::Warning(options_.program, "no recipient in alias lookup result for ", name);
    Defer(party, "4.3.0", "alias database unavailable");
    return true;
  }
  const uint32_t notify = before.recipient.dsn_notify();
  Push(party, AliasEndPlace{.notify = notify, .deferred_before = deferred_});
  if (!party.is_list) party.recipient.set_dsn_notify(WithoutSuccess(notify));
  Push(std::move(party), DestinationsPlace{.destinations = std::move(destinations)});
  return true;
}

bool Expansion::TakeAliasRights(const AliasTables::Found& found, Party* party) {
  if (!found.owner) {
    maillog::Warning(options_.program, "no owner UID for alias database ", found.table);
    Defer(*party, "4.3.0", "mail system configuration error");
    return false;
  }
  party->rights.reset();
  if (*found.owner == 0) return true;
  const auto user = accounts_.ByUid(*found.owner);
  if (!user.ok() || !*user) {
    maillog::Warning(options_.program, "cannot find alias database owner for ", found.table,
                     user.ok() ? "" : ": ", user.ok() ? "" : std::string(user.status().message()));
    Defer(*party, "4.3.0", "cannot find alias database owner");
    return false;
  }
  party->rights = **user;
  return true;
}

bool Expansion::TakeOwner(const std::string& name, Party* party) {
  std::optional<AliasTables::Found> owner;
  const std::string alias = Concat("owner-", name);
  if (options_.owner_request_special) {
    auto found = tables_.aliases.Find(alias);
    if (!found.ok()) {
      maillog::Warning(options_.program, std::string(found.status().message()), ": lookup of '",
                       alias, "' failed");
      Defer(*party, "4.3.0", "alias database unavailable");
      return false;
    }
    owner = *std::move(found);
  }
  if (!owner) {
    if (options_.reset_owner_alias) party->owner.reset();
    return true;
  }
  const std::vector<std::string> addresses = message::ReadAddressList(
      options_.rewriting, options_.expand_owner_alias ? owner->value : alias);
  party->sender = addresses.empty() ? "" : addresses.front();
  party->owner = party->sender;
  party->is_list = true;
  // RFC 3461, 5.2.7.4: a list's mail owes nothing to whoever sent it.
  party->recipient.clear_dsn_notify();
  party->recipient.clear_dsn_orcpt();
  party->recipient.clear_original_address();
  return true;
}

void Expansion::Visit(Party party, AliasEndPlace place) {
  if (deferred_ > place.deferred_before) return;
  if ((place.notify & mail::v1::NOTIFY_FLAG_SUCCESS) == 0) return;
  success_ = party.is_list ? Outcome::SUCCESS_DELIVERED : Outcome::SUCCESS_EXPANDED;
}

void Expansion::Visit(Party party, DestinationsPlace place) {
  if (place.next >= place.destinations.size()) return;
  const Destination destination = place.destinations[place.next++];
  Push(party, std::move(place));
  ++party.level;
  switch (destination.kind) {
    case Destination::Kind::kFile:
      return ToFile(party, destination.text);
    case Destination::Kind::kHome:
      if (!destination.text.starts_with("~/")) {
        maillog::Warning(options_.program, "bad home directory syntax for: ", destination.text);
      } else if (!party.rights) {
        maillog::Warning(options_.program, "unknown home directory for: ", destination.text);
      } else {
        return ToFile(party, Concat(party.rights->home == "/" ? "" : party.rights->home,
                                    destination.text.substr(1)));
      }
      return Bounce(party, "5.3.5", "mail system configuration error");
    case Destination::Kind::kCommand:
      return ToCommand(party, destination.text);
    case Destination::Kind::kInclude:
      return ToInclude(std::move(party), destination.text);
    case Destination::Kind::kAddress:
      ++party.level;
      Step step = {.kind = Step::Kind::kFindRoute, .party = party, .text = destination.text};
      return Ask(std::move(step), {.party = std::move(party), .what = AddressPlace{}});
  }
}

// What has been asked for comes back by OnRoute.
void Expansion::Visit(Party, AddressPlace) {}

void Expansion::OnRoute(const absl::Status& status, const Route& route) {
  Party party = std::move(asked_->party);
  asked_.reset();
  if (!status.ok()) return Defer(party, "4.3.0", "address resolver failure");
  std::string address = route.recipient;
  if (party.unmatched) {
    const size_t at = address.rfind('@');
    address.insert(at == std::string::npos ? address.size() : at,
                   Concat(std::string(1, party.delimiter), *party.unmatched));
  }
  party.recipient.set_address(address);
  if (route.transport != options_.service) return Forward(party);
  Push(std::move(party), RecipientPlace{});
}

void Expansion::Forward(const Party& party) {
  if (IsSeen(Concat("indirect ", party.recipient.address()))) return;
  for (Forwarding& forwarding : forwards_) {
    if (forwarding.delivered == party.delivered && forwarding.sender == party.sender) {
      forwarding.recipients.push_back(party.recipient);
      return;
    }
  }
  forwards_.push_back({.delivered = party.delivered,
                       .sender = party.sender,
                       .is_list = party.is_list,
                       .recipients = {party.recipient}});
}

NameValue NamesOf(const Party& party, const LocalOptions& options) {
  return [&party, &options](std::string_view name) -> std::optional<std::string> {
    if (name == "user") return party.user;
    if (name == "home" && party.rights) return party.rights->home;
    if (name == "shell" && party.rights) return party.rights->shell;
    if (name == "domain" && !party.domain.empty()) return party.domain;
    if (name == "local") return party.local;
    if (name == "recipient") return party.recipient.address();
    if (name == "extension") return party.extension;
    if (name == "recipient_delimiter") {
      if (party.extension) return std::string(1, party.delimiter);
      if (!options.recipient_delimiter.empty()) return options.recipient_delimiter.substr(0, 1);
    }
    return std::nullopt;
  };
}

}  // namespace postfleet::delivery
