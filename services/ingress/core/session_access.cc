// Who may send what to whom: restrictions in the order of smtpd(8).
#include "libs/base/concat.h"
#include "libs/mail/enhanced_status.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {
namespace {

// The transport `error` names a status and a text: "5.1.3 bad address syntax".
Refusal RefuseByErrorTransport(std::string_view recipient, std::string_view nexthop) {
  size_t length = 0;
  const auto status = mail::ParseEnhancedStatusPrefix(nexthop, &length);
  std::string_view text = nexthop.substr(length);
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string code = status ? status->ToString() : "5.1.1";
  return {status && status->IsTransient() ? 450 : 550,
          Concat(code, " <", recipient, ">: Recipient address rejected: ", text),
          Refusal::Kind::kUnlisted};
}

}  // namespace

std::optional<Refusal> Session::Check(const Restrictions& list, Stage stage,
                                      std::string_view subject, std::string_view recipient,
                                      const lookup::v1::Answer* answer) const {
  return Evaluate(config_, list, {stage, subject, facts_.mynetworks, recipient, answer});
}

std::optional<Refusal> Session::CheckRecipient(const lookup::v1::Answer& answer) const {
  const std::string recipient = asked_.recipient.ToString();
  if (!answer.failure().empty() && answer.recipient().empty()) {
    return Refusal{451, Concat("4.3.0 <", recipient, ">: Temporary lookup failure"),
                   Refusal::Kind::kLookup};
  }
  const std::string sender = transaction_ == nullptr ? "" : transaction_->sender.ToString();
  struct Row {
    const Restrictions* list;
    Stage stage;
    std::string_view subject;
    bool applies;
  };
  const bool relay_first = config_.relay_before_recipient;
  const Row rows[] = {
      {&config_.client_restrictions, Stage::kClient, client_, config_.delay_reject},
      {&config_.helo_restrictions, Stage::kHelo, helo_, config_.delay_reject && !helo_.empty()},
      {&config_.sender_restrictions, Stage::kSender, sender,
       config_.delay_reject && transaction_ != nullptr},
      {relay_first ? &config_.relay_restrictions : &config_.recipient_restrictions,
       Stage::kRecipient, recipient, true},
      {relay_first ? &config_.recipient_restrictions : &config_.relay_restrictions,
       Stage::kRecipient, recipient, true},
  };
  for (const Row& row : rows) {
    if (!row.applies) continue;
    if (auto refusal = Check(*row.list, row.stage, row.subject, recipient, &answer)) {
      return refusal;
    }
  }
  if (!config_.reject_unlisted_recipient) return std::nullopt;
  if (answer.failure().empty() && answer.transport() == "error") {
    return RefuseByErrorTransport(recipient, answer.nexthop());
  }
  return RefuseUnlisted(config_, recipient, answer);
}

bool Session::JudgeRecipient(const lookup::v1::Answer& answer, Actions* actions) {
  const bool vrfy = awaiting_verb_ == smtp::Verb::kVrfy;
  if (const auto refusal = CheckRecipient(answer)) {
    return Refuse(vrfy ? "VRFY" : "RCPT", *refusal, actions);
  }
  if (!vrfy) return AcceptRecipient(answer, actions);
  Reply(252, Concat("2.0.0 ", asked_.orcpt), actions);
  return true;
}

void Session::OnResolved(const lookup::v1::Answer& answer, Actions* actions) {
  if (phase_ != Phase::kAwaitingAnswer) return;
  phase_ = Phase::kCommand;
  const bool good = JudgeRecipient(answer, actions);
  FinishCommand(awaiting_verb_, good, actions);
  awaiting_verb_ = smtp::Verb::kUnknown;
  asked_ = {};
  Resume(actions);
}

}  // namespace postfleet::ingress
