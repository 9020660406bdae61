// Evaluates smtpd_*_restrictions (SMTPD_ACCESS_README), limited to libs/config/restrictions.h.
//
// Items are tried in order; the first permit or refusal decides, nothing deciding permits.
// Relay control: a destination is ours if its address class is not the default class, and nothing
// in its local part leads further (allow_untrusted_routing).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proto/postfleet/lookup/v1/lookup.pb.h"
#include "services/ingress/core/session_config.h"

namespace postfleet::ingress {

enum class Stage { kClient, kHelo, kSender, kRecipient, kData, kEndOfData, kEtrn };

// Whether a client is on a list. kUnknown: a table of the list could not be read.
enum class Membership { kNo, kYes, kUnknown };

// A reply that says no: "554", "5.7.1 <x>: Relay access denied".
struct Refusal {
  int code = 0;
  std::string text;
  enum class Kind { kAccess, kRelay, kUnlisted, kLookup } kind = Kind::kAccess;
};

struct AccessQuestion {
  Stage stage = Stage::kClient;
  std::string_view subject;  // what the reply names: client, HELO name, sender, recipient, "DATA"
  Membership mynetworks = Membership::kNo;
  std::string_view recipient;                  // for relay checks, as given
  const lookup::v1::Answer* answer = nullptr;  // of that recipient; nullptr: there is none
};

// nullopt: permitted.
std::optional<Refusal> Evaluate(const SessionConfig& config, const Restrictions& restrictions,
                                const AccessQuestion& question);

// "User unknown in …" for a recipient that its class's table does not have (5.1.1), or the words
// of the transport `error` for one that is malformed. nullopt: listed, or no table says.
std::optional<Refusal> RefuseUnlisted(const SessionConfig& config, std::string_view recipient,
                                      const lookup::v1::Answer& answer);

}  // namespace postfleet::ingress
