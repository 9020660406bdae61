#include "services/queue/rpc/commit_pipeline.h"

#include <gtest/gtest.h>

#include <future>

#include "services/queue/log/fake_disk.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

class CommitPipelineTest : public ::testing::Test {
 protected:
  CommitPipelineTest() : disk_(1) {
    const auto on_fatal = [this](const absl::Status& status) {
      std::lock_guard lock(mutex_);
      fatal_ = status;
    };
    pipeline_.emplace(
        &queue_.store(), &queue_.machine(), &loop_, &SystemClock(),
        CommitObserver{
            .on_applied = [](const Effects&) {}, .on_group = [] {}, .on_fatal = on_fatal});
    Recovery found;
    auto log = *NodeLog::Open({.dir = "/log",
                               .segment_bytes = 1 << 20,
                               .file_system = &disk_,
                               .random = [this] { return ++random_; }},
                              &found);
    log->Add(CommitPipeline::kShard, LogStart{.index = 1, .term = 1, .members = "1"});
    EXPECT_TRUE(log->Write().ok());
    EXPECT_TRUE(log->Sync().ok());
    node_.emplace(ReplicaNode::World{.log = std::move(log), .on_fatal = on_fatal});
    const MembersCodec codec = {
        .conf_state = [](std::string_view) { return raft::ConfState{.voters = {1}}; },
        .changed = [](std::string_view members, const raft::ConfChange&,
                      uint64_t) { return std::string(members); }};
    EXPECT_TRUE(node_->AddShard({.id = 1, .origin = 7}, codec, pipeline_->shard_observer()).ok());
    pipeline_->Attach(&*node_);
  }
  ~CommitPipelineTest() override {
    node_->Stop();
    pipeline_->Stop();
    loop_.Stop();
  }

  // A Register, with as many bytes of payload.
  Proposal Command(size_t payload_bytes, std::promise<absl::Status>* done = nullptr) {
    Proposal proposal;
    proposal.command.mutable_register_();
    if (payload_bytes > 0) {
      proposal.payload.push_back(rpc::OwningSlice(std::string(payload_bytes, 'x')));
    }
    proposal.done = [done](const absl::StatusOr<const Effects*>& effects) {
      if (done != nullptr) done->set_value(effects.status());
    };
    return proposal;
  }

  FakeDisk disk_;
  uint64_t random_ = 0;
  QueueUnderTest queue_;
  runtime::EventLoop loop_{"test"};
  std::mutex mutex_;
  absl::Status fatal_;
  std::optional<CommitPipeline> pipeline_;
  std::optional<ReplicaNode> node_;
};

TEST_F(CommitPipelineTest, PastTheByteBoundNewMailIsRefusedAndOutcomesAreNot) {
  constexpr size_t kHalf = CommitPipeline::kPendingBytesMax / 2;
  EXPECT_TRUE(pipeline_->Propose(Command(kHalf)));
  EXPECT_FALSE(pipeline_->Propose(Command(kHalf))) << "its header is past the bound";
  EXPECT_TRUE(pipeline_->Propose(Command(kHalf - 1'000)));
  EXPECT_TRUE(pipeline_->Propose(Command(kHalf), /*must=*/true));
  EXPECT_GT(pipeline_->pending_bytes(), CommitPipeline::kPendingBytesMax);
}

TEST_F(CommitPipelineTest, WhatIsAppliedGivesItsBytesBack) {
  node_->Start();
  loop_.Start();
  std::promise<absl::Status> done;
  EXPECT_TRUE(pipeline_->Propose(Command(0, &done)));
  EXPECT_TRUE(done.get_future().get().ok());
  loop_.RunAndWait([] {});
  EXPECT_EQ(pipeline_->pending_bytes(), 0u);
}

TEST_F(CommitPipelineTest, AFullDiskRefusesNewMailAndKeepsOutcomesUntilThereIsRoom) {
  disk_.set_space_bytes(0);
  std::promise<absl::Status> mail;
  std::promise<absl::Status> outcome;
  // More than is left of the segment that the log has.
  constexpr size_t kBytes = 1 << 20;
  EXPECT_TRUE(pipeline_->Propose(Command(kBytes, &outcome), /*must=*/true));
  EXPECT_TRUE(pipeline_->Propose(Command(kBytes, &mail)));
  node_->Start();
  loop_.Start();
  EXPECT_TRUE(absl::IsResourceExhausted(mail.get_future().get()));
  std::future<absl::Status> kept = outcome.get_future();
  EXPECT_EQ(kept.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  // Stopping ends the wait: the next start gives the mail out again.
  node_->Stop();
  EXPECT_TRUE(absl::IsResourceExhausted(kept.get()));
  EXPECT_TRUE(fatal_.ok()) << fatal_;
}

TEST_F(CommitPipelineTest, NothingIsTakenAfterTheStop) {
  node_->Start();
  loop_.Start();
  node_->BeginStop();
  EXPECT_FALSE(pipeline_->Propose(Command(0), /*must=*/true));
}

}  // namespace
}  // namespace postfleet::queue
