// Who may send what to whom: restrictions in the order of smtpd(8).
#include "libs/base/concat.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {
namespace {

bool IsPostmaster(const mail::Address& address) {
  return !address.HasDomain() && mail::LowerCasedAscii(address.local_part) == "postmaster";
}

// What the local part leads to is no address.
bool IsMalformed(const lookup::v1::Answer& answer, bool smtputf8) {
  if (!answer.failure().empty()) return false;
  if (!smtputf8 && mail::Address{"", mail::SplitAddress(answer.recipient()).domain}.HasNonAscii()) {
    return true;
  }
  return answer.transport() == "error" &&
         answer.address_class() == lookup::v1::ADDRESS_CLASS_UNSPECIFIED;
}

}  // namespace

bool Session::JudgeRecipient(Actions* actions) {
  const lookup::v1::Answer& answer = *answer_;
  const bool vrfy = awaiting_verb_ == smtp::Verb::kVrfy;
  const Decided decided = vrfy ? &Session::VrfyDecided : &Session::RcptDecided;
  if (IsMalformed(answer, vrfy || transaction_->smtputf8)) {
    LogBadAddress(awaiting_verb_, Concat('<', asked_.recipient_text, '>'), actions);
    return Fail(501, "5.1.3 Bad recipient address syntax", actions);
  }
  // RFC 5321, 4.5.1: whoever asks for it.
  if (IsPostmaster(asked_.recipient)) {
    if (!vrfy) return AcceptRecipient(actions);
    Reply(252, Concat("2.0.0 ", asked_.orcpt), actions);
    return true;
  }
  std::string recipient = asked_.recipient.ToString();
  if (!answer.failure().empty() && answer.recipient().empty()) {
    return (this->*decided)(
        Refusal{451, Concat("4.3.0 <", recipient, ">: Temporary lookup failure"),
                Refusal::Kind::kLookup},
        actions);
  }
  return Judge(Stage::kRecipient, std::move(recipient), decided, actions);
}

void Session::OnResolved(const lookup::v1::Answer& answer, Actions* actions) {
  if (phase_ != Phase::kAwaitingAnswer || awaiting_verb_ == smtp::Verb::kEtrn) return;
  phase_ = Phase::kCommand;
  answer_ = &answer;
  const bool good = JudgeRecipient(actions);
  if (JudgingWaits()) return;
  answer_ = nullptr;
  FinishAsked(good, actions);
  Resume(actions);
}

void Session::FinishAsked(bool good, Actions* actions) {
  FinishCommand(awaiting_verb_, good, actions);
  awaiting_verb_ = smtp::Verb::kUnknown;
  asked_ = {};
}

void Session::OnFlushed(bool started, Actions* actions) {
  if (phase_ != Phase::kAwaitingAnswer || awaiting_verb_ != smtp::Verb::kEtrn) return;
  phase_ = Phase::kCommand;
  awaiting_verb_ = smtp::Verb::kUnknown;
  if (started) {
    Reply(250, "Queuing started", actions);
  } else {
    Reply(458, "Unable to queue messages", actions);
  }
  FinishCommand(smtp::Verb::kEtrn, started, actions);
  Resume(actions);
}

bool Session::TooManyConnections(Actions* actions) {
  if (facts_.visit == nullptr) return false;
  const ClientLimits& limits = facts_.visit->limits();
  const ClientRates::Connections& now = facts_.visit->connections();
  const bool too_many = limits.connection_count > 0 && now.count > limits.connection_count;
  const bool too_fast = limits.connection_rate > 0 && now.rate > limits.connection_rate;
  if (!too_many && !too_fast) return false;
  Reply(421,
        Concat("4.7.0 ", config_.myhostname, " Error: too many connections from ", facts_.address),
        actions);
  Log(LogProgram::kSmtpd,
      Concat("warning: Connection ", too_many ? "concurrency" : "rate", " limit exceeded: ",
             too_many ? now.count : now.rate, " from ", client_, " for service ", config_.service),
      actions);
  CountReject(actions, {"CONNECT", 421, RejectReason::kLimit});
  actions->limited = true;
  End("", actions);
  return true;
}

bool Session::TooManyMessages(Actions* actions) {
  if (facts_.visit == nullptr || facts_.visit->limits().message_rate == 0) return false;
  const int rate = facts_.visit->CountMessage(surroundings_.WallMillis());
  if (rate <= facts_.visit->limits().message_rate) return false;
  return RefuseRate("mail", "Message delivery request", rate, actions);
}

bool Session::TooManyRecipients(Actions* actions) {
  if (facts_.visit == nullptr || facts_.visit->limits().recipient_rate == 0) return false;
  const int rate = facts_.visit->CountRecipient(surroundings_.WallMillis());
  if (rate <= facts_.visit->limits().recipient_rate) return false;
  return RefuseRate("recipients", "Recipient address", rate, actions);
}

bool Session::RefuseRate(std::string_view what, std::string_view counted, int rate,
                         Actions* actions) {
  const std::string_view much = what == "mail" ? "much " : "many ";
  Reply(450, Concat("4.7.1 Error: too ", much, what, " from ", facts_.address), actions);
  Log(LogProgram::kSmtpd,
      Concat("warning: ", counted, " rate limit exceeded: ", rate, " from ", client_,
             " for service ", config_.service),
      actions);
  CountReject(actions, {where_, 450, RejectReason::kLimit});
  return true;
}

}  // namespace postfleet::ingress
