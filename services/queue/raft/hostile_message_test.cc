// What Step and Inspect refuse, and that nothing changes then.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/queue/raft/peer_message.h"
#include "services/queue/raft/sequencer.h"

namespace postfleet::queue::raft {
namespace {

constexpr uint64_t kHuge = uint64_t{1} << 63;
constexpr uint64_t kLeader = 2;

uint64_t Type(MessageType type) { return static_cast<uint64_t>(type); }

// Replica 1 of three, which follows replica 2 in term 5; its log ends at index 4.
class HostileMessageTest : public ::testing::Test {
 protected:
  HostileMessageTest() {
    Options options;
    options.id = 1;
    options.snapshot = {1, 1, {{1, 2, 3}, {}}};
    options.hard_state = {5, 0, 3};
    options.entries = entries_;
    options.applied = 3;
    options.log_entries_max = 100;
    sequencer_ = *Sequencer::Start(options);
    EXPECT_TRUE(Step(Message(MessageType::kHeartbeat)).ok());
    Turn();
  }

  PeerMessage Message(MessageType type) {
    PeerMessage message;
    message.type = Type(type);
    message.to = 1;
    message.from = kLeader;
    message.term = 5;
    return message;
  }

  PeerMessage Append(std::vector<PeerMessage::LogEntry> entries) {
    PeerMessage message = Message(MessageType::kAppend);
    message.index = 4;
    message.log_term = 1;
    message.entries = std::move(entries);
    return message;
  }

  PeerMessage Snapshot(PeerMessage::SnapshotAt at) {
    PeerMessage message = Message(MessageType::kSnapshot);
    message.snapshot = std::move(at);
    return message;
  }

  absl::Status Step(const PeerMessage& message) {
    return sequencer_->Step(kLeader, message.Encode());
  }

  void Turn() {
    while (sequencer_->HasReady()) {
      sequencer_->TakeReady();
      sequencer_->Advance();
    }
  }

  void Lead() {
    sequencer_->Campaign();
    Turn();
    for (const MessageType vote : {MessageType::kPreVoteResponse, MessageType::kVoteResponse}) {
      PeerMessage message = Message(vote);
      message.term = 6;
      ASSERT_TRUE(Step(message).ok());
      Turn();
    }
    ASSERT_EQ(sequencer_->standing().soft_state.role, Role::kLeader);
  }

  // Neither Step nor Inspect takes it.
  void ExpectRefused(const std::string& bytes) {
    const HardState before = sequencer_->standing().hard_state;
    EXPECT_TRUE(absl::IsInvalidArgument(sequencer_->Step(kLeader, bytes)));
    EXPECT_TRUE(absl::IsInvalidArgument(sequencer_->Inspect(bytes).status()));
    EXPECT_EQ(sequencer_->standing().hard_state, before);
    EXPECT_FALSE(sequencer_->HasReady());
  }

  const std::string reference_ = std::string(24, 'r');
  const std::vector<Entry> entries_ = {
      {.term = 1, .index = 2}, {.term = 1, .index = 3}, {.term = 1, .index = 4}};
  std::unique_ptr<Sequencer> sequencer_;
};

TEST_F(HostileMessageTest, WhatIsNoMessageIsRefused) {
  const std::string whole = Append({{5, 5, 0, reference_}}).Encode();
  ExpectRefused("");
  ExpectRefused(std::string(1000, '\xff'));
  ExpectRefused(std::string(kMessageBytesMax + 1, '\0'));
  // A length that overflows, in a field that nobody knows (CVE-2021-3121).
  ExpectRefused(whole + std::string("\xfa\x0f\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11));
  for (size_t size = 0; size < whole.size(); ++size) {
    sequencer_->Step(kLeader, whole.substr(0, size)).IgnoreError();
  }
}

TEST_F(HostileMessageTest, TypesThatAreLocalOrUnknownAreRefused) {
  for (const uint64_t type : {0, 1, 2, 10, 11, 12, 19, 1000}) {
    PeerMessage message = Message(MessageType::kHeartbeat);
    message.type = type;
    ExpectRefused(message.Encode());
  }
}

TEST_F(HostileMessageTest, SenderAndReceiverMustBeRight) {
  const std::string bytes = Message(MessageType::kHeartbeat).Encode();
  EXPECT_TRUE(absl::IsInvalidArgument(sequencer_->Step(3, bytes)));
  PeerMessage own = Message(MessageType::kHeartbeat);
  own.from = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(sequencer_->Step(1, own.Encode())));
  PeerMessage other = Message(MessageType::kHeartbeat);
  other.to = 3;
  EXPECT_TRUE(absl::IsInvalidArgument(Step(other)));
  other.to = 0;
  ExpectRefused(other.Encode());
  PeerMessage stranger = Message(MessageType::kVoteResponse);
  stranger.from = 99;
  EXPECT_TRUE(absl::IsNotFound(sequencer_->Step(99, stranger.Encode())));
}

TEST_F(HostileMessageTest, NumbersOutOfRangeAreRefused) {
  std::vector<PeerMessage> messages(6, Message(MessageType::kHeartbeat));
  messages[0].term = kHuge;
  messages[1].log_term = kHuge;
  messages[2].index = kHuge;
  messages[3].commit = kHuge;
  messages[4].reject_hint = kHuge;
  messages[5].term = 0;  // raft would take it for one of its own
  for (const PeerMessage& message : messages) ExpectRefused(message.Encode());
}

TEST_F(HostileMessageTest, AppendsMustBeALog) {
  ExpectRefused(Append({{5, 6, 0, reference_}}).Encode());                         // a gap
  ExpectRefused(Append({{5, 5, 0, reference_}, {4, 6, 0, reference_}}).Encode());  // back in term
  ExpectRefused(Append({{6, 5, 0, reference_}}).Encode());  // later than the message
  ExpectRefused(Append({{0, 5, 0, reference_}}).Encode());
  ExpectRefused(Append({{5, 5, 0, "short"}}).Encode());
  ExpectRefused(Append({{5, 5, 1, "\x12"}}).Encode());  // a conf change that is none
  ExpectRefused(Append({{5, 5, 1, std::string("\x10\x07", 2)}}).Encode());
  ExpectRefused(Append({{5, 5, 2, ""}}).Encode());  // joint consensus
  PeerMessage behind_nothing = Append({{5, 100, 0, reference_}});
  behind_nothing.index = 99;
  behind_nothing.log_term = 0;
  ExpectRefused(behind_nothing.Encode());
  PeerMessage heartbeat = Message(MessageType::kHeartbeat);
  heartbeat.entries = {{5, 5, 0, reference_}};
  ExpectRefused(heartbeat.Encode());
  EXPECT_TRUE(Step(Append({{5, 5, 0, reference_}, {5, 6, 0, ""}})).ok());
}

TEST_F(HostileMessageTest, SnapshotsMustHaveMembersOnceAndNoData) {
  ExpectRefused(Snapshot({9, 5, {}, {}, ""}).Encode());
  ExpectRefused(Snapshot({9, 5, {1, 1}, {}, ""}).Encode());
  ExpectRefused(Snapshot({9, 5, {1, 2}, {2}, ""}).Encode());
  ExpectRefused(Snapshot({9, 5, {1, 0}, {}, ""}).Encode());
  ExpectRefused(Snapshot({9, 6, {1, 2}, {}, ""}).Encode());
  ExpectRefused(Snapshot({0, 5, {1, 2}, {}, ""}).Encode());
  ExpectRefused(Snapshot({9, 5, {1, 2}, {}, "data"}).Encode());
  ExpectRefused(Message(MessageType::kSnapshot).Encode());
  EXPECT_TRUE(Step(Snapshot({9, 5, {1, 2}, {3}, ""})).ok());
  const Ready ready = sequencer_->TakeReady();
  ASSERT_TRUE(ready.snapshot.has_value());
  EXPECT_EQ(*ready.snapshot, (raft::Snapshot{9, 5, {{1, 2}, {3}}}));
}

TEST_F(HostileMessageTest, ReadsMustHaveAContext) {
  PeerMessage read = Message(MessageType::kReadIndex);
  read.term = 0;
  ExpectRefused(read.Encode());
  read.entries = {{0, 0, 0, "short"}};
  ExpectRefused(read.Encode());
  PeerMessage heartbeat = Message(MessageType::kHeartbeat);
  heartbeat.context = std::string(17, 'x');
  ExpectRefused(heartbeat.Encode());
}

TEST_F(HostileMessageTest, CommitOfEntriesThatAreNotHereIsOutOfRange) {
  PeerMessage heartbeat = Message(MessageType::kHeartbeat);
  heartbeat.commit = 5;
  EXPECT_TRUE(absl::IsOutOfRange(Step(heartbeat)));
  heartbeat.commit = 4;
  EXPECT_TRUE(Step(heartbeat).ok());
  EXPECT_EQ(sequencer_->standing().hard_state.commit, 4u);
}

TEST_F(HostileMessageTest, CommitBehindASuffixThatWasJustReplacedIsHeldBack) {
  PeerMessage shorter = Message(MessageType::kAppend);
  shorter.index = 3;
  shorter.log_term = 1;
  shorter.entries = {{5, 4, 0, reference_}};
  ASSERT_TRUE(Step(Append({{1, 5, 0, reference_}, {1, 6, 0, reference_}})).ok());
  Turn();
  ASSERT_TRUE(Step(shorter).ok());
  PeerMessage heartbeat = Message(MessageType::kHeartbeat);
  heartbeat.commit = 6;
  EXPECT_TRUE(Step(heartbeat).ok());
  EXPECT_EQ(sequencer_->standing().hard_state.commit, 4u);
}

TEST_F(HostileMessageTest, NobodyHasMoreThanItsLeader) {
  Lead();
  PeerMessage response = Message(MessageType::kAppendResponse);
  response.term = 6;
  response.index = 6;
  EXPECT_TRUE(absl::IsOutOfRange(Step(response)));
  response.index = 5;
  EXPECT_TRUE(Step(response).ok());
  EXPECT_EQ(sequencer_->standing().hard_state.commit, 5u);
}

TEST_F(HostileMessageTest, ReadsOfPeersAreBoundedAndNotPassedOn) {
  PeerMessage read = Message(MessageType::kReadIndex);
  read.term = 0;
  read.entries = {{0, 0, 0, std::string(16, 'c')}};
  EXPECT_TRUE(Step(read).ok());
  EXPECT_FALSE(sequencer_->HasReady());
  int taken = 0;
  while (taken < 100'000 && Step(read).ok()) ++taken;
  EXPECT_EQ(taken, Options().reads_per_tick_max - 1);
}

TEST_F(HostileMessageTest, AnswersToTheReadsOfOthersAreDropped) {
  PeerMessage answer = Message(MessageType::kReadIndexResponse);
  answer.index = 4;
  answer.entries = {{0, 0, 0, std::string("\3\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0", 16)}};
  ASSERT_TRUE(Step(answer).ok());
  EXPECT_TRUE(sequencer_->TakeReady().read_states.empty());
  sequencer_->Advance();
  answer.entries[0].data[0] = 1;
  ASSERT_TRUE(Step(answer).ok());
  const Ready ready = sequencer_->TakeReady();
  ASSERT_EQ(ready.read_states.size(), 1u);
  EXPECT_EQ(ready.read_states[0].context, 5u);
}

TEST_F(HostileMessageTest, AppendsBehindAFullLogAreRefused) {
  uint64_t index = 4, taken = 0;
  absl::Status status;
  do {
    PeerMessage append = Append({{5, index + 1, 0, reference_}});
    append.index = index;
    append.log_term = index == 4 ? 1 : 5;
    status = Step(append);
    Turn();
    ++index;
  } while (status.ok() && ++taken < 1000);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(taken, 200u - entries_.size());  // twice log_entries_max
}

}  // namespace
}  // namespace postfleet::queue::raft
