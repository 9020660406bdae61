#include "services/ingress/core/restrictions.h"

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

using config::Restriction;
using lookup::v1::Answer;

std::string_view Refused(Stage stage) {
  switch (stage) {
    case Stage::kClient:
      return "Client host";
    case Stage::kHelo:
      return "Helo command";
    case Stage::kSender:
      return "Sender address";
    case Stage::kRecipient:
      return "Recipient address";
    case Stage::kData:
      return "Data command";
    case Stage::kEndOfData:
      return "End-of-data";
    case Stage::kEtrn:
      return "Etrn command";
  }
  return "";
}

Refusal LookupFailure(std::string_view subject) {
  return {451, Concat("4.3.0 <", subject, ">: Temporary lookup failure"), Refusal::Kind::kLookup};
}

// Whether mail to it may come from anybody. What still has a route in its local part, for the next
// host to follow, is a stranger's wherever it goes first.
bool IsOurs(const SessionConfig& config, const Answer& answer) {
  const std::string_view recipient = answer.recipient();
  const size_t domain = recipient.rfind('@');
  if (!recipient.empty() && domain == recipient.npos) return true;  // append_at_myorigin = no
  if (!config.allow_untrusted_routing && recipient.find_first_of("@!%") != domain) return false;
  switch (answer.address_class()) {
    case lookup::v1::ADDRESS_CLASS_LOCAL:
    case lookup::v1::ADDRESS_CLASS_VIRTUAL_ALIAS:
    case lookup::v1::ADDRESS_CLASS_VIRTUAL_MAILBOX:
    case lookup::v1::ADDRESS_CLASS_RELAY:
      return true;
    default:
      return false;
  }
}

}  // namespace

Judging::Verdict Judging::Refuse(Refusal refusal) {
  refusal_ = std::move(refusal);
  return Verdict::kRefuse;
}

// The recipient is named also when another stage's list asks for it.
Judging::Verdict Judging::CheckDestination(const Answer* answer, int code) {
  if (answer == nullptr) return Verdict::kNone;
  if (!answer->failure().empty()) return Refuse(LookupFailure(recipient_));
  if (IsOurs(config_, *answer)) return Verdict::kNone;
  return Refuse({code,
                 Concat(code >= 500 ? "5.7.1 <" : "4.7.1 <", recipient_, ">: Relay access denied"),
                 Refusal::Kind::kRelay});
}

Judging::Verdict Judging::Try(Restriction::Kind kind, const StageCheck& check,
                              const Answer* answer) {
  switch (kind) {
    case Restriction::kPermit:
      return Verdict::kPermit;
    case Restriction::kReject:
      return Refuse(
          {config_.reject_code, Concat("5.7.1 <", check.subject, ">: ", Refused(check.stage),
                                       " rejected: Access denied")});
    case Restriction::kDefer:
      return Refuse(
          {config_.defer_code, Concat("4.3.2 <", check.subject, ">: ", Refused(check.stage),
                                      " rejected: Try again later")});
    case Restriction::kPermitMynetworks:
      if (mynetworks_ == Membership::kUnknown) return Refuse(LookupFailure(check.subject));
      return mynetworks_ == Membership::kYes ? Verdict::kPermit : Verdict::kNone;
    case Restriction::kRejectUnauthDestination:
      return CheckDestination(answer, config_.relay_code);
    case Restriction::kDeferUnauthDestination:
      return CheckDestination(answer, config_.relay_code - 100);
    case Restriction::kPermitSaslAuthenticated:
    case Restriction::kSleep:
      break;
  }
  return Verdict::kNone;
}

Judging::State Judging::Continue(const Answer* answer) {
  for (; check_ < checks_.size(); ++check_, item_ = 0) {
    const StageCheck& check = checks_[check_];
    while (item_ < check.list->size()) {
      const Restriction& restriction = (*check.list)[item_++];
      if (restriction.kind == Restriction::kSleep && restriction.seconds > 0) {
        wait_ms_ = restriction.seconds * int64_t{1000};
        return State::kWaits;
      }
      const Verdict verdict = Try(restriction.kind, check, answer);
      if (verdict == Verdict::kRefuse) return State::kRefused;
      if (verdict == Verdict::kPermit) break;
    }
  }
  return State::kPermitted;
}

std::optional<Refusal> RefuseUnlisted(const SessionConfig& config, std::string_view recipient,
                                      const Answer& answer) {
  if (!answer.failure().empty()) return LookupFailure(recipient);
  if (answer.listed() != Answer::LISTED_NO) return std::nullopt;
  std::string_view table;
  int code = 550;
  switch (answer.address_class()) {
    case lookup::v1::ADDRESS_CLASS_VIRTUAL_ALIAS:
      table = " in virtual alias table";
      code = config.unknown_virtual_alias_code;
      break;
    case lookup::v1::ADDRESS_CLASS_VIRTUAL_MAILBOX:
      table = " in virtual mailbox table";
      code = config.unknown_virtual_mailbox_code;
      break;
    case lookup::v1::ADDRESS_CLASS_RELAY:
      table = " in relay recipient table";
      code = config.unknown_relay_code;
      break;
    default:
      table = " in local recipient table";
      code = config.unknown_local_code;
      break;
  }
  if (!config.show_user_unknown_table_name) table = "";
  return Refusal{code,
                 Concat(code >= 500 ? "5.1.1 <" : "4.1.1 <", recipient,
                        ">: Recipient address rejected: User unknown", table),
                 Refusal::Kind::kUnlisted};
}

}  // namespace postfleet::ingress
