// The items of smtpd_*_restrictions that this version knows (SMTPD_ACCESS_README).
//
// Errors: InvalidArgument naming the parameter and the item, for everything else Postfix knows
// (named as not supported) and for what it does not know. An unknown restriction never becomes
// "permit".
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace postfleet::config {

struct Restriction {
  enum Kind {
    kPermit,
    kReject,
    kDefer,
    kPermitMynetworks,
    kPermitSaslAuthenticated,  // never matches: SASL is not there yet
    kRejectUnauthDestination,
    kDeferUnauthDestination,
    kSleep,
  };

  Restriction(Kind kind, int seconds = 0) : kind(kind), seconds(seconds) {}

  Kind kind;
  int seconds;  // kSleep: before the next one is tried
};

std::string_view RestrictionName(Restriction::Kind kind);

// The rule that keeps a server from being an open relay by accident (SMTPD_ACCESS_README): one of
// smtpd_relay_restrictions and smtpd_recipient_restrictions gets to a reject, defer or
// *_unauth_destination. smtpd(8) does not start otherwise. The error says what to do.
absl::Status CheckForeignRelay(const std::vector<Restriction>& relay,
                               const std::vector<Restriction>& recipient);

// `value` is expanded. `parameter` is for messages only.
absl::StatusOr<std::vector<Restriction>> ParseRestrictions(std::string_view parameter,
                                                           std::string_view value);

}  // namespace postfleet::config
