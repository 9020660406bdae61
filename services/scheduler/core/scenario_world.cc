#include "services/scheduler/core/scenario_world.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "libs/base/concat.h"

namespace postfleet::scheduler {
namespace {

using mail::v1::Outcome;

std::vector<std::string> Split(std::string_view text, char by) {
  std::vector<std::string> parts;
  std::istringstream stream{std::string(text)};
  for (std::string part; std::getline(stream, part, by);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::string Joined(const std::vector<std::string>& words, size_t from) {
  std::string text;
  for (size_t i = from; i < words.size(); ++i) ConcatTo(&text, i > from ? " " : "", words[i]);
  return text;
}

int64_t Milliseconds(const std::string& text) {
  const int64_t number = std::stoll(text);
  switch (text.back()) {
    case 'd':
      return number * 86'400'000;
    case 'h':
      return number * 3'600'000;
    case 'm':
      return number * 60'000;
    default:
      return number * 1'000;
  }
}

std::string Seconds(int64_t ms) { return Concat(ms / 1000, "s"); }

// "u1..u3@d" -> u1@d u2@d u3@d; anything else is itself.
std::vector<std::string> Expand(const std::string& text) {
  const size_t dots = text.find("..");
  if (dots == text.npos) return {text};
  const size_t digits = text.find_last_not_of("0123456789", dots - 1) + 1;
  const std::string stem = text.substr(0, digits);
  std::string rest = text.substr(dots + 2);
  if (rest.starts_with(stem)) rest.erase(0, stem.size());
  size_t end = 0;
  const int last = std::stoi(rest, &end);
  std::vector<std::string> names;
  for (int i = std::stoi(text.substr(digits, dots - digits)); i <= last; ++i) {
    names.push_back(Concat(stem, i, rest.substr(end)));
  }
  return names;
}

std::vector<std::string> ExpandList(const std::string& text) {
  std::vector<std::string> all;
  for (const std::string& part : Split(text, ',')) {
    for (std::string& name : Expand(part)) all.push_back(std::move(name));
  }
  return all;
}

// "never,success" as NotifyFlag.
uint32_t ParseNotify(const std::string& text) {
  const std::map<std::string, uint32_t> flags = {{"never", mail::v1::NOTIFY_FLAG_NEVER},
                                                 {"success", mail::v1::NOTIFY_FLAG_SUCCESS},
                                                 {"failure", mail::v1::NOTIFY_FLAG_FAILURE},
                                                 {"delay", mail::v1::NOTIFY_FLAG_DELAY}};
  uint32_t notify = 0;
  for (const std::string& word : Split(text, ',')) notify |= flags.at(word);
  return notify;
}

// "sent", "bounced 5.1.1 text", "deferred 4.2.0 text".
Outcome ParseOutcome(const std::vector<std::string>& words) {
  Outcome outcome;
  const bool sent = words[0] == "sent" || words[0] == "passed";
  outcome.set_action(sent                    ? Outcome::ACTION_SENT
                     : words[0] == "bounced" ? Outcome::ACTION_BOUNCED
                                             : Outcome::ACTION_DEFERRED);
  if (sent) {
    outcome.set_success(words[0] == "sent" ? Outcome::SUCCESS_RELAYED : Outcome::SUCCESS_PASSED_ON);
  }
  outcome.set_status(words.size() > 1 ? words[1] : "2.0.0");
  outcome.set_text(Joined(words, 2));
  return outcome;
}

// "smtp=2 local=1", from the third word on.
google::protobuf::RepeatedPtrField<scheduler::v1::TransportSlots> ParseSlots(
    const std::vector<std::string>& words) {
  google::protobuf::RepeatedPtrField<scheduler::v1::TransportSlots> all;
  for (size_t i = 2; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    scheduler::v1::TransportSlots& slots = *all.Add();
    slots.set_transport(words[i].substr(0, equals));
    slots.set_slots(std::stoi(words[i].substr(equals + 1)));
  }
  return all;
}

std::string Verb(const Outcome& outcome) {
  switch (outcome.action()) {
    case Outcome::ACTION_SENT:
      return outcome.notice_owed() ? "sent, notice owed" : "sent";
    case Outcome::ACTION_BOUNCED:
      return Concat("bounced ", outcome.status(), " ", outcome.text());
    default:
      return Concat("deferred ", outcome.status(), " ", outcome.text());
  }
}

}  // namespace

std::string ScenarioWorld::Run(std::string_view command) {
  output_.clear();
  const Words words = Split(command, ' ');
  const std::string& verb = words.at(0);
  const std::map<std::string, std::function<void()>> verbs = {
      {"config", [&] { Configure(words); }},
      {"open", [&] { Step(Opened{.epoch = 1}); }},
      {"queue-lost",
       [&] {
         committed_.clear();
         Step(QueueLost{});
       }},
      {"flush", [&] { Step(Flushed{}); }},
      {"timer",
       [&] {
         timer_at_ms_ = kNoTimer;
         Step(Timer{});
       }},
      {"join", [&] { Join(words); }},
      {"drain", [&] { Step(WorkerDraining{workers_.at(words.at(1))}); }},
      {"set-back",
       [&] {
         now_ms_ -= Milliseconds(words.at(1));
         if (timer_at_ms_ != kNoTimer) timer_at_ms_ -= Milliseconds(words.at(1));
       }},
      {"leave",
       [&] {
         const uint64_t worker = workers_.at(words.at(1));
         std::erase_if(running_, [&](const auto& it) { return it.second.worker == worker; });
         Step(WorkerLeft{worker});
       }},
      {"offer", [&] { Offer(words); }},
      {"routes-changed", [&] { Step(RoutesChanged{}); }},
      {"route", [&] { Route(words); }},
      {"activate", [&] { Activate(words); }},
      {"done", [&] { Done(words); }},
      {"delete",
       [&] {
         stored_.erase(words.at(1));
         Step(Deleted{words.at(1)});
       }},
      {"recall", [&] { Step(Recalled{words.at(1)}); }},
      {"erase", [&] { stored_.erase(words.at(1)); }},
      {"hold", [&] { (words.at(1) == "resolve" ? hold_resolve_ : hold_commit_) = true; }},
      {"answer", [&] { Answer(words); }},
      {"lookup-failed",
       [&] {
         queries_.clear();
         Step(LookupFailed{.text = Joined(words, 1)});
       }},
      {"committed", [&] { Committed(); }},
      {"tick", [&] { Tick(Milliseconds(words.at(1))); }},
      {"only",
       [&] {
         only_ = {words.begin() + 1, words.end()};
         only_.erase("all");
       }},
      {"show", [&] { Show(); }},
      {"runnable",
       [&] { ConcatTo(&output_, "runnable=", scheduler().runnable_recipients(), "\n"); }},
      {"jobs", [&] { output_ += scheduler().DescribeJobs(); }},
      {"counters", [&] { ShowCounters(); }},
  };
  const auto found = verbs.find(verb);
  if (found == verbs.end()) throw std::runtime_error("no such command: " + verb);
  found->second();
  return output_;
}

Scheduler& ScenarioWorld::scheduler() {
  if (scheduler_ == nullptr) {
    scheduler_ = std::make_unique<Scheduler>(config_, [this] { return Concat("N", ++notices_); });
  }
  return *scheduler_;
}

void ScenarioWorld::Configure(const Words& words) {
  const bool all = words.at(1).find('=') != std::string::npos;
  TransportLimits limits = all ? TransportLimits() : config_.LimitsOf(words[1]);
  for (size_t i = all ? 1 : 2; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    const std::string key = words[i].substr(0, equals), value = words[i].substr(equals + 1);
    all ? ConfigureAll(key, value) : ConfigureTransport(key, value, &limits);
  }
  if (!all) config_.transports[words[1]] = limits;
  if (scheduler_ != nullptr) Step(Configured{config_});
}

void ScenarioWorld::ConfigureAll(const std::string& key, const std::string& value) {
  if (key == "minimal-backoff") {
    config_.minimal_backoff_ms = Milliseconds(value);
  } else if (key == "lifetime") {
    config_.maximal_queue_lifetime_ms = Milliseconds(value);
  } else if (key == "bounce-lifetime") {
    config_.bounce_queue_lifetime_ms = Milliseconds(value);
  } else if (key == "delay-warning") {
    config_.delay_warning_ms = Milliseconds(value);
  } else if (key == "confirm-cleared") {
    config_.confirm_delay_cleared = value == "yes";
  } else if (key == "postmaster-delays") {
    config_.postmaster_gets_delays = value == "yes";
  } else if (key == "verp-bounces") {
    config_.verp_bounces = value == "yes";
  } else if (key == "delimiter") {
    config_.recipient_delimiter = value;
  } else if (key == "defer") {
    config_.deferred_transports.insert(value);
  } else if (key == "body-bytes") {
    config_.attached_body_bytes_max = std::stoull(value);
  } else if (key == "dead-max") {
    config_.dead_destinations_max = std::stoull(value);
  } else if (key == "active") {
    config_.active_messages_max = std::stoi(value);
  } else if (key == "recipients") {
    config_.recipients_max = std::stoull(value);
  } else if (key == "soft-bounce") {
    config_.soft_bounce = value == "yes";
  } else if (key == "notice-recipients") {
    config_.notice_recipients_max = std::stoull(value);
  } else if (key == "delayed-max") {
    config_.delayed_destinations_max = std::stoull(value);
  } else if (key == "attempt-max") {
    config_.attempt_max_ms = Milliseconds(value);
  } else if (key == "lost-attempts") {
    config_.lost_attempts_max = std::stoi(value);
  } else {
    throw std::runtime_error("no such key: " + key);
  }
}

void ScenarioWorld::ConfigureTransport(const std::string& key, const std::string& value,
                                       TransportLimits* limits) {
  if (key == "initial") {
    limits->initial_destination_concurrency = std::stoi(value);
  } else if (key == "limit") {
    limits->destination_concurrency_limit = std::stoi(value);
  } else if (key == "recipients") {
    limits->destination_recipient_limit = std::stoi(value);
  } else if (key == "positive") {
    limits->positive_feedback = Feedback::Parse(value).value();
  } else if (key == "negative") {
    limits->negative_feedback = Feedback::Parse(value).value();
  } else if (key == "cohorts") {
    limits->failed_cohort_limit = std::stod(value);
  } else if (key == "rate-delay") {
    limits->destination_rate_delay_ms = Milliseconds(value);
  } else if (key == "transport-rate-delay") {
    limits->transport_rate_delay_ms = Milliseconds(value);
  } else if (key == "slot-cost") {
    limits->slot_cost = std::stoi(value);
  } else if (key == "slot-loan") {
    limits->slot_loan = std::stoi(value);
  } else if (key == "slot-discount") {
    limits->slot_discount_percent = std::stoi(value);
  } else if (key == "slots-min") {
    limits->slots_min = std::stoi(value);
  } else if (key == "max") {
    limits->deliveries_max = std::stoi(value);
  } else {
    throw std::runtime_error("no such key: " + key);
  }
}

void ScenarioWorld::Join(const Words& words) {
  WorkerJoined joined{.worker = 1 + workers_.size()};
  joined.hello.set_name(words.at(1));
  *joined.hello.mutable_transports() = ParseSlots(words);
  workers_[words[1]] = joined.worker;
  Step(std::move(joined));
}

void ScenarioWorld::Offer(const Words& words) {
  WorkerOffers offers{.worker = workers_.at(words.at(1))};
  *offers.offer.mutable_transports() = ParseSlots(words);
  Step(std::move(offers));
}

void ScenarioWorld::Route(const Words& words) { routes_[words.at(1)] = Joined(words, 2); }

void ScenarioWorld::Activate(const Words& words) {
  std::map<std::string, std::string> options;
  for (size_t i = 2; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    options[words[i].substr(0, equals)] = words[i].substr(equals + 1);
  }
  for (const std::string& queue_id : Expand(words.at(1))) ActivateOne(queue_id, options);
}

void ScenarioWorld::ActivateOne(const std::string& queue_id,
                                const std::map<std::string, std::string>& options) {
  const auto option = [&](const char* name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
  };
  StoredMessage& stored = stored_[queue_id];
  if (stored.arrival_ms == 0) stored.arrival_ms = now_ms_;
  if (!option("age").empty()) stored.arrival_ms = now_ms_ - Milliseconds(option("age"));
  if (options.contains("from")) stored.sender = option("from");
  const auto store = [&](const std::string& address, mail::v1::Recipient* recipient) {
    size_t number = 0;
    while (number < stored.recipients.size() && stored.recipients[number].address != address) {
      ++number;
    }
    if (number == stored.recipients.size()) {
      stored.recipients.push_back({.address = address, .notify = ParseNotify(option("notify"))});
    }
    stored.recipients[number].open = true;
    recipient->set_dsn_notify(stored.recipients[number].notify);
    recipient->set_number(number);
    recipient->set_address(address);
  };
  Activated activated;
  queue::v1::Activation& activation = activated.activation;
  activation.set_flushed(option("flushed") == "yes");
  activation.set_forced_expire(option("forced") == "yes");
  activation.set_delay_warned(option("warned") == "yes");
  for (const std::string& address : ExpandList(option("to"))) {
    store(address, activation.add_recipients());
  }
  for (const std::string& address : ExpandList(option("last"))) {
    mail::v1::Recipient recipient;
    store(address, &recipient);
    *activation.add_last() = ParseOutcome({"deferred", "4.2.0", "earlier"});
    activation.mutable_last(activation.last_size() - 1)->set_recipient_number(recipient.number());
  }
  for (const std::string& address : ExpandList(option("bounced"))) {
    queue::v1::BouncedRecipient& bounced = *activation.add_bounced();
    store(address, bounced.mutable_recipient());
    *bounced.mutable_outcome() = ParseOutcome({"bounced", "5.0.0", "earlier"});
  }
  for (const std::string& address : ExpandList(option("owed"))) {
    queue::v1::BouncedRecipient& owed = *activation.add_bounced();
    store(address, owed.mutable_recipient());
    *owed.mutable_outcome() = ParseOutcome({"sent", "2.0.0", "earlier"});
  }
  for (const std::string& address : ExpandList(option("waiting"))) {
    queue::v1::BouncedRecipient& waiting = *activation.add_waiting();
    store(address, waiting.mutable_recipient());
    *waiting.mutable_outcome() = ParseOutcome({"deferred", "4.2.0", "earlier"});
  }
  stored.left = option("left").empty() ? 0 : std::stoi(option("left"));
  activation.set_recipients_left(stored.left);
  activation.mutable_envelope()->set_is_notice(option("is-notice") == "yes");
  activation.mutable_envelope()->set_trace(option("trace") == "yes");
  activation.mutable_envelope()->set_verp_delimiters(option("verp"));
  activation.set_queue_id(queue_id);
  activation.mutable_envelope()->set_sender(stored.sender);
  activation.mutable_envelope()->set_arrival_ms(stored.arrival_ms);
  activation.set_create_ms(stored.arrival_ms);
  activation.set_content_bytes(option("size").empty() ? 1000 : std::stoull(option("size")));
  activation.set_chunks(1);
  activation.set_recipients_total(stored.recipients.size());
  if (!option("body").empty()) {
    activation.set_content_bytes(std::stoull(option("body")));
    activation.set_payload_bytes(activation.content_bytes());
    activated.body = std::make_shared<Body>();
  }
  Step(std::move(activated));
}

void ScenarioWorld::Done(const Words& words) {
  std::vector<uint64_t> ids;
  if (words.at(1) == "all") {
    for (const auto& [id, start] : running_) ids.push_back(id);
  } else {
    for (const std::string& id : Expand(words[1])) ids.push_back(std::stoull(id));
  }
  for (const uint64_t id : ids) DoneOne(id, {words.begin() + 2, words.end()});
}

void ScenarioWorld::DoneOne(uint64_t id, const Words& words) {
  DeliveryDone done;
  scheduler::v1::DeliveryResult& result = done.result;
  result.set_id(id);
  const std::string& how = words.at(0);
  const auto running = running_.find(id);
  if (how == "notice" || how == "notice-and-copy") {
    result.mutable_notice()->set_queue_id(running->second.delivery.notice_queue_id());
    done.notice_body = std::make_shared<Body>();
  }
  if (how == "copy" || how == "notice-and-copy") {
    result.mutable_copy()->set_queue_id(running->second.delivery.copy_queue_id());
    done.copy_body = std::make_shared<Body>();
  }
  result.set_notice_failed(how == "notice-failed");
  result.set_contents_damaged(how == "damaged");
  if (how == "failed") {
    result.set_destination_failed(true);
    result.set_destination_status(words.at(1));
    result.set_destination_text(Joined(words, 2));
  }
  if (running != running_.end() && how != "silent") {
    const std::vector<std::string> each = Split(Joined(words, how == "each" ? 1 : 0), ';');
    const auto& recipients = running->second.delivery.recipients();
    for (int i = 0; i < recipients.size(); ++i) {
      Outcome& outcome = *result.add_outcomes();
      outcome = ParseOutcome(Split(how == "each" ? each.at(i) : each[0], ' '));
      outcome.set_recipient_number(recipients[i].number());
    }
  }
  running_.erase(id);
  Step(std::move(done));
}

void ScenarioWorld::Answer(const Words& words) {
  Resolved resolved;
  for (auto query = queries_.begin(); query != queries_.end();) {
    if (words.size() > 1 && query->recipient() != words[1]) {
      ++query;
      continue;
    }
    *resolved.response.add_answers() = Lookup(*query);
    query = queries_.erase(query);
  }
  Step(std::move(resolved));
}

void ScenarioWorld::Committed() {
  std::deque<queue::v1::Committed> committed = std::move(committed_);
  committed_.clear();
  for (queue::v1::Committed& one : committed) Step(scheduler::Committed{std::move(one)});
}

void ScenarioWorld::Tick(int64_t ms) {
  const int64_t until = now_ms_ + ms;
  while (timer_at_ms_ <= until) {
    now_ms_ = std::max(now_ms_, timer_at_ms_);
    timer_at_ms_ = kNoTimer;
    Step(Timer{});
  }
  now_ms_ = until;
}

void ScenarioWorld::Show() {
  const Sizes sizes = scheduler().sizes();
  ConcatTo(&output_, scheduler().Describe(now_ms_), "messages=", sizes.messages,
           " waiting=", sizes.recipients_waiting, " running=", sizes.deliveries_running,
           " queries=", sizes.queries, " body_bytes=", sizes.body_bytes, "\n");
}

void ScenarioWorld::ShowCounters() {
  const Counters& counters = scheduler().counters();
  ConcatTo(&output_, "deliveries=", counters.deliveries, " in_doubt=", counters.in_doubt,
           " late=", counters.late, " stray=", counters.stray,
           " expired=", counters.expired_messages, " dead=", counters.dead_destinations,
           " bodies_let_go=", counters.bodies_let_go, "\n");
  if (counters.put_off > 0) ConcatTo(&output_, "put_off=", counters.put_off, "\n");
  if (counters.preemptions > 0) ConcatTo(&output_, "preemptions=", counters.preemptions, "\n");
}

void ScenarioWorld::Step(Event event) {
  events_.push_back(std::move(event));
  Drain();
}

void ScenarioWorld::Drain() {
  while (!events_.empty()) {
    Event event = std::move(events_.front());
    events_.pop_front();
    Actions actions;
    scheduler().Step(std::move(event), now_ms_, &actions);
    PrintActions(actions);
    Take(std::move(actions));
  }
}

void ScenarioWorld::Print(const char* kind, const std::string& line) {
  if (only_.empty() || only_.contains(kind)) ConcatTo(&output_, kind, " ", line, "\n");
}

void ScenarioWorld::PrintActions(const Actions& actions) {
  for (const LogLine& line : actions.log)
    Print("log", Concat(line.program, ": ", Render(line).text()));
  if (actions.credit_messages > 0) Print("credit", Concat(actions.credit_messages));
  for (const auto& query : actions.resolve) {
    if (hold_resolve_) Print("resolve", query.recipient());
  }
  for (const auto& commit : actions.commit) {
    std::string line = Concat(commit.again() ? "again " : "", commit.queue_id());
    for (const Outcome& outcome : commit.outcomes()) {
      ConcatTo(&line, "; ", Address(commit.queue_id(), outcome.recipient_number()), " ",
               Verb(outcome));
    }
    if (commit.retry_at_ms() != 0) {
      ConcatTo(&line, "; retry in ", Seconds(commit.retry_at_ms() - now_ms_), " at ",
               commit.transport(), "/", commit.nexthop());
    }
    Print("commit", line);
  }
  for (const queue::v1::PutOff& put_off : actions.put_off) {
    std::string line = put_off.queue_id();
    for (const uint32_t number : put_off.recipient_numbers()) {
      ConcatTo(&line, " ", Address(put_off.queue_id(), number));
    }
    ConcatTo(&line, "; retry in ", Seconds(put_off.retry_at_ms() - now_ms_), " at ",
             put_off.transport(), "/", put_off.nexthop());
    Print("put-off", line);
  }
  for (const SendNotify& send : actions.notify) PrintNotify(send);
  for (const std::string& queue_id : actions.more) Print("more", queue_id);
  for (const std::string& queue_id : actions.release) Print("release", queue_id);
  for (const queue::v1::Rest& rest : actions.rest) {
    Print("rest", Concat(rest.queue_id(), " for ", Seconds(rest.until_ms() - now_ms_)));
  }
  for (const CancelDelivery& cancel : actions.cancel) Print("cancel", Concat(cancel.delivery));
  for (const StartDelivery& start : actions.deliver) PrintDelivery(start);
  if (actions.timer_at_ms) {
    Print("timer", *actions.timer_at_ms == kNoTimer
                       ? "off"
                       : Concat("in ", Seconds(*actions.timer_at_ms - now_ms_)));
  }
}

void ScenarioWorld::PrintNotify(const SendNotify& send) {
  std::string line = Concat(send.notify.delay_warning() ? "warning " : "", send.notify.queue_id());
  for (const uint32_t number : send.notify.recipient_numbers()) {
    ConcatTo(&line, " ", Address(send.notify.queue_id(), number));
  }
  ConcatTo(&line, send.body != nullptr ? "; notice " : "; no notice",
           send.notify.notice().queue_id());
  if (send.copy_body != nullptr) ConcatTo(&line, "; copy ", send.notify.copy().queue_id());
  Print("notify", line);
}

void ScenarioWorld::PrintDelivery(const StartDelivery& start) {
  const scheduler::v1::Delivery& delivery = start.delivery;
  std::string line = Concat(delivery.id(), " by ");
  for (const auto& [name, worker] : workers_) {
    if (worker == start.worker) line += name;
  }
  ConcatTo(&line, ": ", delivery.queue_id(), " ", delivery.transport(), "/", delivery.nexthop());
  for (const auto& recipient : delivery.recipients()) ConcatTo(&line, " ", recipient.address());
  if (start.body != nullptr) ConcatTo(&line, " + body of ", delivery.payload_bytes());
  for (const auto& bounced : delivery.bounced()) {
    ConcatTo(&line, " ", bounced.recipient().address(), " (", bounced.outcome().status(), " ",
             bounced.outcome().text(), ")");
  }
  if (!delivery.notice_queue_id().empty()) ConcatTo(&line, " as ", delivery.notice_queue_id());
  if (delivery.notice_kind() == scheduler::v1::Delivery::NOTICE_KIND_SUCCESS) line += ", success";
  if (delivery.notice_kind() == scheduler::v1::Delivery::NOTICE_KIND_DELAY) {
    ConcatTo(&line, ", delayed, tried until in ", Seconds(delivery.retry_until_ms() - now_ms_));
  }
  Print("deliver", line);
}

// Does what was asked: what is not held is answered at once.
void ScenarioWorld::Take(Actions actions) {
  if (actions.timer_at_ms) timer_at_ms_ = *actions.timer_at_ms;
  for (StartDelivery& start : actions.deliver) {
    const uint64_t id = start.delivery.id();
    running_.emplace(id, std::move(start));
  }
  for (auto& query : actions.resolve) queries_.push_back(std::move(query));
  for (const auto& commit : actions.commit) committed_.push_back(Apply(commit));
  for (const auto& put_off : actions.put_off) committed_.push_back(State(put_off.queue_id()));
  for (const SendNotify& send : actions.notify) committed_.push_back(Apply(send.notify));
  if (!hold_resolve_ && !queries_.empty()) {
    Resolved resolved;
    for (const auto& query : queries_) *resolved.response.add_answers() = Lookup(query);
    queries_.clear();
    events_.push_back(std::move(resolved));
  }
  if (!hold_commit_) {
    for (auto& one : committed_) events_.push_back(scheduler::Committed{std::move(one)});
    committed_.clear();
  }
}

lookup::v1::Answer ScenarioWorld::Lookup(const lookup::v1::Query& query) const {
  const std::string domain = query.recipient().substr(query.recipient().rfind('@') + 1);
  std::string route = "smtp:" + domain;
  for (const std::string& key : {query.recipient(), domain, std::string("*")}) {
    const auto found = routes_.find(key);
    if (found == routes_.end()) continue;
    route = found->second;
    break;
  }
  lookup::v1::Answer answer;
  answer.set_id(query.id());
  if (route.starts_with("fail ")) {
    answer.set_failure(route.substr(5));
    return answer;
  }
  const size_t colon = route.find(':');
  answer.set_transport(route.substr(0, colon));
  if (answer.transport() == "local") answer.set_address_class(lookup::v1::ADDRESS_CLASS_LOCAL);
  answer.set_nexthop(colon + 1 == route.size() ? domain : route.substr(colon + 1));
  answer.set_recipient(query.recipient());
  return answer;
}

queue::v1::Committed ScenarioWorld::State(const std::string& queue_id) {
  queue::v1::Committed committed;
  committed.set_queue_id(queue_id);
  const auto found = stored_.find(queue_id);
  if (found == stored_.end()) {
    committed.set_late(true);
    return committed;
  }
  const auto& recipients = found->second.recipients;
  committed.set_removed(
      found->second.left == 0 &&
      std::none_of(recipients.begin(), recipients.end(), [](auto& r) { return r.open; }));
  return committed;
}

queue::v1::Committed ScenarioWorld::Apply(const queue::v1::MessageOutcome& outcome) {
  const auto found = stored_.find(outcome.queue_id());
  for (const Outcome& one : outcome.outcomes()) {
    if (found != stored_.end() && one.action() == Outcome::ACTION_SENT && !one.notice_owed()) {
      found->second.recipients.at(one.recipient_number()).open = false;
    }
  }
  queue::v1::Committed committed = State(outcome.queue_id());
  if (outcome.again() && committed.late()) {
    committed.set_late(false);
    committed.set_removed(true);
  }
  return committed;
}

queue::v1::Committed ScenarioWorld::Apply(const queue::v1::Notify& notify) {
  const auto found = stored_.find(notify.queue_id());
  if (notify.delay_warning()) return State(notify.queue_id());
  for (const uint32_t number : notify.recipient_numbers()) {
    if (found != stored_.end()) found->second.recipients.at(number).open = false;
  }
  return State(notify.queue_id());
}

std::string ScenarioWorld::Address(const std::string& queue_id, uint32_t number) const {
  const auto found = stored_.find(queue_id);
  return found == stored_.end() ? Concat("#", number) : found->second.recipients.at(number).address;
}

}  // namespace postfleet::scheduler
