// The stages at which lists decide (smtpd_*_restrictions), and how a session goes on after them.
//
// A list may take time. Until it has decided the session executes nothing: what the client sent
// ahead waits. What the other policies of a stage need later (policy servers, DNS lists, milters)
// comes in the same way: an item of a list that waits for its answer.
#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/enhanced_status.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {

using smtp::Verb;

namespace {

bool RefusesMail(std::string_view transport) {
  return transport == "error" || transport == "retry";
}

// The transports `error` and `retry` name a status and a text: "5.1.3 bad address syntax". Which of
// both it is decides whether that is for good, whatever the status says.
Refusal RefuseByErrorTransport(std::string_view recipient, const lookup::v1::Answer& answer) {
  const std::string_view nexthop = answer.nexthop();
  const bool for_good = answer.transport() == "error";
  size_t length = 0;
  auto status = mail::ParseEnhancedStatusPrefix(nexthop, &length);
  if (!status) status = {.subject = 1, .detail = 1};
  status->class_ = for_good ? 5 : 4;
  std::string_view text = nexthop.substr(length);
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return {for_good ? 550 : 450,
          Concat(status->ToString(), " <", recipient, ">: Recipient address rejected: ", text),
          Refusal::Kind::kUnlisted};
}

}  // namespace

const Session::StageRow Session::kStages[] = {
    {Stage::kClient, &SessionConfig::client_restrictions},
    {Stage::kHelo, &SessionConfig::helo_restrictions},
    {Stage::kSender, &SessionConfig::sender_restrictions},
    {Stage::kRecipient, &SessionConfig::recipient_restrictions, true},
    {Stage::kData, &SessionConfig::data_restrictions},
    {Stage::kEndOfData, &SessionConfig::end_of_data_restrictions},
    {Stage::kEtrn, &SessionConfig::etrn_restrictions, true},
};

std::vector<StageCheck> Session::ChecksAt(Stage stage, std::string subject) const {
  std::vector<StageCheck> checks;
  const auto add = [&checks](Stage at, const Restrictions& list, const std::string& of) {
    if (!list.empty()) checks.push_back({at, &list, of});
  };
  const StageRow& row = *std::find_if(std::begin(kStages), std::end(kStages),
                                      [&](const StageRow& at) { return at.stage == stage; });
  if (row.takes_delayed && config_.delay_reject) {
    add(Stage::kClient, config_.client_restrictions, client_);
    if (!helo_.empty()) add(Stage::kHelo, config_.helo_restrictions, helo_);
    if (transaction_ != nullptr) {
      add(Stage::kSender, config_.sender_restrictions, transaction_->sender.ToString());
    }
  }
  if (stage != Stage::kRecipient) {
    add(stage, config_.*row.list, subject);
  } else if (config_.relay_before_recipient) {
    add(stage, config_.relay_restrictions, subject);
    add(stage, config_.recipient_restrictions, subject);
  } else {
    add(stage, config_.recipient_restrictions, subject);
    add(stage, config_.relay_restrictions, subject);
  }
  return checks;
}

bool Session::Judge(Stage stage, std::string subject, Decided decided, Actions* actions) {
  const std::string recipient = answer_ == nullptr ? "" : asked_.recipient.ToString();
  judging_ = std::make_unique<Judging>(config_, facts_.mynetworks,
                                       ChecksAt(stage, std::move(subject)), recipient);
  decided_ = decided;
  return ContinueJudging(actions);
}

bool Session::ContinueJudging(Actions* actions) {
  const Judging::State state = judging_->Continue(answer_);
  if (state == Judging::State::kWaits) {
    if (answer_ != nullptr && kept_answer_ == nullptr) {
      kept_answer_ = std::make_unique<lookup::v1::Answer>(*answer_);
      answer_ = kept_answer_.get();
    }
    actions->delay_ms = judging_->wait_ms();
    return true;
  }
  std::optional<Refusal> refusal;
  if (state == Judging::State::kRefused) refusal = judging_->refusal();
  judging_.reset();
  const bool good = (this->*decided_)(refusal, actions);
  kept_answer_.reset();
  answer_ = nullptr;
  return good;
}

void Session::OnJudgingTime(Actions* actions) {
  const bool good = ContinueJudging(actions);
  if (JudgingWaits()) return;
  if (awaiting_verb_ != Verb::kUnknown && phase_ != Phase::kAwaitingAnswer) {
    FinishAsked(good, actions);
  } else if (current_verb_ != Verb::kUnknown) {
    FinishUnlessItGoesOn(current_verb_, good, actions);
  }
  Resume(actions);
}

bool Session::ConnectDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  if (!refusal) {
    Reply(220, config_.banner, actions);
    return true;
  }
  Refuse("CONNECT", *refusal, actions);
  ++errors_;
  access_denied_ = true;
  return false;
}

std::optional<Refusal> Session::CheckListed() const {
  if (!config_.reject_unlisted_recipient) return std::nullopt;
  if (answer_->failure().empty() && RefusesMail(answer_->transport())) {
    return RefuseByErrorTransport(asked_.recipient.ToString(), *answer_);
  }
  return RefuseUnlisted(config_, asked_.recipient.ToString(), *answer_);
}

bool Session::RcptDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  if (refusal) return Refuse("RCPT", *refusal, actions);
  if (const auto unlisted = CheckListed()) return Refuse("RCPT", *unlisted, actions);
  return AcceptRecipient(actions);
}

bool Session::VrfyDecided(const std::optional<Refusal>& refusal, Actions* actions) {
  if (refusal) return Refuse("VRFY", *refusal, actions);
  if (const auto unlisted = CheckListed()) return Refuse("VRFY", *unlisted, actions);
  Reply(252, Concat("2.0.0 ", asked_.orcpt), actions);
  return true;
}

}  // namespace postfleet::ingress
