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

std::optional<Refusal> Session::Check(const Restrictions& list, Stage stage,
                                      std::string_view subject, std::string_view recipient,
                                      const lookup::v1::Answer* answer) const {
  return Evaluate(config_, list, {stage, subject, facts_.mynetworks, recipient, answer});
}

std::optional<Refusal> Session::CheckRecipient(const lookup::v1::Answer& answer) const {
  // RFC 5321, 4.5.1: whoever asks for it.
  if (IsPostmaster(asked_.recipient)) return std::nullopt;
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
  if (IsMalformed(answer, vrfy || transaction_->smtputf8)) {
    LogBadAddress(awaiting_verb_, Concat('<', asked_.recipient_text, '>'), actions);
    return Fail(501, "5.1.3 Bad recipient address syntax", actions);
  }
  if (const auto refusal = CheckRecipient(answer)) {
    return Refuse(vrfy ? "VRFY" : "RCPT", *refusal, actions);
  }
  if (!vrfy) return AcceptRecipient(actions);
  Reply(252, Concat("2.0.0 ", asked_.orcpt), actions);
  return true;
}

void Session::OnResolved(const lookup::v1::Answer& answer, Actions* actions) {
  if (phase_ != Phase::kAwaitingAnswer || awaiting_verb_ == smtp::Verb::kEtrn) return;
  phase_ = Phase::kCommand;
  const bool good = JudgeRecipient(answer, actions);
  FinishCommand(awaiting_verb_, good, actions);
  awaiting_verb_ = smtp::Verb::kUnknown;
  asked_ = {};
  Resume(actions);
}

std::optional<Refusal> Session::CheckEtrn(std::string_view site) const {
  if (config_.delay_reject) {
    if (auto refusal = Check(config_.client_restrictions, Stage::kClient, client_, {}, nullptr)) {
      return refusal;
    }
    if (!helo_.empty()) {
      if (auto refusal = Check(config_.helo_restrictions, Stage::kHelo, helo_, {}, nullptr)) {
        return refusal;
      }
    }
  }
  return Check(config_.etrn_restrictions, Stage::kEtrn, site, {}, nullptr);
}

void Session::OnFlushed(bool started, Actions* actions) {
  if (phase_ != Phase::kAwaitingAnswer || awaiting_verb_ != smtp::Verb::kEtrn) return;
  phase_ = Phase::kCommand;
  awaiting_verb_ = smtp::Verb::kUnknown;
  if (started) {
    Reply(250, "Queuing started", actions);
  } else {
    Fail(458, "Unable to queue messages", actions);
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
  actions->rejects.push_back({"CONNECT", 421, RejectReason::kLimit});
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
  actions->rejects.push_back({where_, 450, RejectReason::kLimit});
  return true;
}

}  // namespace postfleet::ingress
