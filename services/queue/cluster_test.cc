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
#include "services/queue/recover.h"
#include "services/queue/transport/snapshot_files.h"

namespace postfleet::queue {
namespace {

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
    options.tick_interval = std::chrono::milliseconds(25);
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
      {
        std::shared_lock lock(mutex_);
        for (const auto& [id, member] : members_) {
          if (id == other_than || member.node == nullptr) continue;
          if (StatusOf(id).role() == cluster::v1::ShardStatus::ROLE_LEADER) return id;
        }
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
  // Whoever leads: a busy machine may change that at any time.
  void Change(ChangeKind kind, uint64_t id) {
    membership::Change change{kind, MemberOf(id)};
    change.member.set_learner(kind == ChangeKind::kAddLearner);
    while (true) {
      std::promise<absl::Status> done;
      node(AwaitLeader()).queue().group().change(change, [&done](const absl::Status& status) {
        done.set_value(status);
      });
      if (done.get_future().get().ok()) return;
    }
  }
  void AwaitAllApplied(uint64_t id) { AwaitApplied(id, StatusOf(AwaitLeader()).applied_index()); }
  // From one voter to three.
  void Grow() {
    Start(kFounder);
    for (const uint64_t id : {2, 3}) {
      Start(id);
      Change(ChangeKind::kAddLearner, id);
      AwaitAllApplied(id);
      Change(ChangeKind::kPromote, id);
      AwaitAllApplied(id);
    }
  }
  uint64_t Register() {
    while (true) {
      grpc::ClientContext context;
      v1::RegisterResponse response;
      const grpc::Status status = node(AwaitLeader()).stub().Register(&context, {}, &response);
      if (status.ok()) return response.incarnation();
    }
  }
  // At whoever leads, again until there is an answer.
  v1::EnqueueResult::Code Commit(uint64_t incarnation, uint64_t sequence,
                                 const std::string& queue_id) {
    while (true) {
      EnqueueClient client(node(AwaitLeader()).channel(), "Enqueue");
      client.Send(OneMessage(incarnation, sequence, queue_id),
                  {rpc::OwningSlice(std::string(kContents))});
      const v1::EnqueueResponse answer =
          client.Await([](const v1::EnqueueResponse& r) { return r.results_size() > 0; });
      if (answer.results_size() > 0) return answer.results(0).code();
    }
  }
  std::vector<std::string> Ids() {
    while (true) {
      grpc::ClientContext context;
      v1::ListResponse listed;
      if (!node(AwaitLeader()).stub().List(&context, {}, &listed).ok()) continue;
      std::vector<std::string> ids;
      for (const auto& message : listed.messages()) ids.push_back(message.queue_id());
      return ids;
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
  Cluster cluster_{directory_};
};

TEST_F(ClusterTest, OneVoterGrowsToThreeWithItsMail) {
  cluster_.Start(Cluster::kFounder);
  ASSERT_EQ(cluster_.Commit(cluster_.Register(), 1, "Q1"), v1::EnqueueResult::COMMITTED);
  cluster_.Stop(Cluster::kFounder);
  cluster_.Grow();
  const cluster::v1::ShardStatus status = cluster_.StatusOf(cluster_.AwaitLeader());
  EXPECT_EQ(status.membership().members_size(), 3);
  for (const auto& member : status.membership().members()) EXPECT_FALSE(member.learner());
  EXPECT_THAT(cluster_.Ids(), UnorderedElementsAre("Q1"));
}

TEST_F(ClusterTest, WhatWasAcknowledgedIsAtTheNextLeader) {
  cluster_.Grow();
  const uint64_t incarnation = cluster_.Register();
  ASSERT_EQ(cluster_.Commit(incarnation, 1, "Q1"), v1::EnqueueResult::COMMITTED);
  cluster_.Stop(cluster_.AwaitLeader());
  EXPECT_THAT(cluster_.Ids(), UnorderedElementsAre("Q1"));
  // Sent again by a client that had no answer: it is known.
  EXPECT_EQ(cluster_.Commit(incarnation, 1, "Q1"), v1::EnqueueResult::COMMITTED);
  EXPECT_EQ(cluster_.Commit(incarnation, 2, "Q2"), v1::EnqueueResult::COMMITTED);
  EXPECT_THAT(cluster_.Ids(), UnorderedElementsAre("Q1", "Q2"));
}

TEST_F(ClusterTest, WhoDoesNotLeadNamesTheLeader) {
  cluster_.Grow();
  while (true) {
    const uint64_t leader = cluster_.AwaitLeader();
    const uint64_t other = leader % 3 + 1;
    if (cluster_.StatusOf(other).leader() != leader) continue;
    grpc::ClientContext context;
    v1::StatResponse response;
    const grpc::Status status = cluster_.node(other).stub().Stat(&context, {}, &response);
    if (cluster_.AwaitLeader() != leader) continue;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(rpc::LeaderToldBy(context), Concat("h:", leader));
    return;
  }
}

TEST_F(ClusterTest, WithoutAMajorityNothingIsAcknowledgedAndTheOthersGoOn) {
  cluster_.Grow();
  const uint64_t incarnation = cluster_.Register();
  const uint64_t leader = cluster_.AwaitLeader();
  cluster_.CutOff(leader, true);
  EnqueueClient client(cluster_.node(leader).channel(), "Enqueue");
  client.Send(OneMessage(incarnation, 1, "Q1"), {rpc::OwningSlice(std::string(kContents))});
  client.WaitClosed();  // without an answer
  cluster_.AwaitLeader(/*other_than=*/leader);
  EXPECT_EQ(cluster_.Commit(incarnation, 1, "Q1"), v1::EnqueueResult::COMMITTED);
  cluster_.CutOff(leader, false);
  cluster_.AwaitAllApplied(leader);
  EXPECT_THAT(cluster_.Ids(), UnorderedElementsAre("Q1"));
}

TEST_F(ClusterTest, AReplicaThatWasAwayCatchesUpByTheLog) {
  cluster_.Grow();
  const uint64_t away = cluster_.AwaitLeader() % 3 + 1;
  cluster_.Stop(away);
  const uint64_t incarnation = cluster_.Register();
  for (uint64_t number = 1; number <= 50; ++number) {
    EXPECT_EQ(cluster_.Commit(incarnation, number, NumberedId(static_cast<int>(number))),
              v1::EnqueueResult::COMMITTED);
  }
  cluster_.Start(away);
  cluster_.AwaitAllApplied(away);
  cluster_.Stop(cluster_.AwaitLeader());
  EXPECT_EQ(cluster_.Ids().size(), 50u);
}

TEST_F(ClusterTest, OneThatIsLeftGoesOnAloneByAnAdministratorsWord) {
  cluster_.Grow();
  const uint64_t incarnation = cluster_.Register();
  for (const uint64_t number : {1, 2}) {
    ASSERT_EQ(cluster_.Commit(incarnation, number, NumberedId(static_cast<int>(number))),
              v1::EnqueueResult::COMMITTED);
  }
  cluster_.AwaitAllApplied(2);
  for (const uint64_t id : {1, 2, 3}) cluster_.Stop(id);
  const std::string folder = directory_ + "/q2";
  EXPECT_TRUE(absl::IsFailedPrecondition(RecoverGroup(folder, 99).status())) << "no identity";
  const membership::Identity identity = {.name = "q2",
                                         .volume = std::string(32, 'a'),
                                         .id = 2,
                                         .cluster_id = 7,
                                         .stage = membership::Stage::kMember};
  ASSERT_TRUE(membership::WriteIdentity(PosixFileSystem(), folder, identity).ok());
  const auto recovered = RecoverGroup(folder, 99);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->messages, 2u);
  EXPECT_GT(recovered->last_ms, 0);
  EXPECT_THAT(recovered->others, UnorderedElementsAre("q1", "q3"));
  EXPECT_EQ((*membership::ReadIdentity(PosixFileSystem(), folder))->cluster_id, 99u);
  cluster_.Start(2);
  EXPECT_EQ(cluster_.AwaitLeader(), 2u);
  EXPECT_EQ(cluster_.StatusOf(2).membership().members_size(), 1);
  EXPECT_EQ(cluster_.Ids().size(), 2u);
  EXPECT_EQ(cluster_.Commit(incarnation, 3, "Q3"), v1::EnqueueResult::COMMITTED);
}

}  // namespace
}  // namespace postfleet::queue
