#include "libs/config/restrictions.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

struct Row {
  std::string_view name;
  Restriction::Kind kind;
};
constexpr std::array<Row, 8> kSupported = {{
    {"permit", Restriction::kPermit},
    {"reject", Restriction::kReject},
    {"defer", Restriction::kDefer},
    {"permit_mynetworks", Restriction::kPermitMynetworks},
    {"permit_sasl_authenticated", Restriction::kPermitSaslAuthenticated},
    {"reject_unauth_destination", Restriction::kRejectUnauthDestination},
    {"defer_unauth_destination", Restriction::kDeferUnauthDestination},
    {"sleep", Restriction::kSleep},
}};

// Postfix's others (SMTPD_ACCESS_README), to tell them from misspellings.
constexpr std::string_view kPostfixOnly[] = {
    "check_ccert_access",
    "check_client_a_access",
    "check_client_access",
    "check_client_mx_access",
    "check_client_ns_access",
    "check_etrn_access",
    "check_helo_a_access",
    "check_helo_access",
    "check_helo_mx_access",
    "check_helo_ns_access",
    "check_policy_service",
    "check_recipient_a_access",
    "check_recipient_access",
    "check_recipient_mx_access",
    "check_recipient_ns_access",
    "check_reverse_client_hostname_a_access",
    "check_reverse_client_hostname_access",
    "check_reverse_client_hostname_mx_access",
    "check_reverse_client_hostname_ns_access",
    "check_sasl_access",
    "check_sender_a_access",
    "check_sender_access",
    "check_sender_mx_access",
    "check_sender_ns_access",
    "defer_if_permit",
    "defer_if_reject",
    "permit_auth_destination",
    "permit_dnswl_client",
    "permit_inet_interfaces",
    "permit_mx_backup",
    "permit_rhswl_client",
    "permit_tls_all_clientcerts",
    "permit_tls_clientcerts",
    "reject_authenticated_sender_login_mismatch",
    "reject_invalid_helo_hostname",
    "reject_invalid_hostname",
    "reject_known_sender_login_mismatch",
    "reject_multi_recipient_bounce",
    "reject_non_fqdn_helo_hostname",
    "reject_non_fqdn_hostname",
    "reject_non_fqdn_recipient",
    "reject_non_fqdn_sender",
    "reject_plaintext_session",
    "reject_rbl_client",
    "reject_rhsbl_client",
    "reject_rhsbl_helo",
    "reject_rhsbl_recipient",
    "reject_rhsbl_reverse_client",
    "reject_rhsbl_sender",
    "reject_sender_login_mismatch",
    "reject_unauth_pipelining",
    "reject_unauthenticated_sender_login_mismatch",
    "reject_unknown_address",
    "reject_unknown_client",
    "reject_unknown_client_hostname",
    "reject_unknown_forward_client_hostname",
    "reject_unknown_helo_hostname",
    "reject_unknown_hostname",
    "reject_unknown_recipient_domain",
    "reject_unknown_reverse_client_hostname",
    "reject_unknown_sender_domain",
    "reject_unlisted_recipient",
    "reject_unlisted_sender",
    "reject_unverified_recipient",
    "reject_unverified_sender",
    "warn_if_reject",
};

// Clients wait no longer.
constexpr int64_t kSleepSecondsMax = 600;

absl::Status Refuse(std::string_view parameter, std::string_view item) {
  bool known =
      std::find(std::begin(kPostfixOnly), std::end(kPostfixOnly), item) != std::end(kPostfixOnly) ||
      item.find(':') != item.npos || item.front() == '{';
  if (known) {
    return absl::InvalidArgumentError(Concat("parameter ", parameter, ": restriction \"", item,
                                             "\" is not supported yet; remove it to start"));
  }
  return absl::InvalidArgumentError(Concat("parameter ", parameter,
                                           ": unknown smtpd restriction: \"", item,
                                           "\"; correct or remove it"));
}

bool RefuseForeignRelay(const std::vector<Restriction>& relay,
                        const std::vector<Restriction>& recipient) {
  for (const std::vector<Restriction>* list : {&relay, &recipient}) {
    for (const Restriction restriction : *list) {
      if (restriction.kind == Restriction::kPermit) break;  // what follows is never reached
      if (restriction.kind == Restriction::kReject || restriction.kind == Restriction::kDefer ||
          restriction.kind == Restriction::kRejectUnauthDestination ||
          restriction.kind == Restriction::kDeferUnauthDestination) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

std::string_view RestrictionName(Restriction::Kind kind) {
  for (const Row& row : kSupported) {
    if (row.kind == kind) return row.name;
  }
  return "";
}

absl::Status CheckForeignRelay(const std::vector<Restriction>& relay,
                               const std::vector<Restriction>& recipient) {
  if (RefuseForeignRelay(relay, recipient)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one "
      "working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer");
}

absl::StatusOr<std::vector<Restriction>> ParseRestrictions(std::string_view parameter,
                                                           std::string_view value) {
  std::vector<Restriction> restrictions;
  const std::vector<std::string> items = SplitList(value);
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string name = absl::AsciiStrToLower(items[i]);
    auto row = std::find_if(kSupported.begin(), kSupported.end(),
                            [&](const Row& candidate) { return candidate.name == name; });
    if (row == kSupported.end()) return Refuse(parameter, name);
    int seconds = 0;
    if (row->kind == Restriction::kSleep) {
      const absl::StatusOr<int64_t> number = ParseInteger(++i < items.size() ? items[i] : "");
      if (!number.ok() || *number < 0 || *number > kSleepSecondsMax) {
        return absl::InvalidArgumentError(Concat("parameter ", parameter, ": \"sleep\" needs a ",
                                                 "number of seconds, at most ", kSleepSecondsMax));
      }
      seconds = static_cast<int>(*number);
    }
    restrictions.emplace_back(row->kind, seconds);
  }
  return restrictions;
}

}  // namespace postfleet::config
