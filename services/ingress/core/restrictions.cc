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

// The recipient of a relay check is named also when another stage's list asks for it.
std::optional<Refusal> CheckDestination(const SessionConfig& config, const AccessQuestion& question,
                                        int code) {
  if (question.answer == nullptr) return std::nullopt;
  const Answer& answer = *question.answer;
  const std::string_view recipient = question.recipient;
  if (!answer.failure().empty()) return LookupFailure(recipient);
  if (IsOurs(config, answer)) return std::nullopt;
  return Refusal{code,
                 Concat(code >= 500 ? "5.7.1 <" : "4.7.1 <", recipient, ">: Relay access denied"),
                 Refusal::Kind::kRelay};
}

}  // namespace

std::optional<Refusal> Evaluate(const SessionConfig& config, const Restrictions& restrictions,
                                const AccessQuestion& question) {
  for (const Restriction restriction : restrictions) {
    std::optional<Refusal> refusal;
    switch (restriction) {
      case Restriction::kPermit:
        return std::nullopt;
      case Restriction::kReject:
        return Refusal{config.reject_code,
                       Concat("5.7.1 <", question.subject, ">: ", Refused(question.stage),
                              " rejected: Access denied")};
      case Restriction::kDefer:
        return Refusal{config.defer_code,
                       Concat("4.3.2 <", question.subject, ">: ", Refused(question.stage),
                              " rejected: Try again later")};
      case Restriction::kPermitMynetworks:
        if (question.mynetworks == Membership::kYes) return std::nullopt;
        if (question.mynetworks == Membership::kUnknown) refusal = LookupFailure(question.subject);
        break;
      case Restriction::kPermitSaslAuthenticated:
        break;
      case Restriction::kRejectUnauthDestination:
        refusal = CheckDestination(config, question, config.relay_code);
        break;
      case Restriction::kDeferUnauthDestination:
        refusal = CheckDestination(config, question, config.relay_code - 100);
        break;
    }
    if (refusal) return refusal;
  }
  return std::nullopt;
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
