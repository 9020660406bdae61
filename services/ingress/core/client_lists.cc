#include "services/ingress/core/client_lists.h"

#include <algorithm>

#include "libs/tables/match_list.h"

namespace postfleet::ingress {

struct ClientLists::Lists {
  tables::MatchList mynetworks;
  tables::MatchList bare_newline_exclusions;
  tables::MatchList event_limit_exceptions;
  tables::MatchList xclient_hosts;
  tables::MatchList xforward_hosts;
  tables::MatchList verp_clients;
};

namespace {

Membership Ask(tables::MatchList& list, std::string_view name, const config::IpAddress& address) {
  const absl::StatusOr<bool> matches = list.MatchesHost(name, address);
  if (!matches.ok()) return Membership::kUnknown;
  return *matches ? Membership::kYes : Membership::kNo;
}

absl::StatusOr<tables::MatchList> OpenList(const config::Config& config,
                                           std::string_view parameter) {
  const std::vector<std::string> below = config.GetList("parent_domain_matches_subdomains");
  tables::MatchListOptions options{.kind = tables::MatchKind::kHost};
  options.parent_matches_subdomains =
      std::find(below.begin(), below.end(), parameter) != below.end();
  options.tables.default_type = config.GetString("default_database_type");
  return tables::MatchList::Open(parameter, config.GetString(parameter), options);
}

}  // namespace

ClientLists::ClientLists() = default;
ClientLists::~ClientLists() = default;
ClientLists::ClientLists(ClientLists&&) noexcept = default;
ClientLists& ClientLists::operator=(ClientLists&&) noexcept = default;

absl::StatusOr<ClientLists> ClientLists::Open(const config::Config& config) {
  ClientLists result;
  result.lists_ = std::make_unique<Lists>();
  const struct {
    std::string_view parameter;
    tables::MatchList* list;
  } rows[] = {
      {"mynetworks", &result.lists_->mynetworks},
      {"smtpd_forbid_bare_newline_exclusions", &result.lists_->bare_newline_exclusions},
      {"smtpd_client_event_limit_exceptions", &result.lists_->event_limit_exceptions},
      {"smtpd_authorized_xclient_hosts", &result.lists_->xclient_hosts},
      {"smtpd_authorized_xforward_hosts", &result.lists_->xforward_hosts},
      {"smtpd_authorized_verp_clients", &result.lists_->verp_clients},
  };
  for (const auto& row : rows) {
    absl::StatusOr<tables::MatchList> list = OpenList(config, row.parameter);
    if (!list.ok()) return list.status();
    *row.list = *std::move(list);
  }
  result.ipv4_prefix_length_ = static_cast<int>(config.GetInt("smtpd_client_ipv4_prefix_length"));
  result.ipv6_prefix_length_ = static_cast<int>(config.GetInt("smtpd_client_ipv6_prefix_length"));
  return result;
}

ClientMemberships ClientLists::Judge(std::string_view name, const config::IpAddress& address) {
  ClientMemberships result;
  if (lists_ == nullptr) return result;
  result.mynetworks = Ask(lists_->mynetworks, name, address);
  result.bare_newline_excluded =
      Ask(lists_->bare_newline_exclusions, name, address) == Membership::kYes;
  result.event_limit_excepted =
      Ask(lists_->event_limit_exceptions, name, address) == Membership::kYes;
  result.may_xclient = Ask(lists_->xclient_hosts, name, address) == Membership::kYes;
  result.may_xforward = Ask(lists_->xforward_hosts, name, address) == Membership::kYes;
  result.may_verp = Ask(lists_->verp_clients, name, address) == Membership::kYes;
  return result;
}

config::IpNetwork ClientLists::CountedNetwork(const config::IpAddress& address) const {
  const int length =
      address.is_v4() ? std::min(ipv4_prefix_length_, 32) : std::min(ipv6_prefix_length_, 128);
  return {address, length};
}

}  // namespace postfleet::ingress
