#include <gmock/gmock.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "services/queue/membership/cluster_service.h"
#include "services/queue/transport/snapshot_files.h"
#include "services/queue/transport/snapshot_receiver.h"
#include "services/queue/transport/snapshot_sender.h"

namespace postfleet::queue::transport {
namespace {

namespace v1 = cluster::v1;
namespace fs = std::filesystem;
using testing::HasSubstr;

void WriteFile(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << contents;
}
std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A replica that takes snapshots, and one that sends them.
class SnapshotsTest : public testing::Test, public membership::RawClusterService {
 protected:
  SnapshotsTest()
      : folder_(testing::TempDir() + "/" +
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ + "/queue");
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
  }
  ~SnapshotsTest() override {
    sender_.Stop();
    server_->Shutdown();
    receiver_.Stop();
  }
  rpc::ServerReactor* SendSnapshot(grpc::CallbackServerContext* context) override {
    return receiver_.Accept(context);
  }

  // The files that the next checkpoint has.
  void Put(const std::string& name, const std::string& contents) {
    fs::create_directories(Source());
    WriteFile(Source() + "/" + name, contents);
  }
  std::string Source() const { return folder_ + "/source"; }
  std::string Received(const std::string& name) const {
    return IncomingState(folder_ + "/queue") + "/" + name;
  }
  bool IsComplete() const { return fs::exists(IncomingManifest(folder_ + "/queue")); }

  v1::SnapshotManifest Manifest() const {
    v1::SnapshotManifest manifest;
    manifest.set_index(20);
    manifest.set_term(3);
    manifest.mutable_membership()->add_members()->set_id(2);
    for (const auto& file : fs::directory_iterator(Source())) {
      v1::SnapshotFile& added = *manifest.add_files();
      added.set_name(file.path().filename());
      const std::string contents = ReadFile(file.path());
      added.set_bytes(contents.size());
      added.set_crc32c(Crc32c(contents));
    }
    return manifest;
  }

  // True: it was delivered.
  bool Send() {
    sender_.Start(
        [this](uint16_t) -> absl::StatusOr<PreparedSnapshot> {
          const std::string copy = folder_ + "/copy";
          fs::remove_all(copy);
          fs::copy(Source(), copy);
          return PreparedSnapshot{.folder = copy, .manifest = Manifest()};
        },
        [this](uint16_t, uint64_t to, bool delivered) {
          EXPECT_EQ(to, 2u);
          std::lock_guard lock(mutex_);
          delivered_ = delivered;
          changed_.notify_all();
        });
    sender_.SendSnapshot({.from = 1, .to = 2}, 20);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return delivered_.has_value(); });
    return *delivered_;
  }
  void AwaitReceived() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return received_; });
  }

  // Frames as somebody sends them who is not ours; how the call ended. Again while the one before
  // is not gone yet.
  grpc::Status SendFrames(const std::vector<v1::SnapshotFrame>& frames) {
    while (true) {
      grpc::Status status = SendFramesOnce(frames);
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return status;
    }
  }
  grpc::Status SendFramesOnce(const std::vector<v1::SnapshotFrame>& frames) {
    const auto stub = v1::Cluster::NewStub(channel_);
    grpc::ClientContext context;
    const auto stream = stub->SendSnapshot(&context);
    for (const v1::SnapshotFrame& frame : frames) stream->Write(frame);
    v1::SnapshotProgress progress;
    while (stream->Read(&progress)) {
    }
    return stream->Finish();
  }
  v1::SnapshotFrame First(v1::SnapshotManifest manifest) const {
    manifest.set_cluster_id(7);
    manifest.set_to(2);
    v1::SnapshotFrame frame;
    *frame.mutable_manifest() = std::move(manifest);
    return frame;
  }

  const std::string folder_;
  uint64_t committed_index_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<bool> delivered_;
  bool received_ = false;
  std::vector<std::string> said_;
  std::shared_ptr<grpc::Channel> channel_;
  SnapshotReceiver receiver_{{.directory = folder_ + "/queue",
                              .cluster_id = 7,
                              .own_id = 2,
                              .committed_index = [this] { return committed_index_; },
                              .on_received =
                                  [this] {
                                    std::lock_guard lock(mutex_);
                                    received_ = true;
                                    changed_.notify_all();
                                  }}};
  SnapshotSender sender_{{.cluster_id = 7,
                          .channel_to = [this](uint64_t) { return channel_; },
                          .say = [this](const std::string& line) { said_.push_back(line); }}};
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(SnapshotsTest, AllFilesComeAndThenTheManifest) {
  const std::string large(3 * kPartBytes + 5, 'x');
  Put("000001.sst", large);
  Put("CURRENT", "MANIFEST-5\n");
  Put("empty", "");
  EXPECT_TRUE(Send());
  AwaitReceived();
  EXPECT_TRUE(IsComplete());
  EXPECT_EQ(ReadFile(Received("000001.sst")), large);
  EXPECT_EQ(ReadFile(Received("CURRENT")), "MANIFEST-5\n");
  EXPECT_TRUE(fs::exists(Received("empty")));
}

TEST_F(SnapshotsTest, WhatIsThereAlreadyIsNotSentAgainAndWhatIsNotOfItGoes) {
  const std::string contents = std::string(kPartBytes, 'a') + std::string(kPartBytes, 'b');
  Put("000001.sst", contents);
  Put("CURRENT", "now");
  fs::create_directories(IncomingState(folder_ + "/queue"));
  WriteFile(Received("000001.sst"), contents.substr(0, kPartBytes));
  WriteFile(Received("old"), "of another one");
  EXPECT_TRUE(Send());
  AwaitReceived();
  EXPECT_EQ(ReadFile(Received("000001.sst")), contents);
  EXPECT_FALSE(fs::exists(Received("old")));
  sender_.Stop();
  EXPECT_THAT(said_.back(), HasSubstr(Concat(kPartBytes + 3, " bytes of it now")));
}

TEST_F(SnapshotsTest, AFileThatIsDamagedIsRefusedAndTakenAway) {
  Put("000001.sst", "contents");
  fs::create_directories(IncomingState(folder_ + "/queue"));
  WriteFile(Received("000001.sst"), "contentz");
  EXPECT_FALSE(Send());
  EXPECT_FALSE(IsComplete());
  EXPECT_FALSE(fs::exists(Received("000001.sst")));
  sender_.Stop();
  EXPECT_THAT(said_.back(), HasSubstr("000001.sst came damaged"));
}

TEST_F(SnapshotsTest, OneThatTheLogHasAlreadyIsRefused) {
  Put("CURRENT", "now");
  committed_index_ = 20;
  EXPECT_FALSE(Send());
  EXPECT_FALSE(IsComplete());
}

TEST_F(SnapshotsTest, OneForAnotherReplicaIsRefused) {
  Put("CURRENT", "now");
  v1::SnapshotFrame first = First(Manifest());
  first.mutable_manifest()->set_to(3);
  EXPECT_EQ(SendFrames({first}).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(SnapshotsTest, ANameThatLeavesTheFolderIsRefused) {
  Put("CURRENT", "now");
  for (const char* name : {"../identity", "a/b", "..", ""}) {
    v1::SnapshotManifest manifest = Manifest();
    manifest.mutable_files(0)->set_name(name);
    EXPECT_EQ(SendFrames({First(manifest)}).error_code(), grpc::StatusCode::INVALID_ARGUMENT)
        << name;
  }
}

TEST_F(SnapshotsTest, MoreThanTheManifestSaysIsRefused) {
  Put("CURRENT", "now");
  v1::SnapshotFrame part;
  part.set_payload("now and more");
  EXPECT_EQ(SendFrames({First(Manifest()), part}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  part.set_payload("now");
  part.set_file(1);
  EXPECT_EQ(SendFrames({First(Manifest()), part}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  part.set_file(0);
  part.set_offset(1);
  EXPECT_EQ(SendFrames({First(Manifest()), part}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(IsComplete());
}

TEST_F(SnapshotsTest, OneThatTheDiskHasNoRoomForIsRefused) {
  Put("CURRENT", "now");
  v1::SnapshotManifest manifest = Manifest();
  manifest.mutable_files(0)->set_bytes(uint64_t{1} << 60);
  EXPECT_EQ(SendFrames({First(manifest)}).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace postfleet::queue::transport
