#include "commands/queue_leader.h"

#include <gmock/gmock.h>

#include "commands/fake_queue.h"
#include "commands/queue_address.h"
#include "libs/rpc/leader.h"

namespace postfleet::commands {
namespace {

using testing::HasSubstr;

// A replica that does not lead, and names `leader`.
class Follower final : public queue::v1::Queue::Service {
 public:
  explicit Follower(std::string leader) : leader_(std::move(leader)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = Concat("127.0.0.1:", port);
  }
  const std::string& address() const { return address_; }

  grpc::Status Stat(grpc::ServerContext* context, const queue::v1::StatRequest*,
                    queue::v1::StatResponse*) override {
    return Refuse(context);
  }
  grpc::Status Flush(grpc::ServerContext* context, const queue::v1::FlushRequest*,
                     queue::v1::FlushResponse*) override {
    return Refuse(context);
  }

 private:
  grpc::Status Refuse(grpc::ServerContext* context) {
    context->AddTrailingMetadata(rpc::kLeaderMetadata, leader_);
    return {grpc::StatusCode::UNAVAILABLE, "not me"};
  }

  const std::string leader_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

class QueueLeaderTest : public QueueCommandsTest {
 protected:
  void WriteQueueAddresses(const std::string& addresses) {
    address_ = addresses;
    WriteMainCf("");
  }
};

TEST_F(QueueLeaderTest, ACommandFindsTheLeaderByAnyReplica) {
  const std::string leader = address_;
  Follower knows(leader), knows_not("");
  queue_.Add("Q1", queue::v1::QUEUE_NAME_DEFERRED);
  WriteQueueAddresses(Concat(knows_not.address(), ", ", knows.address(), " ", leader));
  const CommandResult listed = Run({"postqueue", "-p"});
  EXPECT_EQ(listed.status, 0) << listed.err;
  EXPECT_THAT(listed.out, HasSubstr("Q1"));
}

TEST_F(QueueLeaderTest, MembersAreAskedWhereNoAddressIsSet) {
  Follower follower(address_);
  queue_.Add("Q1", queue::v1::QUEUE_NAME_DEFERRED);
  WriteMainCf("");
  WriteFile("main.cf", Concat("compatibility_level = 3.6\nmyhostname = mail.example.com\n",
                              "queue_directory = ", folder_,
                              "/spool\npostfleet_cluster_members = a=", follower.address(),
                              ", b=", address_, "\n"));
  EXPECT_THAT(Run({"postqueue", "-p"}).out, HasSubstr("Q1"));
}

TEST_F(QueueLeaderTest, WithoutOneThatIsSaid) {
  Follower first(""), second("mail.evil.example:25");
  const auto leader = OpenLeader({first.address(), second.address()}, std::chrono::milliseconds(0));
  EXPECT_TRUE(absl::IsUnavailable(leader.status()));
  EXPECT_EQ(leader.status().message(), kNoLeader);
}

TEST_F(QueueLeaderTest, ThatIsLostBeforeTheCallIsSaidToo) {
  Follower only("");
  WriteQueueAddresses(only.address());
  const CommandResult flushed = Run({"postqueue", "-f"});
  EXPECT_EQ(flushed.status, 69);
  EXPECT_EQ(flushed.err, Concat("postqueue: fatal: Cannot flush mail queue - ", kNoLeader, "\n"));
}

TEST_F(QueueLeaderTest, WhenAllAreDeadTheMailSystemIsDown) {
  WriteQueueAddresses("unix:/nonexistent/a, unix:/nonexistent/b");
  const CommandResult flushed = Run({"postqueue", "-f"});
  EXPECT_EQ(flushed.status, 69);
  EXPECT_EQ(flushed.err, "postqueue: fatal: Cannot flush mail queue - mail system is down\n");
}

}  // namespace
}  // namespace postfleet::commands
