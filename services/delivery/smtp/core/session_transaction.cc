// What the server says to a transaction.
#include <algorithm>
#include <string>
#include <utility>

#include "libs/base/concat.h"
#include "services/delivery/smtp/core/session.h"
#include "services/delivery/smtp/core/session_words.h"

namespace postfleet::delivery::smtp {

// The mail goes on without what the server did not want to know.
void Session::OnXforward(const ServerReply& reply) {
  if (!reply.IsPositive()) {
    Note(true, Concat("host ", peer_.WithPort(), " said: ", reply.text, " (in reply to ",
                      WordsOf(step_).command, ")"));
  }
  const Step next = StepBehind(step_);
  if (!features_.pipelining) AppendCommand(next);
  Await(next);
}

void Session::OnMail(const ServerReply& reply) {
  if (!reply.IsPositive()) {
    mail_refused_ = true;
    DecideOpen(Refusal(reply, WordsOf(Step::kMail).command));
    // What a pipelined group asked besides is still answered.
    if (!features_.pipelining) return Finish();
  }
  AwaitNextInEnvelope();
}

// Refused recipients keep their place: `next_rcpt_` steps over those that were never sent.
void Session::AwaitNextInEnvelope() {
  while (next_rcpt_ < outcomes_.size() &&
         !IsSendable(transaction_.recipients[next_rcpt_]->address())) {
    ++next_rcpt_;
  }
  if (next_rcpt_ < outcomes_.size()) {
    if (!features_.pipelining) AppendRcpt(next_rcpt_);
    return Await(Step::kRcpt);
  }
  if (IsProbe()) return Finish();
  if (!features_.pipelining) {
    if (accepted_ == 0) return Finish();
    AppendCommand(Step::kData);
  }
  Await(Step::kData);
}

void Session::OnRcpt(const ServerReply& reply) {
  Outcome& outcome = outcomes_[next_rcpt_++];
  if (IsOpen(outcome)) {
    const uint32_t number = outcome.recipient_number();
    if (!reply.IsPositive()) {
      outcome = Refusal(reply, WordsOf(Step::kRcpt).command);
    } else {
      ++accepted_;
      if (IsProbe()) outcome = Sent(reply);
    }
    outcome.set_recipient_number(number);
  }
  AwaitNextInEnvelope();
}

void Session::OnData(const ServerReply& reply) {
  if (!reply.IsIntermediate()) {
    if (accepted_ > 0 && !mail_refused_) DecideOpen(Refusal(reply, WordsOf(Step::kData).command));
    return Finish();
  }
  if (accepted_ == 0 || mail_refused_) {
    // The server waits for a message that nobody gets, and, in LMTP, nobody is answered for.
    output_ += ".\r\n";
    if (options_.lmtp) {
      broken_ = mute_ = true;
      return Finish();
    }
    return Await(Step::kDot);
  }
  state_ = State::kBody;
  step_ = Step::kBody;
}

void Session::BodySent() {
  Await(Step::kDot);
  if (early_.empty()) return;
  // Answered before it was asked: a refusal, or a server that counts wrong.
  broken_ = true;
  Received({});
}

void Session::OnDot(const ServerReply& reply) {
  left_open_ = false;
  if (options_.lmtp) return OnRecipientDot(reply);
  if (accepted_ > 0 && reply.IsPositive()) {
    DecideOpen(Sent(reply));
  } else if (accepted_ > 0) {
    DecideOpen(Refusal(reply, WordsOf(Step::kDot).command));
  }
  Finish();
}

void Session::OnRecipientDot(const ServerReply& reply) {
  const auto from = outcomes_.begin() + static_cast<ptrdiff_t>(next_dot_);
  const auto answered = std::find_if(from, outcomes_.end(), IsOpen);
  if (answered != outcomes_.end()) {
    const uint32_t number = answered->recipient_number();
    *answered = reply.IsPositive() ? Sent(reply) : Refusal(reply, WordsOf(Step::kDot).command);
    answered->set_recipient_number(number);
    next_dot_ = static_cast<size_t>(answered - outcomes_.begin()) + 1;
  }
  if (std::none_of(outcomes_.begin() + static_cast<ptrdiff_t>(next_dot_), outcomes_.end(),
                   IsOpen)) {
    Finish();
  }
}

mail::v1::Outcome Session::Sent(const ServerReply& reply) const {
  Outcome sent;
  sent.set_action(Outcome::ACTION_SENT);
  sent.set_status(reply.status.ToString());
  sent.set_text(reply.text);
  sent.set_remote_mta(peer_.host);
  sent.set_diagnostic(reply.text);
  // RFC 3461, 4.2: a server that offers DSN takes over what the sender asked for.
  if (features_.dsn) {
    sent.set_success(Outcome::SUCCESS_PASSED_ON);
  } else if (options_.lmtp && options_.lmtp_assume_final) {
    sent.set_success(Outcome::SUCCESS_DELIVERED);
  } else {
    sent.set_success(Outcome::SUCCESS_RELAYED);
  }
  return sent;
}

}  // namespace postfleet::delivery::smtp
