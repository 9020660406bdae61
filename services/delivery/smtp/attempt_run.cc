#include "services/delivery/smtp/attempt_run.h"

#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

namespace postfleet::delivery::smtp {
namespace {

mail::v1::Outcome OutcomeOf(const std::string& status, std::string text) {
  mail::v1::Outcome outcome;
  outcome.set_action(status[0] == '4' ? mail::v1::Outcome::ACTION_DEFERRED
                                      : mail::v1::Outcome::ACTION_BOUNCED);
  outcome.set_status(status);
  outcome.set_text(std::move(text));
  return outcome;
}

}  // namespace

AttemptRun::AttemptRun(std::shared_ptr<AgentParts> parts, std::unique_ptr<Attempt> attempt,
                       std::function<void()> over)
    : parts_(std::move(parts)),
      attempt_(std::move(attempt)),
      over_(std::move(over)),
      contents_(attempt_->contents.get(), attempt_->delivery.content_bytes()) {
  const scheduler::v1::Delivery& delivery = attempt_->delivery;
  times_.arrival_ms = delivery.envelope().arrival_ms();
  times_.active_ms = delivery.active_ms();
  result_.result.set_id(delivery.id());
  result_.result.mutable_outcomes()->Reserve(delivery.recipients_size());
  open_.reserve(static_cast<size_t>(delivery.recipients_size()));
  for (const mail::v1::Recipient& recipient : delivery.recipients()) open_.push_back(&recipient);
}

AttemptRun::~AttemptRun() {
  if (connection_ != nullptr) connection_->Close();
}

void AttemptRun::Start() {
  times_.start_ms = times_.connected_ms = parts_->world.clock->WallMillis();
  connection_ = parts_->cache.Take(attempt_->delivery.nexthop());
  if (connection_ == nullptr) return LookUp();
  connection_->set_user(this);
  Begin();
}

void AttemptRun::LookUp() {
  // The parts are held, since the search refers to them; the attempt may be gone by then.
  FindHosts(attempt_->delivery.nexthop(), parts_->options, parts_->world,
            [parts = parts_, weak = weak_from_this()](Hosts hosts) {
              if (const auto self = weak.lock()) self->OnHosts(std::move(hosts));
            });
}

void AttemptRun::OnHosts(Hosts hosts) {
  if (over_already_) return;
  hosts_ = std::move(hosts);
  hosts_known_ = true;
  // Hosts that a kept connection has already spoken for.
  std::erase_if(hosts_.candidates, [&](const Candidate& host) {
    return RelayName(host, hosts_.port) == tried_relay_;
  });
  if (more_hosts()) return TryNext();
  if (last_.empty()) return OnFailure(OutcomeOf(hosts_.status, hosts_.text));
  if (last_failure_ && !completed_session_) FailDestination(*last_failure_);
  const auto open = std::exchange(open_, {});
  for (size_t i = 0; i < open.size(); ++i) Settle(*open[i], last_[i]);
  Finish();
}

void AttemptRun::TryNext() {
  const Candidate& host = hosts_.candidates[next_host_++];
  ++parts_->connections_opened;
  connection_ =
      std::make_shared<Connection>(parts_, parts_->options, parts_->world, parts_->deadlines,
                                   attempt_->delivery.nexthop(), host, hosts_.port);
  connection_->Connect(this);
}

void AttemptRun::OnUnreachable(Connection& connection, const std::string& why) {
  const auto self = shared_from_this();
  relay_ = "none";
  const std::string text = Concat("connect to ", connection.relay(), ": ", why);
  maillog::Info(parts_->options.program, text);
  OnFailure(OutcomeOf("4.4.1", text));
}

void AttemptRun::Begin() {
  if (++sessions_ == parts_->options.mx_sessions_max) no_more_hosts_ = true;
  relay_ = connection_->relay();
  connection_->Begin({.envelope = &attempt_->delivery.envelope(),
                      .recipients = open_,
                      .content_bytes = attempt_->delivery.content_bytes()},
                     &contents_);
}

void AttemptRun::OnSession(Connection& connection) {
  const auto self = shared_from_this();
  switch (connection.session().state()) {
    case Session::State::kReady:
      times_.connected_ms = parts_->world.clock->WallMillis();
      return Begin();
    case Session::State::kDone:
      return OnTransactionOver();
    default:
      relay_ = connection.relay();
      Outcome failure = *connection.session().failure();
      if (failure.action() == Outcome::ACTION_DEFERRED && more_hosts()) Log(failure.text());
      return OnFailure(std::move(failure));
  }
}

void AttemptRun::OnTransactionOver() {
  Session& session = connection_->session();
  if (connection_->reused() && session.unanswered() && !session.reusable()) {
    // The server had closed it while it waited: as if it had never been there.
    --sessions_;
    no_more_hosts_ = false;
    LetConnectionGo();
    contents_.Rewind();
    return LookUp();
  }
  last_failure_ = session.failure();
  const bool failed = last_failure_.has_value();
  completed_session_ = completed_session_ || !failed;
  tried_relay_ = connection_->relay();
  // A message that may have been taken must not go to another host at once.
  if (session.given_up() || (failed && session.step() == Session::Step::kDot))
    no_more_hosts_ = true;
  const bool again = more_hosts() && contents_.Rewind();
  if (failed && again) Log(last_failure_->text());
  if (failed && !again && !completed_session_) FailDestination(*last_failure_);

  const auto tried = std::exchange(open_, {});
  last_.clear();
  for (size_t i = 0; i < tried.size(); ++i) {
    Outcome& outcome = session.outcomes()[i];
    if (!again || outcome.action() != Outcome::ACTION_DEFERRED) {
      Settle(*tried[i], std::move(outcome));
      continue;
    }
    if (!failed) Log(outcome.text());
    open_.push_back(tried[i]);
    last_.push_back(std::move(outcome));
  }
  LetConnectionGo();
  if (open_.empty()) return Finish();
  if (!hosts_known_) return LookUp();
  TryNext();
}

void AttemptRun::OnFailure(Outcome failure) {
  LetConnectionGo();
  if (failure.action() == Outcome::ACTION_DEFERRED && more_hosts()) return TryNext();
  if (failure.action() == Outcome::ACTION_BOUNCED) BlameConfiguration(&failure);
  if (failure.action() == Outcome::ACTION_DEFERRED && !completed_session_) FailDestination(failure);
  SettleRest(failure);
  Finish();
}

void AttemptRun::BlameConfiguration(Outcome* failure) const {
  const SmtpOptions& options = parts_->options;
  if (options.relayhost.empty() || attempt_->delivery.nexthop() != options.relayhost) return;
  maillog::Warning(options.program, "relayhost configuration problem: ", failure->text());
  *failure = OutcomeOf("4.3.5", "Server configuration error");
}

void AttemptRun::FailDestination(const Outcome& failure) {
  result_.result.set_destination_failed(true);
  result_.result.set_destination_text(failure.text());
  result_.result.set_destination_status(failure.status());
}

void AttemptRun::Settle(const mail::v1::Recipient& recipient, Outcome outcome) {
  outcome.set_recipient_number(recipient.number());
  times_.end_ms = parts_->world.clock->WallMillis();
  maillog::Write(parts_->options.program,
                 RecipientLine(queue_id(), recipient, relay_, times_, outcome));
  *result_.result.add_outcomes() = std::move(outcome);
}

void AttemptRun::SettleRest(const Outcome& outcome) {
  for (const mail::v1::Recipient* recipient : std::exchange(open_, {})) Settle(*recipient, outcome);
}

void AttemptRun::LetConnectionGo() {
  if (connection_ == nullptr) return;
  const std::shared_ptr<Connection> connection = std::exchange(connection_, nullptr);
  connection->set_user(nullptr);
  if (connection->session().state() == Session::State::kDone) {
    parts_->cache.Give(connection);
  } else {
    connection->Close();
  }
}

void AttemptRun::Cancel() {
  if (over_already_) return;
  const auto self = shared_from_this();
  no_more_hosts_ = true;
  if (connection_ != nullptr && connection_->in_transaction()) {
    connection_->Cancel();
    return;
  }
  LetConnectionGo();
  SettleRest(OutcomeOf("4.3.2", std::string(kStoppedText)));
  Finish();
}

void AttemptRun::Finish() {
  over_already_ = true;
  attempt_->done(std::move(result_));
  over_();
}

void AttemptRun::Log(const std::string& text) const {
  maillog::Info(parts_->options.program, queue_id(), ": ", text);
}

}  // namespace postfleet::delivery::smtp
