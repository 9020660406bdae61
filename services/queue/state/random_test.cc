// Random commands against a model of a few lines, crashes, and the same log twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "libs/base/concat.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

constexpr int kSteps = 600;
using State = state::RecipientRow::State;
constexpr State kGone = state::RecipientRow::STATE_UNSPECIFIED;
constexpr State kPending = state::RecipientRow::STATE_PENDING;
constexpr State kWaiting = state::RecipientRow::STATE_DEFERRED;
constexpr State kOwed = state::RecipientRow::STATE_BOUNCED;

// What the queue should hold.
struct Model {
  struct Message {
    std::vector<State> recipients;
    uint64_t bytes = 0;
    size_t Count(State wanted) const {
      return static_cast<size_t>(std::count(recipients.begin(), recipients.end(), wanted));
    }
  };
  std::map<std::string, Message> messages;
  uint64_t late = 0;

  void Tidy(const std::string& queue_id) {
    const Message& message = messages[queue_id];
    if (message.Count(kGone) == message.recipients.size()) messages.erase(queue_id);
  }
};

class Play {
 public:
  explicit Play(unsigned seed) : random_(seed) { Open(queue); }

  void Step() {
    queue.now_ms += Pick(2'000);
    switch (Pick(12)) {
      case 0:
      case 1:
      case 2:
        return EnqueueSome();
      case 3:
      case 4:
      case 5:
      case 6:
        return ReportSome();
      case 7:
        return NotifySome();
      case 8:
        return DeleteSome();
      case 9:
        return FlushSome();
      case 10:
        return RetrySome();
      default:
        Open(queue);
    }
  }

  void Compare() {
    CompareCounts();
    CompareListing();
    CompareIndexes();
  }

  size_t Pick(size_t below) { return random_() % below; }

  QueueUnderTest queue;

 private:
  std::string NewId() { return Concat("Q", ++ids_); }
  // Any id ever given, gone or not.
  std::string AnyId() { return Concat("Q", 1 + Pick(ids_ + 1)); }

  void EnqueueSome() {
    state::Command command;
    std::string payload;
    const size_t messages = 1 + Pick(3);
    for (size_t i = 0; i < messages; ++i) {
      const std::string queue_id = NewId();
      const size_t recipients = 1 + Pick(4);
      const std::string contents(Pick(50'000), 'x');
      AddMessage(queue, queue_id, static_cast<int>(recipients), contents, &command, &payload);
      model_.messages[queue_id] = {std::vector<State>(recipients, kPending), contents.size()};
    }
    last_ = command;
    last_payload_ = payload;
    queue.Apply(std::move(command), std::move(payload));
  }

  void RetrySome() {
    if (last_.submissions().empty()) return;
    for (const auto& result : queue.Apply(last_, last_payload_).submissions) {
      EXPECT_EQ(result.code, v1::EnqueueResult::COMMITTED);
      EXPECT_TRUE(result.duplicate);
    }
  }

  // Two outcomes in one command, often for the same message.
  void ReportSome() {
    state::Command command;
    for (int i = 0; i < 2; ++i) {
      const std::string queue_id = AnyId();
      std::vector<std::pair<uint32_t, Action>> outcomes;
      for (uint32_t number = 0; number < 5; ++number) {
        if (Pick(2) == 0) continue;
        outcomes.push_back({number, std::array{kSent, kDeferred, kBounced}[Pick(3)]});
      }
      const state::Command one = OutcomeCommand(queue, queue_id, outcomes,
                                                queue.now_ms + static_cast<int64_t>(Pick(10'000)));
      command.mutable_outcomes()->MergeFrom(one.outcomes());
      ReportToModel(queue_id, outcomes);
    }
    queue.Apply(std::move(command));
  }

  void ReportToModel(const std::string& queue_id,
                     const std::vector<std::pair<uint32_t, Action>>& outcomes) {
    const auto found = model_.messages.find(queue_id);
    if (found == model_.messages.end()) {
      ++model_.late;
      return;
    }
    for (const auto& [number, action] : outcomes) {
      if (number >= found->second.recipients.size()) continue;
      State& recipient = found->second.recipients[number];
      if (recipient != kPending && recipient != kWaiting) continue;
      recipient = action == kSent ? kGone : action == kDeferred ? kWaiting : kOwed;
    }
    model_.Tidy(queue_id);
  }

  void NotifySome() {
    const std::string queue_id = AnyId();
    const std::string notice_id = NewId();
    const Effects& effects = Notify(queue, queue_id, {0, 2}, notice_id);
    const auto found = model_.messages.find(queue_id);
    if (found == model_.messages.end()) {
      ++model_.late;
      return;
    }
    bool closed = false;
    for (size_t number : {0, 2}) {
      if (number >= found->second.recipients.size()) continue;
      State& recipient = found->second.recipients[number];
      closed = closed || recipient == kOwed;
      if (recipient == kOwed) recipient = kGone;
    }
    EXPECT_EQ(effects.new_messages.size(), closed ? 1u : 0u);
    if (closed) model_.messages[notice_id] = {{kPending}, 10};
    model_.Tidy(queue_id);
  }

  void DeleteSome() {
    const std::string queue_id = AnyId();
    const Effects& effects = Delete(queue, {queue_id, queue_id});
    EXPECT_EQ(effects.deleted.size(), model_.messages.erase(queue_id));
  }

  void FlushSome() {
    if (Pick(2) == 0) {
      Flush(queue, {});
    } else {
      Flush(queue, {AnyId(), AnyId()});
    }
  }

  void CompareCounts() {
    uint64_t incoming = 0;
    uint64_t bytes = 0;
    for (const auto& [queue_id, message] : model_.messages) {
      bytes += message.bytes;
      incoming += message.Count(kPending) > 0 || message.Count(kWaiting) == 0;
    }
    const state::Counts& counts = queue.machine().counts();
    EXPECT_EQ(counts.incoming_messages(), incoming);
    EXPECT_EQ(counts.deferred_messages(), model_.messages.size() - incoming);
    EXPECT_EQ(counts.bytes(), bytes);
    EXPECT_EQ(counts.late_outcomes(), model_.late);
  }

  void CompareListing() {
    std::map<std::string, std::set<std::string>> listed;
    v1::ListRequest request;
    request.set_limit(7);
    for (bool more = true; more;) {
      const auto page = queue.reader().List(request, [](std::string_view) { return false; });
      ASSERT_TRUE(page.ok()) << page.status();
      for (const v1::ListedMessage& message : page->messages()) {
        auto& addresses = listed[message.queue_id()];
        for (const auto& recipient : message.recipients()) addresses.insert(recipient.address());
        request.set_after_queue_id(message.queue_id());
      }
      more = page->more();
    }
    std::map<std::string, std::set<std::string>> expected;
    for (const auto& [queue_id, message] : model_.messages) {
      auto& addresses = expected[queue_id];
      for (size_t i = 0; i < message.recipients.size(); ++i) {
        const State recipient = message.recipients[i];
        if (recipient == kPending || recipient == kWaiting) {
          addresses.insert(Concat("r", i, "@example.com"));
        }
      }
      // Its only recipient has another name.
      if (listed[queue_id].contains("sender@example.org") && !addresses.empty()) {
        addresses = {"sender@example.org"};
      }
    }
    EXPECT_EQ(listed, expected);
  }

  void CompareIndexes() {
    std::multiset<std::string> intake;
    const auto intake_rows = queue.reader().ScanIntake({}, 10'000);
    for (const IntakeEntry& entry : *intake_rows) {
      intake.insert(entry.queue_id);
    }
    std::set<std::string> due;
    const auto due_rows = queue.reader().ScanDue({}, 10'000);
    for (const DueEntry& entry : *due_rows) {
      due.insert(entry.key.queue_id);
    }
    std::multiset<std::string> expected_intake;
    std::set<std::string> expected_due;
    for (const auto& [queue_id, message] : model_.messages) {
      if (message.Count(kPending) + message.Count(kOwed) > 0) expected_intake.insert(queue_id);
      if (message.Count(kWaiting) > 0) expected_due.insert(queue_id);
      CompareOpen(queue_id, message);
    }
    EXPECT_EQ(intake, expected_intake);
    EXPECT_EQ(due, expected_due);
  }

  // With all jobs due, everything is open that is not bounced.
  void CompareOpen(const std::string& queue_id, const Model::Message& message) {
    const auto row = queue.reader().ReadMessage(queue_id);
    ASSERT_TRUE(row.ok() && row->has_value()) << queue_id;
    OpenRecipientsQuery query;
    query.queue_id = queue_id;
    query.now_ms = queue.now_ms + 100'000;
    const auto open = queue.reader().ReadOpenRecipients(**row, query);
    ASSERT_TRUE(open.ok()) << open.status();
    std::map<uint32_t, State> found;
    for (const auto& recipient : open->open) {
      found[recipient.recipient().number()] = recipient.state();
    }
    for (const auto& recipient : open->bounced) found[recipient.recipient().number()] = kOwed;
    EXPECT_EQ(open->open.size() + open->bounced.size(), found.size());
    for (uint32_t number = 0; number < message.recipients.size(); ++number) {
      EXPECT_EQ(found.contains(number) ? found[number] : kGone, message.recipients[number])
          << queue_id << " recipient " << number;
    }
  }

  std::mt19937 random_;
  Model model_;
  size_t ids_ = 0;
  state::Command last_;
  std::string last_payload_;
};

unsigned SeedOfDay() {
  const char* seed = std::getenv("POSTFLEET_TEST_SEED");
  return seed != nullptr ? static_cast<unsigned>(std::atoi(seed)) : std::random_device()();
}

class RandomCommands : public ::testing::TestWithParam<unsigned> {
 protected:
  // The last parameter is a new seed each time.
  const unsigned seed_ = GetParam() != 0 ? GetParam() : SeedOfDay();
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, Concat("POSTFLEET_TEST_SEED=", seed_)};
};

TEST_P(RandomCommands, LeaveWhatTheModelSays) {
  Play play(seed_);
  for (int step = 0; step < kSteps && !HasFailure(); ++step) {
    SCOPED_TRACE(step);
    play.Step();
    play.Compare();
  }
}

TEST_P(RandomCommands, AreTheSameAfterACrashAndReplay) {
  Play play(seed_);
  int crashes = 0;
  for (int step = 0; step < kSteps && !HasFailure(); ++step) {
    play.Step();
    if (play.Pick(40) == 0) {
      ASSERT_TRUE(play.queue.store().Flush().ok());
    }
    if (play.Pick(60) != 0) continue;
    ++crashes;
    const auto before = play.queue.Dump();
    play.queue.Crash();
    const uint64_t applied = play.queue.machine().applied_index();
    for (const LoggedCommand& command : play.queue.log()) {
      if (command.index > applied) play.queue.Replay(command);
    }
    ASSERT_EQ(play.queue.Dump(), before) << "step " << step;
  }
  EXPECT_GT(crashes, 0);
}

TEST_P(RandomCommands, GiveEqualBytesFromTheSameLog) {
  Play play(seed_);
  for (int step = 0; step < kSteps; ++step) play.Step();
  QueueUnderTest twin;
  for (const LoggedCommand& command : play.queue.log()) {
    twin.Replay(command);
    // Flushes differ between replicas and must not show.
    if (command.index % 97 == 0) {
      ASSERT_TRUE(twin.store().Flush().ok());
    }
  }
  EXPECT_EQ(twin.Dump(), play.queue.Dump());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomCommands, ::testing::Values(1u, 2u, 3u, 0u));

}  // namespace
}  // namespace postfleet::queue
