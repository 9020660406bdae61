#include "services/lookup/core/resolver.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/ip_network.h"
#include "libs/mail/address.h"
#include "libs/tables/maps.h"
#include "libs/tables/match_list.h"
#include "services/lookup/core/own_domains.h"

namespace postfleet::lookup {
namespace {

using tables::MatchKind;
using tables::MatchList;
using Found = absl::StatusOr<std::optional<std::string>>;

constexpr std::string_view kBadSyntax = "5.1.3 bad recipient address syntax";

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::string Lower(std::string_view text) {
  return absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
}

bool IsLiteral(std::string_view domain) { return domain.starts_with('['); }

// Whose nexthop, if a table names none, is a text and not a host.
bool IsErrorTransport(std::string_view transport) {
  return transport == "error" || transport == "retry";
}

// "transport:nexthop" of a *_transport parameter.
struct Route {
  std::string transport;
  std::string nexthop;
};

Route SplitRoute(std::string_view text) {
  size_t colon = text.find(':');
  Route route;
  route.transport = text.substr(0, colon);
  if (colon != text.npos) route.nexthop = text.substr(colon + 1);
  while (route.nexthop.starts_with(' ')) route.nexthop.erase(0, 1);
  return route;
}

// A result of transport_maps on top of the class's route (transport(5), RESULT FORMAT).
void ApplyTransportEntry(std::string_view entry, std::string_view domain, Route& route) {
  Route found = SplitRoute(entry);
  if (found.transport.empty()) {
    if (!found.nexthop.empty()) route.nexthop = std::move(found.nexthop);
    return;
  }
  route.transport = std::move(found.transport);
  if (!found.nexthop.empty()) {
    route.nexthop = std::move(found.nexthop);
  } else {
    route.nexthop = IsErrorTransport(route.transport) ? "Address is undeliverable" : domain;
  }
}

}  // namespace

struct Resolver::Tables {
  MatchList mydestination;
  MatchList virtual_mailbox_domains;
  MatchList relay_domains;
  tables::Maps transport_maps;
  tables::Maps local_recipient_maps;
  tables::Maps virtual_mailbox_maps;
  tables::Maps relay_recipient_maps;
};

// One question. Every step returns what a table could not answer.
class Resolution {
 public:
  Resolution(const ResolverParameters& parameters, Resolver::Tables& tables, v1::Answer& answer)
      : parameters_(parameters), tables_(tables), answer_(answer) {}

  absl::Status Run(std::string_view recipient, bool check_listed) {
    const IsOwn is_own = [this](std::string_view domain) { return IsLocal(domain); };
    absl::StatusOr<Destination> to = StripOwnDomains(parameters_.own_domains, recipient, is_own);
    if (!to.ok()) return to.status();
    address_ = mail::SplitAddress(to->address);
    absl::Status status = TakeNumericDomain(&to->own);
    if (!status.ok()) return status;
    answer_.set_recipient(address_.ToString());
    const bool option = !parameters_.allow_min_user && address_.ToString().starts_with('-');
    if (to->malformed || option || !mail::IsMailDomain(address_.domain, /*allow_non_ascii=*/true)) {
      SetRoute({"error", std::string(kBadSyntax)});
      return absl::OkStatus();
    }
    if (status = Classify(to->own); !status.ok()) return status;
    Route route = ClassRoute();
    status = ApplyTransportMaps(route);
    if (status.ok() && check_listed) status = CheckListed();
    if (status.ok()) SetRoute(std::move(route));
    return status;
  }

 private:
  // resolve_numeric_domain: user@192.0.2.1 is user@[192.0.2.1].
  absl::Status TakeNumericDomain(bool* own) {
    if (!parameters_.resolve_numeric_domain || !mail::IsNetworkAddress(address_.domain)) {
      return absl::OkStatus();
    }
    address_.domain = Concat(
        address_.domain.find(':') == std::string::npos ? "[" : "[IPv6:", address_.domain, "]");
    absl::StatusOr<bool> matched = IsLocal(address_.domain);
    if (!matched.ok()) return matched.status();
    *own = *matched;
    return absl::OkStatus();
  }

  absl::Status Classify(bool own) {
    if (own) return SetClass(v1::ADDRESS_CLASS_LOCAL);
    absl::StatusOr<bool> matched = tables_.virtual_mailbox_domains.Matches(address_.domain);
    if (!matched.ok()) return matched.status();
    if (*matched) return SetClass(v1::ADDRESS_CLASS_VIRTUAL_MAILBOX);
    matched = tables_.relay_domains.Matches(address_.domain);
    if (!matched.ok()) return matched.status();
    return SetClass(*matched ? v1::ADDRESS_CLASS_RELAY : v1::ADDRESS_CLASS_DEFAULT);
  }

  absl::Status SetClass(v1::AddressClass address_class) {
    answer_.set_address_class(address_class);
    return absl::OkStatus();
  }

  absl::StatusOr<bool> IsLocal(std::string_view domain) {
    absl::StatusOr<bool> matched = tables_.mydestination.Matches(domain);
    if (!matched.ok() || *matched || !IsLiteral(domain)) return matched;
    std::optional<config::IpAddress> literal = config::IpAddress::Parse(domain);
    for (const config::IpAddress& own : parameters_.own_addresses) {
      if (literal && own == *literal) return true;
    }
    return false;
  }

  // relayhost stands in for the domain in the default and relay classes; a nexthop in the transport
  // parameter overrides both.
  Route ClassRoute() const {
    std::string_view parameter = parameters_.default_transport;
    std::string nexthop = address_.domain;
    switch (answer_.address_class()) {
      case v1::ADDRESS_CLASS_LOCAL:
        parameter = parameters_.local_transport;
        break;
      case v1::ADDRESS_CLASS_VIRTUAL_MAILBOX:
        parameter = parameters_.virtual_transport;
        break;
      case v1::ADDRESS_CLASS_RELAY:
        parameter = parameters_.relay_transport;
        [[fallthrough]];
      default:
        if (!parameters_.relayhost.empty()) nexthop = parameters_.relayhost;
    }
    Route route = SplitRoute(parameter);
    if (route.nexthop.empty()) route.nexthop = std::move(nexthop);
    return route;
  }

  absl::Status ApplyTransportMaps(Route& route) {
    if (tables_.transport_maps.empty()) return absl::OkStatus();
    Found entry = FindTransport();
    if (!entry.ok()) return Name("transport_maps", entry.status());
    if (*entry) ApplyTransportEntry(**entry, address_.domain, route);
    return absl::OkStatus();
  }

  Found FindTransport() {
    tables::Maps& maps = tables_.transport_maps;
    tables::AddressForms forms{parameters_.recipient_delimiter, false, false};
    Found found = maps.FindAddress(address_.ToString(), forms);
    std::string_view key = address_.domain;
    while (found.ok() && !found->has_value() && !key.empty()) {
      found = maps.LookupPartial(key);
      if (IsLiteral(address_.domain)) break;
      size_t dot = key.find('.', 1);
      key = dot == key.npos ? std::string_view() : key.substr(dot);
      if (parameters_.transport_maps_match_subdomains && !key.empty()) key.remove_prefix(1);
    }
    if (!found.ok() || found->has_value()) return found;
    return maps.LookupPartial("*");
  }

  absl::Status CheckListed() {
    switch (answer_.address_class()) {
      case v1::ADDRESS_CLASS_LOCAL:
        return LookUpListed("local_recipient_maps", tables_.local_recipient_maps, true);
      case v1::ADDRESS_CLASS_VIRTUAL_MAILBOX:
        return LookUpListed("virtual_mailbox_maps", tables_.virtual_mailbox_maps, false);
      case v1::ADDRESS_CLASS_RELAY:
        return LookUpListed("relay_recipient_maps", tables_.relay_recipient_maps, false);
      default:
        answer_.set_listed(v1::Answer::LISTED_NO_TABLE);
        return absl::OkStatus();
    }
  }

  absl::Status LookUpListed(std::string_view parameter, tables::Maps& maps, bool bare_user) {
    if (maps.empty()) {
      answer_.set_listed(v1::Answer::LISTED_NO_TABLE);
      return absl::OkStatus();
    }
    if (bare_user && ExistsEverywhere()) {
      answer_.set_listed(v1::Answer::LISTED_YES);
      return absl::OkStatus();
    }
    Found found =
        maps.FindAddress(address_.ToString(), {parameters_.recipient_delimiter, bare_user, true});
    if (!found.ok()) return Name(parameter, found.status());
    answer_.set_listed(found->has_value() ? v1::Answer::LISTED_YES : v1::Answer::LISTED_NO);
    return absl::OkStatus();
  }

  // The sender of our own probes is discarded, the others have no table to be in.
  bool ExistsEverywhere() const {
    const std::string user = Lower(address_.local_part);
    return user == Lower(parameters_.double_bounce_sender) || user == "postmaster" ||
           user == "mailer-daemon";
  }

  static absl::Status Name(std::string_view parameter, const absl::Status& status) {
    return absl::UnavailableError(Concat(parameter, ": ", Text(status)));
  }

  void SetRoute(Route route) {
    // A text and a path keep their capitals.
    const std::vector<std::string>& texts = parameters_.text_transports;
    const bool as_it_is = IsErrorTransport(route.transport) ||
                          std::find(texts.begin(), texts.end(), route.transport) != texts.end() ||
                          route.nexthop.starts_with("unix:");
    answer_.set_nexthop(as_it_is ? route.nexthop : Lower(route.nexthop));
    answer_.set_transport(std::move(route.transport));
  }

  const ResolverParameters& parameters_;
  Resolver::Tables& tables_;
  v1::Answer& answer_;
  mail::Address address_;
};

namespace {

absl::Status OpenList(std::string_view parameter, const std::string& value,
                      const tables::MatchListOptions& options, MatchList& list) {
  absl::StatusOr<MatchList> opened = MatchList::Open(parameter, value, options);
  if (!opened.ok()) return opened.status();
  list = *std::move(opened);
  return absl::OkStatus();
}

absl::Status OpenMaps(std::string_view parameter, const std::vector<std::string>& items,
                      const tables::OpenOptions& options, tables::Maps& maps) {
  absl::StatusOr<tables::Maps> opened = tables::Maps::Open(items, options);
  if (!opened.ok()) {
    return absl::InvalidArgumentError(Concat("parameter ", parameter, ": ", Text(opened.status())));
  }
  maps = *std::move(opened);
  return absl::OkStatus();
}

// A transport parameter without a transport would resolve to nothing.
absl::Status CheckTransports(const ResolverParameters& p) {
  const std::pair<std::string_view, const std::string*> rows[] = {
      {"local_transport", &p.local_transport},
      {"virtual_transport", &p.virtual_transport},
      {"relay_transport", &p.relay_transport},
      {"default_transport", &p.default_transport}};
  for (const auto& [name, value] : rows) {
    if (SplitRoute(*value).transport.empty()) {
      return absl::InvalidArgumentError(
          Concat("parameter ", name, ": null transport is not allowed: \"", *value, "\""));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Resolver::Resolver(ResolverParameters parameters, std::unique_ptr<Tables> tables)
    : parameters_(std::move(parameters)), tables_(std::move(tables)) {}
Resolver::~Resolver() = default;

absl::StatusOr<std::unique_ptr<Resolver>> Resolver::Open(ResolverParameters p, const Clock& clock) {
  auto tables = std::make_unique<Tables>();
  tables::OpenOptions open{&clock, p.default_database_type};
  tables::MatchListOptions strings{MatchKind::kString, false, open};
  tables::MatchListOptions domains{MatchKind::kDomain, p.relay_domains_match_subdomains, open};
  for (const absl::Status& status : {
           CheckTransports(p),
           OpenList("mydestination", p.mydestination, strings, tables->mydestination),
           OpenList("virtual_mailbox_domains", p.virtual_mailbox_domains, strings,
                    tables->virtual_mailbox_domains),
           OpenList("relay_domains", p.relay_domains, domains, tables->relay_domains),
           OpenMaps("transport_maps", p.transport_maps, open, tables->transport_maps),
           OpenMaps("local_recipient_maps", p.local_recipient_maps, open,
                    tables->local_recipient_maps),
           OpenMaps("virtual_mailbox_maps", p.virtual_mailbox_maps, open,
                    tables->virtual_mailbox_maps),
           OpenMaps("relay_recipient_maps", p.relay_recipient_maps, open,
                    tables->relay_recipient_maps),
       }) {
    if (!status.ok()) return status;
  }
  return std::unique_ptr<Resolver>(new Resolver(std::move(p), std::move(tables)));
}

v1::Answer Resolver::Resolve(std::string_view recipient, std::string_view /*sender*/,
                             bool check_listed) {
  v1::Answer answer;
  absl::Status status = Resolution(parameters_, *tables_, answer).Run(recipient, check_listed);
  if (!status.ok()) answer.set_failure(std::string(Text(status)));
  return answer;
}

}  // namespace postfleet::lookup
