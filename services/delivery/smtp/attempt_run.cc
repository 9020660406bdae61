#include "services/delivery/smtp/attempt_run.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"

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
      generic_header_(parts_->generic == nullptr
                          ? std::nullopt
                          : std::optional<GenericHeader>(std::in_place, parts_->generic)),
      contents_(attempt_->contents.get(), attempt_->delivery.content_bytes(),
                parts_->options.content_limits,
                generic_header_.has_value() ? &*generic_header_ : nullptr) {
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

bool AttemptRun::IsUnixSocket() const {
  return parts_->options.protocol == ClientProtocol::kLmtp &&
         attempt_->delivery.nexthop().starts_with("unix:");
}

void AttemptRun::WarnOfUnusedFallback() const {
  const SmtpOptions& options = parts_->options;
  if (options.fallback_relays.empty()) return;
  std::string relays;
  for (const std::string& relay : options.fallback_relays) {
    ConcatTo(&relays, relays.empty() ? "" : ", ", relay);
  }
  maillog::Warning(options.program, "ignoring \"lmtp_fallback_relay = ", relays,
                   "\" setting for non-TCP connections");
}

bool AttemptRun::may_have_more_destinations() const {
  if (IsUnixSocket()) return false;
  return !parts_->options.fallback_relays.empty() ||
         attempt_->delivery.nexthop().find_first_of(", ") != std::string::npos;
}

void AttemptRun::ListDestinations() {
  const SmtpOptions& options = parts_->options;
  if (!IsUnixSocket()) destinations_ = SplitNexthops(attempt_->delivery.nexthop());
  if (destinations_.empty()) destinations_.push_back(attempt_->delivery.nexthop());
  fallbacks_begin_ = destinations_.size();
  if (IsUnixSocket()) {
    WarnOfUnusedFallback();
    return;
  }
  destinations_.insert(destinations_.end(), options.fallback_relays.begin(),
                       options.fallback_relays.end());
  // The first one's sessions went to a kept connection.
  if (sessions_used_up_) next_destination_ = 1;
}

void AttemptRun::LookUp() {
  if (destinations_.empty()) ListDestinations();
  if (next_destination_ >= destinations_.size()) return GiveUp();
  if (next_destination_ > 0) sessions_ = 0;
  sessions_used_up_ = false;
  const std::string& destination = destinations_[next_destination_++];
  last_destination_ = last_destination_ || next_destination_ == destinations_.size();
  // The parts are held, since the search refers to them; the attempt may be gone by then.
  FindHosts(destination, parts_->options, parts_->world,
            [parts = parts_, weak = weak_from_this()](Hosts hosts) {
              if (const auto self = weak.lock()) self->OnHosts(std::move(hosts));
            });
}

void AttemptRun::OnHosts(Hosts hosts) {
  if (over_already_) return;
  hosts_ = std::move(hosts);
  hosts_known_ = true;
  next_host_ = 0;
  not_found_ = hosts_.candidates.empty();
  our_failure_ = false;
  const bool loops = not_found_ && hosts_.status == "5.4.6";
  if (hosts_.found_self || loops) last_destination_ = true;
  if (!hosts_.candidates.empty()) best_preference_ = hosts_.candidates.front().preference;
  if (not_found_ && last_.empty()) why_ = OutcomeOf(hosts_.status, hosts_.text);
  // Hosts that a kept connection has already spoken for.
  std::erase_if(hosts_.candidates,
                [&](const Candidate& host) { return RelayName(host) == tried_relay_; });
  TryNext();
}

void AttemptRun::TryNext() {
  if (stopped_) return GiveUp();
  if (!more_here()) return more_destinations() ? LookUp() : GiveUp();
  if (!hosts_known_) return LookUp();
  const Candidate& host = hosts_.candidates[next_host_++];
  const std::string& nexthop = attempt_->delivery.nexthop();
  connection_ = parts_->cache.TakeHost(nexthop, RelayName(host));
  if (connection_ != nullptr) {
    connection_->set_user(this);
    return Begin();
  }
  ++parts_->connections_opened;
  connection_ = std::make_shared<Connection>(
      parts_, parts_->options, parts_->world, *parts_->tables, parts_->deadlines, nexthop, host,
      ConnectionPurpose{.queue_id = queue_id(),
                        .arrival_ms = times_.arrival_ms,
                        .is_best_host = host.preference == best_preference_,
                        .detect_loop = hosts_.detect_loop});
  connection_->Connect(this);
}

void AttemptRun::GiveUp() {
  if (!why_ && !last_.empty()) {
    if (last_failure_ && !completed_session_) FailDestination(*last_failure_);
    const auto open = std::exchange(open_, {});
    for (size_t i = 0; i < open.size(); ++i) Settle(*open[i], last_[i]);
    return Finish();
  }
  Outcome failure =
      why_.value_or(OutcomeOf("4.3.0", "server unavailable or unable to receive mail"));
  if (failure.action() == Outcome::ACTION_BOUNCED && not_found_) BlameConfiguration(&failure);
  if (not_found_ && PassOn(failure)) return Finish();
  if (IsPutOff(failure) && !completed_session_) FailDestination(failure);
  SettleRest(failure);
  Finish();
}

bool AttemptRun::PassOn(const Outcome& failure) {
  const std::string& route = parts_->options.best_mx_transport;
  if (route.empty() || failure.status() != "5.4.6") return false;
  // What an earlier destination of a list has read.
  if (read_contents_ && !attempt_->contents->Restart()) return false;
  auto attempt = std::make_unique<Attempt>();
  attempt->delivery = attempt_->delivery;
  const size_t colon = std::min(route.find(':'), route.size());
  attempt->delivery.set_transport(route.substr(0, colon));
  if (colon + 1 < route.size()) attempt->delivery.set_nexthop(route.substr(colon + 1));
  attempt->delivery.clear_recipients();
  for (const mail::v1::Recipient* recipient : std::exchange(open_, {})) {
    *attempt->delivery.add_recipients() = *recipient;
    Log(Concat("passing <", recipient->address(), "> to transport=", route.substr(0, colon)));
  }
  attempt->contents = std::move(attempt_->contents);
  result_.passed_on = std::move(attempt);
  return true;
}

void AttemptRun::OnUnreachable(Connection& connection, const char* status, const std::string& why) {
  const auto self = shared_from_this();
  our_failure_ = connection.our_failure();
  relay_ = "none";
  // Behind a socket's path there is no other host, and the recipients' lines say it.
  if (connection.host().path.empty()) maillog::Info(parts_->options.program, why);
  OnFailure(OutcomeOf(status, why));
}

void AttemptRun::Begin() {
  if (++sessions_ == parts_->options.mx_sessions_max) sessions_used_up_ = true;
  why_.reset();
  relay_ = connection_->relay();
  Transaction transaction{.queue_id = queue_id(),
                          .envelope = &attempt_->delivery.envelope(),
                          .recipients = open_,
                          .content_bytes = attempt_->delivery.content_bytes()};
  if (parts_->generic != nullptr && !MapAddresses(&transaction)) return;
  read_contents_ = true;
  connection_->Begin(std::move(transaction), &contents_);
}

bool AttemptRun::MapAddresses(Transaction* transaction) {
  sent_envelope_ = *transaction->envelope;
  sent_recipients_.clear();
  for (const mail::v1::Recipient* recipient : open_) sent_recipients_.push_back(*recipient);
  if (!parts_->generic->MapEnvelope(&sent_envelope_, &sent_recipients_).ok()) {
    const auto self = shared_from_this();
    stopped_ = our_failure_ = true;
    relay_ = "none";
    LetConnectionGo();
    SettleRest(OutcomeOf("4.3.0", std::string(GenericMaps::kFailureText)));
    Finish();
    return false;
  }
  transaction->envelope = &sent_envelope_;
  transaction->recipients.clear();
  for (const mail::v1::Recipient& recipient : sent_recipients_) {
    transaction->recipients.push_back(&recipient);
  }
  return true;
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
      our_failure_ = connection.our_failure();
      Outcome failure = *connection.session().failure();
      if (IsPutOff(failure) && more_hosts()) Log(failure.text());
      return OnFailure(std::move(failure));
  }
}

void AttemptRun::OnTransactionOver() {
  Session& session = connection_->session();
  if (connection_->reused() && session.unanswered() && !session.reusable()) {
    // The server had closed it while it waited: as if it had never been there.
    --sessions_;
    sessions_used_up_ = false;
    // The host is tried again, by a connection of its own.
    if (hosts_known_) --next_host_;
    LetConnectionGo();
    contents_.Rewind();
    return TryNext();
  }
  last_failure_ = session.failure();
  const bool failed = last_failure_.has_value();
  our_failure_ = connection_->our_failure();
  completed_session_ = completed_session_ || (!failed && !our_failure_);
  tried_relay_ = connection_->relay();
  // A message that may have been taken must not go to another host at once.
  if (session.given_up() || (failed && session.step() == Session::Step::kDot)) stopped_ = true;
  const bool again = more_hosts() && contents_.Rewind();
  if (failed && again) Log(last_failure_->text());
  if (failed && !again && !completed_session_) FailDestination(*last_failure_);

  const auto tried = std::exchange(open_, {});
  last_.clear();
  for (size_t i = 0; i < tried.size(); ++i) {
    Outcome& outcome = session.outcomes()[i];
    if (!again || !IsPutOff(outcome)) {
      Settle(*tried[i], std::move(outcome), connection_->transactions());
      continue;
    }
    if (!failed) Log(outcome.text());
    open_.push_back(tried[i]);
    last_.push_back(std::move(outcome));
  }
  LetConnectionGo();
  if (open_.empty()) return Finish();
  TryNext();
}

void AttemptRun::OnFailure(Outcome failure) {
  LetConnectionGo();
  why_ = std::move(failure);
  if (IsPutOff(*why_)) return TryNext();
  stopped_ = true;
  GiveUp();
}

void AttemptRun::BlameConfiguration(Outcome* failure) const {
  const SmtpOptions& options = parts_->options;
  const bool fallback = next_destination_ > fallbacks_begin_;
  const bool relayhost = !options.relayhost.empty() &&
                         mail::LowerCasedAscii(attempt_->delivery.nexthop()) == options.relayhost;
  if (!fallback && !relayhost) return;
  const bool lmtp = options.protocol == ClientProtocol::kLmtp;
  maillog::Warning(options.program,
                   !fallback ? "relayhost"
                   : lmtp    ? "lmtp_fallback_relay"
                             : "smtp_fallback_relay",
                   " configuration problem");
  *failure = OutcomeOf("4.3.5", failure->text());
}

bool AttemptRun::IsPutOff(const Outcome& outcome) const {
  return outcome.action() == Outcome::ACTION_DEFERRED ||
         (outcome.action() == Outcome::ACTION_BOUNCED && parts_->options.soft_bounce);
}

void AttemptRun::FailDestination(const Outcome& failure) {
  if (our_failure_) return;
  result_.result.set_destination_failed(true);
  result_.result.set_destination_text(failure.text());
  result_.result.set_destination_status(failure.status());
}

void AttemptRun::Settle(const mail::v1::Recipient& recipient, Outcome outcome,
                        size_t connection_use) {
  outcome.set_recipient_number(recipient.number());
  times_.end_ms = parts_->world.clock->WallMillis();
  times_.connection_use = connection_use;
  parts_->status_filter->Apply(&outcome);
  maillog::Write(parts_->options.program,
                 LineAndFinalOutcome(queue_id(), recipient, relay_, times_,
                                     parts_->options.soft_bounce, &outcome));
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
    connection->Close(parts_->cache.quits());
  }
}

void AttemptRun::Cancel() {
  if (over_already_) return;
  const auto self = shared_from_this();
  stopped_ = true;
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
  result_.result.set_no_feedback(our_failure_ && !completed_session_);
  attempt_->done(std::move(result_));
  over_();
}

void AttemptRun::Log(const std::string& text) const {
  maillog::Info(parts_->options.program, queue_id(), ": ", text);
}

}  // namespace postfleet::delivery::smtp
