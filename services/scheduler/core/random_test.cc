// Random events against a model of what surrounds the scheduler, with the promises of step.h
// checked at each action. RANDOM_TEST_SEED=n runs that seed only; RANDOM_TEST_SEEDS=n runs seeds 1
// to n (100).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "services/scheduler/core/step.h"

namespace postfleet::scheduler {
namespace {

using mail::v1::Outcome;

constexpr int kSteps = 1'500;
constexpr int kConcurrencyLimit = 4;
constexpr int kRecipientLimit = 3;
constexpr const char* kTransports[] = {"smtp",  "relay",   "local", "error",
                                       "retry", "discard", "timed", "paced"};
// Rate delays of transports "timed" (of a destination) and "paced" (of all).
constexpr int64_t kRateDelayMs = 20'000;
constexpr int64_t kAttemptMaxMs = 900'000;
constexpr uint32_t kActiveMax = 40;
constexpr uint32_t kPage = 12;

enum class Given { kOpen, kSettled };

struct Recipient {
  std::string address;
  Given given = Given::kOpen;
  uint32_t notify = 0;
  // The queue gave it out in this activation of the message.
  bool out = false;
  // What the queue holds after the last outcome.
  bool gone = false;
  bool bounced = false;
  // A notice is owed: of a failure or of success.
  bool succeeded = false;

  bool owed() const { return bounced || succeeded; }
};

struct Message {
  bool active = false;
  bool deleted = false;
  bool recalled = false;
  bool forced_expire = false;
  bool delay_warned = false;
  int uncommitted = 0;
  // Recipients that are not out yet, and whether they were asked for.
  uint32_t left = 0;
  bool more_asked = false;
  // An earlier session left attempts of it, whose outcomes are still to come.
  bool kept = false;
  std::string sender;
  int64_t create_ms = 0;
  std::vector<Recipient> recipients;

  bool empty() const {
    return std::all_of(recipients.begin(), recipients.end(), [](auto& r) { return r.gone; });
  }
};

struct Running {
  uint64_t worker = 0;
  scheduler::v1::Delivery delivery;
  std::string destination;
  int64_t started_ms = 0;
  bool orphan = false;
  bool told = false;
  // Not answered for too long: it has its slot and nothing else.
  bool given_up = false;
};

class World {
 public:
  explicit World(uint64_t seed)
      : random_(seed), scheduler_(MakeConfig(), [this] { return Concat("N", ++notices_); }) {}

  const Counters& counters() const { return scheduler_.counters(); }
  int warnings() const { return warnings_; }
  int recalls_of_running() const { return recalls_of_running_; }
  int successes() const { return successes_; }
  int untold() const { return untold_; }
  int pages() const { return pages_; }
  int rests() const { return rests_; }
  int flushed_again() const { return flushed_again_; }
  int given_up() const { return given_up_; }
  int changed_offers() const { return changed_offers_; }
  int said_again() const { return said_again_; }
  int said_between() const { return said_between_; }
  int taken_up() const { return taken_up_; }

  void Run() {
    Step(Opened{++epoch_});
    for (int i = 0; i < kSteps && !testing::Test::HasFailure(); ++i) {
      Act();
      if (i % 20 == 0) CheckRunnable();
      if (i % 20 == 10) CheckJobs();
    }
    Finish();
  }

 private:
  static Config MakeConfig() {
    Config config;
    config.recipient_delimiter = "+";
    config.attached_body_bytes_max = 500;
    config.dead_destinations_max = 3;
    config.delay_warning_ms = 86'400'000;
    config.active_messages_max = kActiveMax;
    config.attempt_max_ms = kAttemptMaxMs;
    config.notice_recipients_max = 4;
    config.defaults.slot_cost = 2;
    config.defaults.slots_min = 1;
    config.defaults.initial_destination_concurrency = 2;
    config.defaults.destination_concurrency_limit = kConcurrencyLimit;
    config.defaults.destination_recipient_limit = kRecipientLimit;
    config.transports["timed"] = config.transports["paced"] = config.defaults;
    config.transports["timed"].destination_rate_delay_ms = kRateDelayMs;
    config.transports["paced"].transport_rate_delay_ms = kRateDelayMs;
    return config;
  }

  uint32_t Roll(uint32_t sides) {
    return std::uniform_int_distribution<uint32_t>(0, sides - 1)(random_);
  }

  template <typename Map>
  auto Any(Map& map) {
    return std::next(map.begin(), Roll(map.size()));
  }

  void Act() {
    const uint32_t roll = Roll(100);
    if (roll < 18) {
      if (scheduler_.sizes().messages < kActiveMax) Activate();
    } else if (roll < 20) {
      GiveMore();
    } else if (roll < 45) {
      AnswerSome();
    } else if (roll < 75) {
      if (!running_.empty()) End(Any(running_)->first);
    } else if (roll < 87) {
      CommitSome();
    } else if (roll < 91) {
      if (workers_.size() < 4) return Join();
      const uint64_t worker = Any(workers_)->first;
      Roll(3) > 0 ? Leave(worker) : Drain(worker);
    } else if (roll < 92) {
      Step(LookupFailed{.text = "gone"});
      queries_.clear();
    } else if (roll < 93) {
      DeleteOne();
    } else if (roll < 94) {
      RecallOne();
    } else if (roll < 95) {
      Step(Flushed{});
    } else if (roll < 96 && Roll(4) == 0) {
      Roll(2) ? Lose() : Change();
    } else if (roll < 97 && Roll(8) == 0) {
      SetBack(Roll(10'000'000));
    } else {
      Advance(Roll(100'000));
    }
  }

  // What was measured before is as long ago as it was.
  void SetBack(int64_t ms) {
    now_ms_ -= ms;
    set_back_ms_ += ms;
    if (timer_at_ms_ != kNoTimer) timer_at_ms_ -= ms;
    paced_ms_ -= ms;
    for (auto& [destination, ended_ms] : ended_ms_) ended_ms -= ms;
    for (auto& [id, running] : running_) running.started_ms -= ms;
  }

  void Activate() {
    // Sometimes one that waits in the queue, else a new one.
    std::string id;
    for (auto& [queue_id, message] : messages_) {
      if (!message.active && !message.deleted && !message.empty() && Roll(3) == 0) {
        id = queue_id;
        break;
      }
    }
    if (id.empty()) {
      id = Concat("Q", ++made_);
      Message& message = messages_[id];
      message.sender = Roll(4) == 0 ? "" : "s@x";
      message.create_ms = now_ms_ - (Roll(3) == 0 ? 86'400'000LL * Roll(7) : 0);
      for (uint32_t i = 1 + Roll(Roll(6) == 0 ? 60 : 8); i > 0; --i) {
        message.recipients.push_back(
            {.address = Concat("u", Roll(5), Roll(2) ? "" : "+x", "@d", Roll(4)),
             .notify = Roll(2) ? 0 : Roll(8) << 1});
      }
    }
    Message& message = messages_[id];
    message.active = true;
    if (std::exchange(message.kept, false)) {
      taken_up_ += std::any_of(running_.begin(), running_.end(), [&](const auto& it) {
        return !it.second.orphan && it.second.delivery.queue_id() == id;
      });
    }
    message.forced_expire = message.forced_expire || Roll(20) == 0;
    Activated activated;
    queue::v1::Activation& activation = activated.activation;
    activation.set_queue_id(id);
    activation.mutable_envelope()->set_sender(message.sender);
    activation.mutable_envelope()->set_arrival_ms(message.create_ms);
    activation.set_create_ms(message.create_ms);
    activation.set_forced_expire(message.forced_expire);
    activation.set_delay_warned(message.delay_warned);
    for (size_t i = 0; i < message.recipients.size(); ++i) {
      Recipient& recipient = message.recipients[i];
      recipient.out = false;
      if (recipient.gone || !recipient.owed()) continue;
      queue::v1::BouncedRecipient& owed = *activation.add_bounced();
      owed.mutable_recipient()->set_number(i);
      owed.mutable_recipient()->set_address(recipient.address);
      owed.mutable_recipient()->set_dsn_notify(recipient.notify);
      owed.mutable_outcome()->set_action(recipient.bounced ? Outcome::ACTION_BOUNCED
                                                           : Outcome::ACTION_SENT);
    }
    FillPage(&message, &activation);
    if (Roll(2)) {
      activation.set_payload_bytes(100);
      activated.body =
          std::shared_ptr<const Body>(reinterpret_cast<const Body*>(this), [](auto*) {});
    }
    ++activations_;
    Step(std::move(activated));
  }

  // Its outcome is applied ahead of whatever is given out.
  bool IsUncommitted(const std::string& id, uint32_t number) const {
    return std::any_of(uncommitted_.begin(), uncommitted_.end(), [&](const auto& said) {
      return said.queue_id() == id &&
             std::any_of(said.outcomes().begin(), said.outcomes().end(),
                         [&](const Outcome& one) { return one.recipient_number() == number; });
    });
  }

  void FillPage(Message* message, queue::v1::Activation* activation) {
    message->left = 0;
    for (size_t i = 0; i < message->recipients.size(); ++i) {
      Recipient& recipient = message->recipients[i];
      if (recipient.gone || recipient.owed() || recipient.out) continue;
      if (IsUncommitted(activation->queue_id(), static_cast<uint32_t>(i))) continue;
      if (static_cast<uint32_t>(activation->recipients_size()) == kPage) {
        ++message->left;
        continue;
      }
      recipient.out = true;
      recipient.given = Given::kOpen;
      mail::v1::Recipient* to = activation->add_recipients();
      to->set_number(i);
      to->set_address(recipient.address);
      to->set_dsn_notify(recipient.notify);
      if (message->forced_expire && Roll(2)) activation->add_last()->set_recipient_number(i);
    }
    activation->set_recipients_left(message->left);
  }

  void GiveMore() {
    for (auto& [id, message] : messages_) {
      if (!message.more_asked || message.deleted || message.recalled || Roll(2)) continue;
      message.more_asked = false;
      Activated activated;
      queue::v1::Activation& activation = activated.activation;
      activation.set_queue_id(id);
      activation.mutable_envelope()->set_sender(message.sender);
      activation.set_create_ms(message.create_ms);
      activation.set_forced_expire(message.forced_expire);
      activation.set_delay_warned(message.delay_warned);
      FillPage(&message, &activation);
      ++pages_;
      return Step(std::move(activated));
    }
  }

  void AnswerSome() {
    Resolved resolved;
    std::erase_if(queries_, [&](const lookup::v1::Query& query) {
      if (Roll(4) == 0) return false;
      lookup::v1::Answer& answer = *resolved.response.add_answers();
      answer.set_id(query.id());
      if (Roll(30) == 0) {
        answer.set_failure("table");
        return true;
      }
      const uint32_t transport = Roll(10);
      answer.set_transport(transport < 5 ? kTransports[0] : kTransports[Roll(8)]);
      answer.set_nexthop(query.recipient().substr(query.recipient().find('@') + 1));
      answer.set_recipient(query.recipient());
      return true;
    });
    Step(std::move(resolved));
  }

  void End(uint64_t id) {
    const Running running = running_.at(id);
    running_.erase(id);
    if (!running.given_up) NoteEnd(running);
    DeliveryDone done;
    done.result.set_id(id);
    const bool failed = Roll(3) == 0;
    for (const auto& recipient : running.delivery.recipients()) {
      if (Roll(50) == 0) continue;  // forgotten by the agent
      Outcome& outcome = *done.result.add_outcomes();
      outcome.set_recipient_number(recipient.number());
      const uint32_t roll = Roll(4);
      outcome.set_action(failed || roll == 0 ? Outcome::ACTION_DEFERRED
                         : roll == 1         ? Outcome::ACTION_BOUNCED
                                             : Outcome::ACTION_SENT);
      outcome.set_success(Roll(3) ? Outcome::SUCCESS_DELIVERED : Outcome::SUCCESS_PASSED_ON);
    }
    done.result.set_destination_failed(failed);
    if (!running.delivery.notice_queue_id().empty()) {
      done.result.set_destination_failed(false);
      if (Roll(3) == 0) {
        done.result.set_notice_failed(true);
      } else if (Roll(4) > 0) {
        done.result.mutable_notice()->set_queue_id(running.delivery.notice_queue_id());
        if (!running.orphan) made_notices_.insert(running.delivery.notice_queue_id());
        if (!running.delivery.copy_queue_id().empty()) {
          done.result.mutable_copy()->set_queue_id(running.delivery.copy_queue_id());
          if (!running.orphan) made_notices_.insert(running.delivery.copy_queue_id());
        }
      }
    }
    Step(std::move(done));
  }

  void CommitSome() {
    // A message's own stay in order: a prefix of the stream.
    for (uint32_t count = Roll(5) + 1; count > 0 && !uncommitted_.empty(); --count) {
      const std::string id = uncommitted_.front().queue_id();
      uncommitted_.erase(uncommitted_.begin());
      Message& message = messages_.at(id);
      --message.uncommitted;
      queue::v1::Committed committed;
      committed.set_queue_id(id);
      committed.set_late(message.deleted);
      committed.set_removed(!message.deleted && message.empty() && message.uncommitted == 0);
      Step(Committed{committed});
    }
  }

  void Join() {
    WorkerJoined joined{.worker = ++last_worker_};
    auto& slots = workers_[last_worker_];
    for (const char* transport : {"smtp", "relay", "local", "bounce", "timed", "paced"}) {
      if (Roll(3) == 0) continue;
      slots[transport] = 1 + Roll(4);
      scheduler::v1::TransportSlots& announced = *joined.hello.add_transports();
      announced.set_transport(transport);
      announced.set_slots(slots[transport]);
    }
    Step(std::move(joined));
  }

  void Change() {
    queries_.clear();
    if (Roll(2)) return Step(RoutesChanged{});
    Step(Configured{MakeConfig()});
    if (workers_.empty()) return;
    const auto worker = Any(workers_);
    if (draining_.contains(worker->first)) return;
    ++changed_offers_;
    WorkerOffers offers{.worker = worker->first};
    worker->second.clear();
    for (const char* transport : {"smtp", "relay", "local", "bounce", "timed", "paced"}) {
      if (Roll(4) == 0) continue;
      worker->second[transport] = Roll(6);
      scheduler::v1::TransportSlots& offered = *offers.offer.add_transports();
      offered.set_transport(transport);
      offered.set_slots(worker->second[transport]);
    }
    Step(std::move(offers));
  }

  void NoteEnd(const Running& running) {
    ended_ms_[running.destination] = now_ms_;
    if (running.delivery.transport() == "paced") paced_ms_ = now_ms_;
  }

  void Drain(uint64_t worker) {
    draining_.insert(worker);
    Step(WorkerDraining{worker});
  }

  void Leave(uint64_t worker) {
    for (const auto& [id, running] : running_) {
      if (running.worker != worker || running.given_up) continue;
      NoteEnd(running);
      // They wait again, also those that were not given out in this session yet.
      Message& message = messages_.at(running.delivery.queue_id());
      if (running.orphan || !message.active) continue;
      for (const auto& recipient : running.delivery.recipients()) {
        message.recipients[recipient.number()].out = true;
      }
    }
    std::erase_if(running_, [&](const auto& it) { return it.second.worker == worker; });
    workers_.erase(worker);
    Step(WorkerLeft{worker});
  }

  void DeleteOne() {
    if (messages_.empty()) return;
    const auto any = Any(messages_);
    any->second.deleted = true;
    Step(Deleted{any->first});
  }

  // The queue does so with active ones.
  void RecallOne() {
    for (auto& [id, message] : messages_) {
      if (!message.active || Roll(4) > 0) continue;
      message.recalled = true;
      for (const auto& [number, running] : running_) {
        if (!running.orphan && running.delivery.queue_id() == id) ++recalls_of_running_;
      }
      return Step(Recalled{id});
    }
  }

  // As the sum of what Describe says of each destination.
  void CheckRunnable() {
    uint64_t runnable = 0;
    std::istringstream lines(scheduler_.Describe(now_ms_));
    for (std::string line; std::getline(lines, line);) {
      int busy = 0, window = 0;
      unsigned long waiting = 0;
      ASSERT_EQ(
          std::sscanf(line.c_str(), "%*s busy=%d window=%d waiting=%lu", &busy, &window, &waiting),
          3)
          << line;
      if (line.starts_with("bounce/") || line.starts_with("paced/")) continue;
      if (busy < window && line.find("delayed") == line.npos) runnable += waiting;
    }
    EXPECT_EQ(scheduler_.runnable_recipients(), runnable) << scheduler_.Describe(now_ms_);
  }

  // What a job still has to start is what was made of its recipients, less what was picked.
  void CheckJobs() {
    std::istringstream lines(scheduler_.DescribeJobs());
    for (std::string line; std::getline(lines, line);) {
      long read = 0, selected = 0, waiting = 0;
      int level = 0;
      char before[16] = "";
      ASSERT_EQ(std::sscanf(line.c_str(),
                            "%*s %*s read=%ld selected=%ld unread=%*d waiting=%ld slots=%*d "
                            "level=%d before=%15s",
                            &read, &selected, &waiting, &level, before),
                5)
          << line;
      EXPECT_EQ(read - selected, waiting) << line;
      EXPECT_TRUE(level > 0 || std::string(before) == "-") << line;
    }
    // A message that is deleted or recalled has only what still runs of it.
    uint64_t open = 0;
    for (const auto& [id, message] : messages_) {
      if (!message.active) continue;
      if (message.deleted || message.recalled) return;
      for (const Recipient& recipient : message.recipients) {
        open += recipient.out && recipient.given == Given::kOpen;
      }
    }
    // What an earlier session left and this one was not given.
    for (const auto& [number, running] : running_) {
      const auto message = messages_.find(running.delivery.queue_id());
      if (running.given_up) return;
      if (running.orphan || message == messages_.end()) continue;
      for (const auto& recipient : running.delivery.recipients()) {
        open += !message->second.active || !message->second.recipients[recipient.number()].out;
      }
    }
    EXPECT_EQ(scheduler_.sizes().recipients, open);
  }

  // The session ends; the queue gives everything out again that had no outcome. Deliveries run on,
  // and all that is not known to be durable is said again, ahead of what is given out.
  void Lose() {
    for (auto& [id, running] : running_) {
      Message& message = messages_.at(running.delivery.queue_id());
      running.orphan = running.orphan || message.deleted || running.delivery.recipients().empty();
      // Who was told to stop is given up about now.
      message.kept = message.kept || !running.orphan || running.given_up;
    }
    for (queue::v1::MessageOutcome& said : uncommitted_) {
      if (said.outcomes().empty() || messages_.at(said.queue_id()).deleted) continue;
      messages_.at(said.queue_id()).kept = true;
      said.set_again(true);
      to_say_again_[said.queue_id()].push_back(std::move(said));
    }
    for (auto& [id, message] : messages_) {
      message.active = false;
      message.recalled = false;
      message.more_asked = false;
      message.uncommitted = 0;
    }
    queries_.clear();
    uncommitted_.clear();
    activations_ = releases_ = 0;
    if (Roll(2)) {
      session_open_ = false;
      Step(QueueLost{});
      while (!running_.empty() && Roll(3) > 0) End(Any(running_)->first);
      session_open_ = true;
    }
    Step(Opened{++epoch_});
    EXPECT_TRUE(to_say_again_.empty()) << to_say_again_.begin()->first;
  }

  void Advance(int64_t ms) {
    now_ms_ += ms;
    // Now and then it comes early.
    if (timer_at_ms_ <= now_ms_ || Roll(20) == 0) {
      timer_at_ms_ = kNoTimer;
      Step(Timer{});
    }
  }

  void Step(Event event) {
    Actions actions;
    const bool timer = std::holds_alternative<Timer>(event);
    scheduler_.Step(std::move(event), now_ms_, &actions);
    if (actions.timer_at_ms) {
      timer_at_ms_ = *actions.timer_at_ms;
      EXPECT_GT(timer_at_ms_, now_ms_);
    }
    for (auto& query : actions.resolve) queries_.push_back(std::move(query));
    for (const CancelDelivery& cancel : actions.cancel) {
      ASSERT_TRUE(running_.contains(cancel.delivery)) << cancel.delivery;
    }
    NoteCancelled(actions, timer);
    for (const auto& commit : actions.commit) CheckCommit(commit);
    for (const auto& put_off : actions.put_off) CheckPutOff(put_off);
    for (const auto& notify : actions.notify) CheckNotify(notify.notify);
    for (const auto& id : actions.more) {
      Message& message = messages_.at(id);
      EXPECT_TRUE(message.active && !message.deleted && !message.recalled) << id;
      EXPECT_GT(message.left, 0) << id;
      EXPECT_FALSE(std::exchange(message.more_asked, true)) << id;
    }
    for (const auto& id : actions.release) CheckRelease(id);
    for (const auto& rest : actions.rest) {
      EXPECT_LE(rest.until_ms(), now_ms_ + 4'000'000);
      ++rests_;
      CheckRelease(rest.queue_id(), /*owes=*/true);
    }
    for (StartDelivery& start : actions.deliver) CheckStart(start);
  }

  // On a timer nothing else is told to stop. Who was told before is not told again, and is given up
  // about now: it counts neither way.
  void NoteCancelled(const Actions& actions, bool timer) {
    for (const CancelDelivery& cancel : actions.cancel) {
      Running& running = running_.at(cancel.delivery);
      EXPECT_FALSE(std::exchange(running.told, true)) << cancel.delivery;
      EXPECT_TRUE(!timer || now_ms_ >= running.started_ms + kAttemptMaxMs);
    }
    for (auto& [id, running] : running_) {
      if (!timer || !running.told || running.given_up) continue;
      if (now_ms_ < running.started_ms + kAttemptMaxMs) continue;
      running.given_up = running.orphan = true;
      NoteEnd(running);
      ++given_up_;
    }
  }

  // Said again as it was said before.
  bool WasSaid(const queue::v1::MessageOutcome& commit) {
    const auto found = to_say_again_.find(commit.queue_id());
    if (found == to_say_again_.end()) return false;
    EXPECT_EQ(found->second.front().SerializeAsString(), commit.SerializeAsString());
    found->second.erase(found->second.begin());
    if (found->second.empty()) to_say_again_.erase(found);
    ++said_again_;
    ++messages_.at(commit.queue_id()).uncommitted;
    uncommitted_.push_back(commit);
    return true;
  }

  void CheckCommit(const queue::v1::MessageOutcome& commit) {
    Message& message = messages_.at(commit.queue_id());
    EXPECT_TRUE(session_open_);
    EXPECT_TRUE(message.active || message.kept) << commit.queue_id();
    if (commit.again() && WasSaid(commit)) return;
    said_between_ += commit.again();
    EXPECT_GT(commit.outcomes_size(), 0);
    for (const Outcome& outcome : commit.outcomes()) {
      Recipient& recipient = message.recipients.at(outcome.recipient_number());
      EXPECT_EQ(recipient.given, Given::kOpen) << "two outcomes for one attempt";
      // It is not given out in a later page: its time has not come.
      recipient.out = recipient.out || message.active;
      recipient.given = Given::kSettled;
      EXPECT_TRUE(!message.deleted || outcome.action() == Outcome::ACTION_SENT);
      if (outcome.action() == Outcome::ACTION_SENT) {
        (outcome.notice_owed() ? recipient.succeeded : recipient.gone) = true;
        EXPECT_TRUE(!outcome.notice_owed() ||
                    ((recipient.notify & mail::v1::NOTIFY_FLAG_SUCCESS) != 0 &&
                     outcome.success() == Outcome::SUCCESS_DELIVERED));
        successes_ += outcome.notice_owed();
      }
      if (outcome.action() == Outcome::ACTION_BOUNCED) recipient.bounced = true;
      EXPECT_TRUE(!message.forced_expire || message.recalled ||
                  outcome.action() != Outcome::ACTION_DEFERRED);
      if (outcome.action() == Outcome::ACTION_DEFERRED) {
        EXPECT_GE(commit.retry_at_ms(), now_ms_ + 300'000);
        EXPECT_LE(commit.retry_at_ms(), now_ms_ + 4'000'000);
      }
    }
    ++message.uncommitted;
    uncommitted_.push_back(commit);
  }

  // For what is no outcome.
  static queue::v1::MessageOutcome Only(const std::string& queue_id) {
    queue::v1::MessageOutcome nothing;
    nothing.set_queue_id(queue_id);
    return nothing;
  }

  void CheckPutOff(const queue::v1::PutOff& put_off) {
    Message& message = messages_.at(put_off.queue_id());
    EXPECT_TRUE(message.active && !message.deleted && !message.recalled);
    EXPECT_GT(put_off.recipient_numbers_size(), 0);
    ++message.uncommitted;
    uncommitted_.push_back(Only(put_off.queue_id()));
    if (put_off.retry_at_ms() == now_ms_) {
      // Deferred while a flush came.
      ++flushed_again_;
      for (const uint32_t number : put_off.recipient_numbers()) {
        const Recipient& recipient = message.recipients.at(number);
        EXPECT_TRUE(recipient.given == Given::kSettled && !recipient.gone && !recipient.owed());
      }
      return;
    }
    EXPECT_GE(put_off.retry_at_ms(), now_ms_ + 300'000);
    EXPECT_LE(put_off.retry_at_ms(), now_ms_ + 4'000'000);
    for (const uint32_t number : put_off.recipient_numbers()) {
      Recipient& recipient = message.recipients.at(number);
      EXPECT_TRUE(recipient.out && recipient.given == Given::kOpen) << number;
      recipient.given = Given::kSettled;
    }
  }

  void CheckNotify(const queue::v1::Notify& notify) {
    Message& message = messages_.at(notify.queue_id());
    // What the agent made is passed on, once.
    for (const auto* made : {&notify.notice(), &notify.copy()}) {
      EXPECT_TRUE(made->queue_id().empty() || made_notices_.erase(made->queue_id()) == 1);
    }
    EXPECT_GT(notify.recipient_numbers_size(), 0);
    if (notify.delay_warning()) {
      ++warnings_;
      EXPECT_FALSE(std::exchange(message.delay_warned, true)) << notify.queue_id();
      EXPECT_GE(now_ms_ + set_back_ms_, message.create_ms + 86'400'000);
    }
    for (const uint32_t number : notify.recipient_numbers()) {
      Recipient& recipient = message.recipients.at(number);
      if (notify.delay_warning()) {
        EXPECT_TRUE(!recipient.owed() && !recipient.gone && recipient.given == Given::kSettled);
        EXPECT_TRUE(recipient.notify == 0 || (recipient.notify & mail::v1::NOTIFY_FLAG_DELAY) != 0);
        continue;
      }
      EXPECT_TRUE(recipient.owed() && !recipient.gone);
      const bool told = recipient.succeeded || recipient.notify == 0 ||
                        (recipient.notify & mail::v1::NOTIFY_FLAG_FAILURE) != 0;
      EXPECT_TRUE(told || !notify.has_notice()) << number;
      untold_ += !told;
      recipient.gone = true;
    }
    ++message.uncommitted;
    uncommitted_.push_back(Only(notify.queue_id()));
  }

  void CheckRelease(const std::string& id, bool owes = false) {
    Message& message = messages_.at(id);
    EXPECT_TRUE(message.active) << "released twice: " << id;
    EXPECT_EQ(message.uncommitted, 0) << id;
    message.active = false;
    message.more_asked = false;
    const bool recalled = std::exchange(message.recalled, false);
    ++releases_;
    for (const auto& [number, running] : running_) {
      EXPECT_TRUE(running.orphan || running.delivery.queue_id() != id) << id;
    }
    if (message.deleted || recalled) return;
    EXPECT_EQ(message.left, 0) << id;
    for (const Recipient& recipient : message.recipients) {
      EXPECT_TRUE(recipient.gone || recipient.given == Given::kSettled) << id;
      EXPECT_TRUE(owes || recipient.gone || !recipient.owed()) << "a notice is owed: " << id;
    }
  }

  static std::string DestinationOf(const scheduler::v1::Delivery& delivery) {
    std::string name = Concat(delivery.transport(), "/", delivery.nexthop());
    if (delivery.transport() == "local") {
      const std::string& address = delivery.recipients(0).address();
      ConcatTo(&name, "/", address.substr(0, address.find_first_of("+@")));
    }
    return name;
  }

  void CheckStart(StartDelivery& start) {
    const scheduler::v1::Delivery& delivery = start.delivery;
    const Message& message = messages_.at(delivery.queue_id());
    EXPECT_TRUE(message.active && !message.deleted && !message.recalled);
    EXPECT_TRUE(!message.forced_expire || delivery.recipients().empty());
    ASSERT_TRUE(workers_.contains(start.worker));
    EXPECT_FALSE(draining_.contains(start.worker));
    Running running{start.worker, delivery, DestinationOf(delivery), now_ms_};
    uint32_t at_worker = 1;
    int at_destination = 1;
    for (const auto& [id, other] : running_) {
      at_worker +=
          other.worker == start.worker && other.delivery.transport() == delivery.transport();
      at_destination += other.destination == running.destination && !other.given_up;
      if (other.orphan || other.delivery.queue_id() != delivery.queue_id()) continue;
      for (const auto& recipient : other.delivery.recipients()) {
        for (const auto& mine : delivery.recipients()) EXPECT_NE(recipient.number(), mine.number());
      }
    }
    EXPECT_LE(at_worker, workers_.at(start.worker)[delivery.transport()]);
    if (delivery.transport() == "bounce") {
      EXPECT_EQ(delivery.recipients_size(), 0);
      EXPECT_GT(delivery.bounced_size(), 0);
      EXPECT_LE(delivery.bounced_size(), 4);
    } else {
      EXPECT_LE(at_destination, delivery.transport() == "local"   ? 2
                                : delivery.transport() == "timed" ? 1
                                                                  : kConcurrencyLimit);
      EXPECT_GT(delivery.recipients_size(), 0);
      EXPECT_LE(delivery.recipients_size(), delivery.transport() == "local" ? 1 : kRecipientLimit);
    }
    if (delivery.transport() == "timed") {
      const auto ended = ended_ms_.find(running.destination);
      EXPECT_TRUE(ended == ended_ms_.end() || now_ms_ >= ended->second + kRateDelayMs);
    }
    if (delivery.transport() == "paced") {
      EXPECT_GE(now_ms_, paced_ms_ + kRateDelayMs);
      EXPECT_TRUE(std::none_of(running_.begin(), running_.end(), [](const auto& it) {
        return it.second.delivery.transport() == "paced" && !it.second.given_up;
      }));
    }
    for (const auto& recipient : delivery.recipients()) {
      EXPECT_EQ(message.recipients.at(recipient.number()).given, Given::kOpen);
    }
    EXPECT_EQ(start.body != nullptr, delivery.payload_bytes() > 0);
    EXPECT_TRUE(running_.emplace(delivery.id(), std::move(running)).second);
  }

  // Everything that is under way comes to its end; then nothing may be left.
  void Finish() {
    Join();
    WorkerJoined joined{.worker = ++last_worker_};
    for (const char* transport : {"smtp", "relay", "local", "bounce", "timed", "paced"}) {
      workers_[last_worker_][transport] = 5;
      scheduler::v1::TransportSlots& announced = *joined.hello.add_transports();
      announced.set_transport(transport);
      announced.set_slots(5);
    }
    Step(std::move(joined));
    for (int i = 0; i < 100'000 && scheduler_.sizes().messages > 0; ++i) {
      AnswerSome();
      if (!running_.empty()) End(running_.begin()->first);
      GiveMore();
      CommitSome();
      Advance(10'000);
    }
    while (!running_.empty()) End(running_.begin()->first);
    EXPECT_EQ(releases_, activations_);
    while (!workers_.empty()) Leave(workers_.begin()->first);
    for (int i = 0; i < 100; ++i) Advance(10'000);
    const Sizes sizes = scheduler_.sizes();
    EXPECT_EQ(sizes.messages + sizes.recipients_waiting + sizes.deliveries_running + sizes.queries +
                  sizes.destinations + sizes.destinations_dead + sizes.transports + sizes.workers +
                  sizes.body_bytes + sizes.jobs + sizes.recipients,
              0)
        << scheduler_.Describe(now_ms_) << " messages " << sizes.messages << " transports "
        << sizes.transports;
    EXPECT_EQ(timer_at_ms_, kNoTimer);
    EXPECT_EQ(scheduler_.runnable_recipients(), 0);
  }

  std::mt19937_64 random_;
  int notices_ = 0;
  Scheduler scheduler_;
  int64_t now_ms_ = 1'800'000'000'000;
  int64_t set_back_ms_ = 0;
  int64_t timer_at_ms_ = kNoTimer;
  uint64_t epoch_ = 0;
  uint64_t last_worker_ = 0;
  int made_ = 0;
  int activations_ = 0;
  int releases_ = 0;
  int warnings_ = 0;
  int recalls_of_running_ = 0;
  int successes_ = 0;
  int untold_ = 0;
  int pages_ = 0;
  int rests_ = 0;
  int flushed_again_ = 0;
  int given_up_ = 0;
  int changed_offers_ = 0;
  int64_t paced_ms_ = 0;
  std::set<uint64_t> draining_;
  std::map<std::string, int64_t> ended_ms_;
  std::set<std::string> made_notices_;
  std::map<std::string, Message> messages_;
  std::map<uint64_t, Running> running_;
  std::map<uint64_t, std::map<std::string, uint32_t>> workers_;
  std::vector<lookup::v1::Query> queries_;
  // In the order in which they were said.
  std::vector<queue::v1::MessageOutcome> uncommitted_;
  bool session_open_ = true;
  std::map<std::string, std::vector<queue::v1::MessageOutcome>> to_say_again_;
  int said_again_ = 0;
  int said_between_ = 0;
  int taken_up_ = 0;
};

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST(RandomEvents, KeepThePromises) {
  const uint64_t only = Setting("RANDOM_TEST_SEED", 0);
  const uint64_t last = only > 0 ? only : Setting("RANDOM_TEST_SEEDS", 1000);
  Counters seen;
  int warnings = 0;
  int recalls_of_running = 0;
  int successes = 0, untold = 0, pages = 0, rests = 0, flushed_again = 0, given_up = 0;
  int changed_offers = 0, said_again = 0, said_between = 0, taken_up = 0;
  for (uint64_t seed = only > 0 ? only : 1; seed <= last; ++seed) {
    SCOPED_TRACE(Concat("seed ", seed));
    World world(seed);
    world.Run();
    if (HasFailure()) return;
    const Counters& counters = world.counters();
    seen.in_doubt += counters.in_doubt;
    seen.late += counters.late;
    seen.expired_messages += counters.expired_messages;
    seen.dead_destinations += counters.dead_destinations;
    seen.bodies_let_go += counters.bodies_let_go;
    seen.preemptions += counters.preemptions;
    seen.put_off += counters.put_off;
    successes += world.successes();
    untold += world.untold();
    pages += world.pages();
    rests += world.rests();
    flushed_again += world.flushed_again();
    given_up += world.given_up();
    changed_offers += world.changed_offers();
    said_again += world.said_again();
    said_between += world.said_between();
    taken_up += world.taken_up();
    warnings += world.warnings();
    recalls_of_running += world.recalls_of_running();
  }
  // Events that never lead there would prove nothing.
  EXPECT_GT(seen.in_doubt, 0);
  EXPECT_GT(seen.late, 0);
  EXPECT_GT(seen.expired_messages, 0);
  EXPECT_GT(seen.dead_destinations, 0);
  EXPECT_GT(seen.bodies_let_go, 0);
  EXPECT_GT(seen.preemptions, 0);
  EXPECT_GT(seen.put_off, 0);
  EXPECT_GT(successes, 0);
  EXPECT_GT(untold, 0);
  EXPECT_GT(pages, 0);
  EXPECT_GT(rests, 0);
  EXPECT_GT(flushed_again, 0);
  EXPECT_GT(given_up, 0);
  EXPECT_GT(changed_offers, 0);
  EXPECT_GT(said_again, 0);
  EXPECT_GT(said_between, 0);
  EXPECT_GT(taken_up, 0);
  EXPECT_GT(warnings, 0);
  EXPECT_GT(recalls_of_running, 0);
}

}  // namespace
}  // namespace postfleet::scheduler
