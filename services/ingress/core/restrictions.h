// Evaluates smtpd_*_restrictions (SMTPD_ACCESS_README), limited to libs/config/restrictions.h.
//
// Items are tried in order; the first permit or refusal decides, nothing deciding permits.
// Relay control: a destination is ours if its address class is not the default class, and nothing
// in its local part leads further (allow_untrusted_routing).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

// One list that decides on a command.
struct StageCheck {
  Stage stage = Stage::kClient;
  const Restrictions* list = nullptr;
  std::string subject;  // what the reply names: client, HELO name, sender, recipient, "DATA"
};

// The lists that decide on a command, tried in their order. A list that permits is over, a refusal
// ends all. What an item asks for may come later: then it is gone on with from there.
class Judging {
 public:
  enum class State { kPermitted, kRefused, kWaits };

  // `config` and the lists outlive it. `recipient` is for relay checks, as given.
  Judging(const SessionConfig& config, Membership mynetworks, std::vector<StageCheck> checks,
          std::string recipient)
      : config_(config),
        mynetworks_(mynetworks),
        checks_(std::move(checks)),
        recipient_(std::move(recipient)) {}

  // `answer`: of the recipient; nullptr: there is none.
  State Continue(const lookup::v1::Answer* answer);

  const Refusal& refusal() const { return refusal_; }  // kRefused
  int64_t wait_ms() const { return wait_ms_; }         // kWaits: Continue after this time

 private:
  enum class Verdict { kNone, kPermit, kRefuse };
  Verdict Try(config::Restriction::Kind kind, const StageCheck& check,
              const lookup::v1::Answer* answer);
  Verdict Refuse(Refusal refusal);
  Verdict CheckDestination(const lookup::v1::Answer* answer, int code);

  const SessionConfig& config_;
  const Membership mynetworks_;
  const std::vector<StageCheck> checks_;
  const std::string recipient_;
  size_t check_ = 0;  // the one that is tried
  size_t item_ = 0;   // of its list: the next one
  Refusal refusal_;
  int64_t wait_ms_ = 0;
};

// "User unknown in …" for a recipient that its class's table does not have (5.1.1), or the words
// of the transport `error` for one that is malformed. nullopt: listed, or no table says.
std::optional<Refusal> RefuseUnlisted(const SessionConfig& config, std::string_view recipient,
                                      const lookup::v1::Answer& answer);

}  // namespace postfleet::ingress
