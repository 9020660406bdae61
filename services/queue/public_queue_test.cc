// Through the socket, in front of a queue of the test's own.
#include "services/queue/public_queue.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "libs/rpc/leader.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"
#include "services/queue/public_socket.h"

namespace postfleet::queue {
namespace {

using testing::HasSubstr;

// Answers everything.
class Behind final : public v1::Queue::Service {
 public:
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest* request,
                    v1::ListResponse* response) override {
    response->add_messages()->set_queue_id("after " + request->after_queue_id());
    return grpc::Status::OK;
  }
  grpc::Status Flush(grpc::ServerContext*, const v1::FlushRequest* request,
                     v1::FlushResponse* response) override {
    response->set_messages(request->site().size());
    return grpc::Status::OK;
  }
  grpc::Status Administer(grpc::ServerContext*, const v1::AdministerRequest* request,
                          v1::AdministerResponse* response) override {
    if (request->action() != v1::ACTION_FLUSH) ++other_actions_;
    *response->mutable_changed() = request->queue_ids();
    return grpc::Status::OK;
  }
  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest*,
                        v1::RegisterResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status Stat(grpc::ServerContext*, const v1::StatRequest*, v1::StatResponse*) override {
    return grpc::Status::OK;
  }
  int other_actions_ = 0;
};

// A replica that names nobody.
class Follower final : public v1::Queue::Service {
 public:
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest*,
                    v1::ListResponse*) override {
    context->AddTrailingMetadata(rpc::kLeaderMetadata, "");
    return {grpc::StatusCode::UNAVAILABLE, "not me"};
  }
};

class PublicQueueTest : public testing::Test {
 protected:
  // Not in TEST_TMPDIR: the path of a socket must be short.
  PublicQueueTest() : folder_("/tmp/public_queue_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    chmod(folder_.c_str(), 0755);
    grpc::ServerBuilder builder;
    builder.RegisterService(&behind_);
    builder.AddListeningPort("unix:" + folder_ + "/behind", grpc::InsecureServerCredentials());
    server_ = builder.BuildAndStart();
    asked_ = server_->InProcessChannel({});
  }
  ~PublicQueueTest() override { std::filesystem::remove_all(folder_); }

  void Serve(PublicQueueOptions options) {
    serving_.reset();
    options.queue_directory = folder_;
    auto serving = PublicQueue::Serve(options, asked_);
    ASSERT_TRUE(serving.ok()) << serving.status();
    serving_ = *std::move(serving);
    Connect();
  }
  std::string SocketPath() const { return folder_ + "/postfleet-public/queue"; }
  void Connect() {
    // A connection of its own: a user's is used by nobody else.
    grpc::ChannelArguments own;
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = v1::Queue::NewStub(
        grpc::CreateCustomChannel("unix:" + SocketPath(), grpc::InsecureChannelCredentials(), own));
  }
  // A connection that says nothing; -1: it was refused.
  int OpenSilent() {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    SocketPath().copy(address.sun_path, sizeof address.sun_path - 1);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    close(fd);
    return -1;
  }
  // The server's first bytes are its HTTP/2 settings; false: it has closed the connection.
  static bool IsServed(int fd) {
    char byte;
    return recv(fd, &byte, 1, 0) == 1;
  }
  grpc::Status List(v1::ListResponse* response) {
    grpc::ClientContext context;
    v1::ListRequest request;
    request.set_after_queue_id("Q1");
    return stub_->List(&context, request, response);
  }
  grpc::Status Flush(v1::FlushResponse* response) {
    grpc::ClientContext context;
    v1::FlushRequest request;
    request.set_site("four");
    return stub_->Flush(&context, request, response);
  }
  grpc::Status Administer(v1::Action action, v1::AdministerResponse* response) {
    grpc::ClientContext context;
    v1::AdministerRequest request;
    request.set_action(action);
    request.add_queue_ids("Q9");
    return stub_->Administer(&context, request, response);
  }

  std::string folder_;
  Behind behind_;
  std::unique_ptr<grpc::Server> server_;
  rpc::LeaderChannel asked_;
  std::unique_ptr<PublicQueue> serving_;
  std::unique_ptr<v1::Queue::Stub> stub_;
};

TEST_F(PublicQueueTest, ListsAndFlushes) {
  Serve({});
  v1::ListResponse list;
  ASSERT_TRUE(List(&list).ok());
  ASSERT_EQ(list.messages_size(), 1);
  EXPECT_EQ(list.messages(0).queue_id(), "after Q1");
  v1::FlushResponse flush;
  ASSERT_TRUE(Flush(&flush).ok());
  EXPECT_EQ(flush.messages(), 4u);
  v1::AdministerResponse one;
  ASSERT_TRUE(Administer(v1::ACTION_FLUSH, &one).ok());
  ASSERT_EQ(one.changed_size(), 1);
  EXPECT_EQ(one.changed(0), "Q9");
}

TEST_F(PublicQueueTest, OfReplicasAsksTheOneThatLeads) {
  Follower follower;
  grpc::ServerBuilder builder;
  builder.RegisterService(&follower);
  const std::unique_ptr<grpc::Server> replica = builder.BuildAndStart();
  asked_ = rpc::LeaderChannel(std::vector<rpc::Replica>{{"q1", replica->InProcessChannel({})},
                                                        {"q2", server_->InProcessChannel({})}});
  Serve({});
  v1::ListResponse list;
  ASSERT_TRUE(List(&list).ok());
  EXPECT_EQ(list.messages_size(), 1);
  serving_.reset();
}

TEST_F(PublicQueueTest, SaysThatNoReplicaLeads) {
  Follower follower;
  grpc::ServerBuilder builder;
  builder.RegisterService(&follower);
  const std::unique_ptr<grpc::Server> replica = builder.BuildAndStart();
  asked_ = replica->InProcessChannel({});
  Serve({});
  grpc::ClientContext context;
  v1::ListResponse list;
  EXPECT_EQ(stub_->List(&context, {}, &list).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(rpc::IsNotLeader(context));
  serving_.reset();
}

TEST_F(PublicQueueTest, HasNoOtherPower) {
  Serve({});
  for (int action = v1::Action_MIN; action <= v1::Action_MAX; ++action) {
    if (action == v1::ACTION_FLUSH) continue;
    v1::AdministerResponse changed;
    EXPECT_EQ(Administer(static_cast<v1::Action>(action), &changed).error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  EXPECT_EQ(behind_.other_actions_, 0);
  grpc::ClientContext two, three, four, five, six, seven, eight;
  EXPECT_EQ(stub_->AdministerAll(&seven, {})->Finish().error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  v1::InspectResponse inspected;
  EXPECT_EQ(stub_->Inspect(&eight, {}, &inspected).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  v1::RegisterResponse registered;
  EXPECT_EQ(stub_->Register(&two, {}, &registered).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  v1::StatResponse stat;
  EXPECT_EQ(stub_->Stat(&three, {}, &stat).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(stub_->Fetch(&four)->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(stub_->Enqueue(&five)->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(stub_->Schedule(&six)->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(PublicQueueTest, EverybodyMayConnectAndOnlyTheOwnerMayReplaceIt) {
  Serve({});
  struct stat socket, folder;
  ASSERT_EQ(stat((folder_ + "/postfleet-public/queue").c_str(), &socket), 0);
  EXPECT_TRUE(S_ISSOCK(socket.st_mode));
  EXPECT_EQ(socket.st_mode & 07777, 0666u);
  ASSERT_EQ(stat((folder_ + "/postfleet-public").c_str(), &folder), 0);
  EXPECT_EQ(folder.st_mode & 022, 0u);
}

// The process's user becomes another one for a while.
class AsUser {
 public:
  explicit AsUser(uid_t user) { EXPECT_EQ(seteuid(user), 0); }
  ~AsUser() { EXPECT_EQ(seteuid(0), 0); }
};
constexpr uid_t kNobody = 65534;
constexpr uid_t kWithoutName = 4'711'000;

TEST_F(PublicQueueTest, ListsNameWhoMayViewAndWhoMayFlush) {
  if (geteuid() != 0) GTEST_SKIP() << "needs two users: run it as root";
  struct Row {
    const char* mailq;
    const char* flush;
    bool lists;
    bool flushes;
  };
  for (const Row& row : std::vector<Row>{{"static:anyone", "static:anyone", true, true},
                                         {"nobody", "root", true, false},
                                         {"root", "daemon, nobody", false, true},
                                         {"!nobody, static:anyone", "", false, false}}) {
    SCOPED_TRACE(std::string(row.mailq) + " / " + row.flush);
    Serve({.authorized_mailq_users = row.mailq, .authorized_flush_users = row.flush});
    const AsUser user(kNobody);
    v1::ListResponse list;
    const grpc::Status listed = List(&list);
    EXPECT_EQ(listed.error_code(),
              row.lists ? grpc::StatusCode::OK : grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(listed.error_message(), row.lists ? "" : "not allowed to view the mail queue");
    v1::FlushResponse flush;
    v1::AdministerResponse one;
    for (const grpc::Status& flushed : {Flush(&flush), Administer(v1::ACTION_FLUSH, &one)}) {
      EXPECT_EQ(flushed.error_code(),
                row.flushes ? grpc::StatusCode::OK : grpc::StatusCode::PERMISSION_DENIED);
      EXPECT_EQ(flushed.error_message(), row.flushes ? "" : "not allowed to flush the mail queue");
    }
  }
}

TEST_F(PublicQueueTest, RightsAreThoseOfTheConnectionsUser) {
  if (geteuid() != 0) GTEST_SKIP() << "needs two users: run it as root";
  Serve({.authorized_mailq_users = "nobody", .authorized_flush_users = "root"});
  // Descriptors are used anew.
  for (int turn = 0; turn < 20; ++turn) {
    for (const uid_t user : {kNobody, kWithoutName, uid_t{0}}) {
      const AsUser as(user);
      Connect();
      v1::ListResponse list;
      EXPECT_EQ(List(&list).ok(), user != kWithoutName) << user;
      v1::FlushResponse flush;
      EXPECT_EQ(Flush(&flush).ok(), user == 0) << user;
    }
  }
}

TEST_F(PublicQueueTest, OwnUserIsAlwaysAllowed) {
  Serve({.authorized_mailq_users = "", .authorized_flush_users = ""});
  v1::ListResponse list;
  EXPECT_TRUE(List(&list).ok());
  v1::FlushResponse flush;
  EXPECT_TRUE(Flush(&flush).ok());
}

TEST_F(PublicQueueTest, ListThatIsMalformedServesNobody) {
  const auto serving = PublicQueue::Serve(
      {.queue_directory = folder_, .authorized_mailq_users = "/nonexistent/list"},
      server_->InProcessChannel({}));
  EXPECT_THAT(std::string(serving.status().message()), HasSubstr("/nonexistent/list"));
  EXPECT_FALSE(std::filesystem::exists(SocketPath()));
}

TEST_F(PublicQueueTest, UserWithTooManyConnectionsGetsMoreWhenSomeEnd) {
  Serve({});
  std::vector<int> open;
  for (size_t i = 0; i < PublicSocket::kConnectionsOfUserMax; ++i) {
    open.push_back(OpenSilent());
    ASSERT_TRUE(IsServed(open.back())) << i;
  }
  const int refused = OpenSilent();
  EXPECT_FALSE(IsServed(refused));
  close(refused);
  for (const int fd : open) close(fd);
  v1::ListResponse list;
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  EXPECT_TRUE(stub_->List(&context, {}, &list).ok());
}

TEST_F(PublicQueueTest, ConnectionThatSaysNothingIsClosed) {
  Serve({.idle_ms = 50});
  const int fd = OpenSilent();
  ASSERT_TRUE(IsServed(fd));
  pollfd end = {fd, 0, 0};
  EXPECT_EQ(poll(&end, 1, /*ms=*/20'000), 1);
  EXPECT_NE(end.revents & POLLHUP, 0);
  close(fd);
}

TEST_F(PublicQueueTest, SocketThatACrashLeftIsReplaced) {
  Serve({});
  std::filesystem::create_directories(folder_ + "/kept");
  std::filesystem::rename(folder_ + "/postfleet-public/queue", folder_ + "/kept/queue");
  serving_.reset();
  std::filesystem::rename(folder_ + "/kept/queue", folder_ + "/postfleet-public/queue");
  Serve({});
  v1::ListResponse list;
  EXPECT_TRUE(List(&list).ok());
}

TEST_F(PublicQueueTest, PathThatIsTooLongIsAnErrorThatSaysWhatToDo) {
  const auto serving = PublicQueue::Serve({.queue_directory = "/" + std::string(90, 'q')},
                                          server_->InProcessChannel({}));
  EXPECT_EQ(serving.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(serving.status().message()), HasSubstr("set a shorter queue_directory"));
}

}  // namespace
}  // namespace postfleet::queue
