// Three replicas in one process, each a whole queue in a folder of its own; what they say goes from
// one to the other directly, and may be cut off.
#include <fstream>
#include <future>
#include <shared_mutex>
#include <thread>

#include "libs/base/concat.h"
#include "libs/rpc/leader.h"
#include "libs/runtime/event_loop.h"
#include "services/queue/membership/member_changes.h"
#include "services/queue/queue_node.h"
#include "services/queue/transport/snapshot_files.h"

namespace postfleet::queue {
namespace {

using membership::Change;
using membership::ChangeKind;
using testing::UnorderedElementsAre;

class Cluster : private PeerSender, private SnapshotPort {
 public:
  explicit Cluster(const std::string& directory) : directory_(directory) {
    snapshots_.Start();
    for (uint64_t id = 1; id <= 3; ++id) members_[id].id = id;
  }
  ~Cluster() override {
    snapshots_.Stop();
    for (uint64_t id = 1; id <= 3; ++id) Stop(id);
  }

  void Start(uint64_t id) {
    QueueOptions options;
    options.directory = Concat(directory_, "/q", id);
    options.identity = {
        .cluster_id = 7, .id = id, .name = Concat("q", id), .founds = id == kFounder};
    options.own = MemberOf(id);
    options.peers = this;
    options.snapshots = this;
    options.tick_interval = std::chrono::milliseconds(10);
    auto node = std::make_unique<Node>(std::move(options));
    std::unique_lock lock(mutex_);
    members_[id].node = std::move(node);
  }
  void Stop(uint64_t id) {
    std::unique_ptr<Node> node;
    {
      std::unique_lock lock(mutex_);
      node = std::move(members_[id].node);
    }
  }
  void CutOff(uint64_t id, bool cut) {
    std::unique_lock lock(mutex_);
    members_[id].is_cut_off = cut;
  }
  Node& node(uint64_t id) { return *members_[id].node; }

  cluster::v1::ShardStatus StatusOf(uint64_t id) { return node(id).queue().group().status(); }

  // Of those that run.
  uint64_t AwaitLeader(uint64_t other_than = 0) {
    while (true) {
      for (const auto& [id, member] : members_) {
        if (id == other_than || member.node == nullptr) continue;
        if (StatusOf(id).role() == cluster::v1::ShardStatus::ROLE_LEADER) return id;
      }
      std::this_thread::yield();
    }
  }
  void AwaitApplied(uint64_t id, uint64_t index) {
    while (true) {
      {
        // A snapshot replaces the node.
        std::shared_lock lock(mutex_);
        const auto& node = members_[id].node;
        if (node && node->queue().group().status().applied_index() >= index) return;
      }
      std::this_thread::yield();
    }
  }
  void Propose(uint64_t leader, ChangeKind kind, uint64_t id) {
    Change change{kind, MemberOf(id)};
    change.member.set_learner(kind == ChangeKind::kAddLearner);
    std::promise<absl::Status> done;
    node(leader).queue().group().change(
        change, [&done](const absl::Status& status) { done.set_value(status); });
    EXPECT_TRUE(done.get_future().get().ok());
  }
  // From one voter to three.
  void Grow() {
    Start(kFounder);
    for (const uint64_t id : {2, 3}) {
      Start(id);
      Propose(kFounder, ChangeKind::kAddLearner, id);
      AwaitApplied(id, StatusOf(kFounder).applied_index());
      Propose(kFounder, ChangeKind::kPromote, id);
      AwaitApplied(id, StatusOf(kFounder).applied_index());
    }
  }

  static constexpr uint64_t kFounder = 1;

 private:
  struct Member {
    uint64_t id = 0;
    std::unique_ptr<Node> node;
    bool is_cut_off = false;
  };

  static cluster::v1::Member MemberOf(uint64_t id) {
    cluster::v1::Member member;
    member.set_id(id);
    member.set_name(Concat("q", id));
    member.set_address(Concat("h:", id));
    return member;
  }

  void Send(std::vector<PeerMessage> messages) override {
    std::shared_lock lock(mutex_);
    for (PeerMessage& message : messages) {
      Member& to = members_[message.to];
      if (to.node == nullptr || to.is_cut_off || members_[message.from].is_cut_off) continue;
      to.node->queue().Receive(std::move(message));
    }
  }

  void SendSnapshot(PeerMessage message, uint64_t) override {
    snapshots_.Post([this, from = message.from, to = message.to] { Deliver(from, to); });
  }

  // As the transport does it: the files, then the manifest; the replica starts anew.
  void Deliver(uint64_t from, uint64_t to) {
    std::shared_lock lock(mutex_);
    if (members_[from].node == nullptr) return;
    Queue& sender = members_[from].node->queue();
    auto snapshot = sender.MakeSnapshot(0);
    if (members_[to].node == nullptr || !snapshot.ok()) {
      return sender.ReportSnapshot(0, to, /*delivered=*/false);
    }
    lock.unlock();
    Stop(to);
    const std::string directory = Concat(directory_, "/q", to);
    std::filesystem::create_directories(transport::IncomingFolder(directory));
    std::filesystem::rename(snapshot->folder, transport::IncomingState(directory));
    std::ofstream manifest(transport::IncomingManifest(directory), std::ios::binary);
    EXPECT_TRUE(snapshot->manifest.SerializeToOstream(&manifest));
    manifest.close();
    Start(to);
    lock.lock();
    members_[from].node->queue().ReportSnapshot(0, to, /*delivered=*/true);
    ++delivered_;
  }

  const std::string directory_;
  runtime::EventLoop snapshots_{"snapshots"};
  std::shared_mutex mutex_;
  std::map<uint64_t, Member> members_;
  int delivered_ = 0;
};

class ClusterTest : public QueueTest {
 protected:
  std::vector<std::string> IdsAt(uint64_t id) {
    std::vector<std::string> ids;
    const v1::ListResponse listed = cluster_.node(id).List();
    for (const auto& message : listed.messages()) ids.push_back(message.queue_id());
    return ids;
  }

  Cluster cluster_{directory_};
};

TEST_F(ClusterTest, OneVoterGrowsToThreeWithItsMail) {
  cluster_.Start(Cluster::kFounder);
  ASSERT_EQ(Enqueue(&cluster_.node(1), cluster_.node(1).Register(), 1, "Q1").code(),
            v1::EnqueueResult::COMMITTED);
  cluster_.Stop(Cluster::kFounder);
  cluster_.Grow();
  const cluster::v1::ShardStatus status = cluster_.StatusOf(1);
  EXPECT_EQ(status.membership().members_size(), 3);
  for (const auto& member : status.membership().members()) {
    EXPECT_FALSE(member.learner());
  }
  EXPECT_THAT(IdsAt(1), UnorderedElementsAre("Q1"));
}

TEST_F(ClusterTest, WhatWasAcknowledgedIsAtTheNextLeader) {
  cluster_.Grow();
  const uint64_t incarnation = cluster_.node(1).Register();
  ASSERT_EQ(Enqueue(&cluster_.node(1), incarnation, 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  cluster_.Stop(1);
  const uint64_t next = cluster_.AwaitLeader();
  EXPECT_THAT(IdsAt(next), UnorderedElementsAre("Q1"));
  // Sent again by a client that had no answer: it is known.
  EXPECT_EQ(Enqueue(&cluster_.node(next), incarnation, 1, "Q1").code(),
            v1::EnqueueResult::COMMITTED);
  ASSERT_EQ(Enqueue(&cluster_.node(next), incarnation, 2, "Q2").code(),
            v1::EnqueueResult::COMMITTED);
  EXPECT_THAT(IdsAt(next), UnorderedElementsAre("Q1", "Q2"));
}

TEST_F(ClusterTest, WhoDoesNotLeadNamesTheLeader) {
  cluster_.Grow();
  while (cluster_.StatusOf(2).leader() != 1) std::this_thread::yield();
  grpc::ClientContext context;
  v1::StatResponse response;
  const grpc::Status status = cluster_.node(2).stub().Stat(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(rpc::LeaderToldBy(context), "h:1");
}

TEST_F(ClusterTest, WithoutAMajorityNothingIsAcknowledgedAndTheOthersGoOn) {
  cluster_.Grow();
  const uint64_t incarnation = cluster_.node(1).Register();
  cluster_.CutOff(1, true);
  EnqueueClient client(cluster_.node(1).channel(), "Enqueue");
  client.Send(OneMessage(incarnation, 1, "Q1"), {rpc::OwningSlice(std::string(kContents))});
  client.WaitClosed();  // without an answer
  const uint64_t next = cluster_.AwaitLeader(/*other_than=*/1);
  ASSERT_EQ(Enqueue(&cluster_.node(next), incarnation, 1, "Q1").code(),
            v1::EnqueueResult::COMMITTED);
  cluster_.CutOff(1, false);
  cluster_.AwaitApplied(1, cluster_.StatusOf(next).applied_index());
  EXPECT_THAT(IdsAt(cluster_.AwaitLeader()), UnorderedElementsAre("Q1"));
}

TEST_F(ClusterTest, AReplicaThatWasAwayCatchesUpByTheLog) {
  cluster_.Grow();
  cluster_.Stop(3);
  EnqueueMany(&cluster_.node(1), 200);
  cluster_.Start(3);
  cluster_.AwaitApplied(3, cluster_.StatusOf(1).applied_index());
  cluster_.Stop(1);
  const uint64_t next = cluster_.AwaitLeader();
  EXPECT_EQ(cluster_.node(next).Stat().incoming_messages(), 200u);
}

}  // namespace
}  // namespace postfleet::queue
