#include "services/delivery/privileged/mailbox_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#include "services/delivery/privileged/recording_system.h"

namespace postfleet::delivery::privileged {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
namespace fs = std::filesystem;

constexpr uid_t kUid = 12345;
constexpr gid_t kGid = 12346;

// A server on a socketpair, with files in a folder of the test's own. Credentials are imagined
// unless a test says otherwise: the files belong to whoever runs the test.
class MailboxServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = (fs::path(::testing::TempDir()) /
             ::testing::UnitTest::GetInstance()->current_test_info()->name())
                .string();
    fs::remove_all(base_);
    fs::create_directories(base_);
    system_.imagine_credentials = true;
    system_.real_uid = 0;
    system_.real_gid = 0;
  }

  void Start() {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    socket_ = pair[0];
    reader_ = std::make_unique<SocketReader>(socket_);
    server_ = std::thread([this, fd = pair[1]] {
      MailboxServer(system_, syncs_, 100, fd).Serve();
      close(fd);
    });
  }

  void TearDown() override {
    if (socket_ < 0) return;
    shutdown(socket_, SHUT_WR);
    server_.join();
    close(socket_);
    EXPECT_THAT(AllFiles("tmp"), IsEmpty());
  }

  Request RequestFor(const std::string& path, const std::string& content) {
    Request request;
    request.content_bytes = content.size();
    request.seconds = 1800000000;
    request.microseconds = 123456;
    request.host = "mx1";
    request.base = base_;
    request.targets = {{.uid = kUid, .gid = kGid, .path = path, .header = "Return-Path: <a@b>\n"}};
    return request;
  }

  void Send(const std::string& bytes) {
    ASSERT_EQ(send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  // Empty: the connection ended instead.
  std::vector<TargetResult> Answer() {
    std::string bytes;
    uint32_t length = 0;
    std::vector<TargetResult> results;
    if (!reader_->Read(kPrefixBytes, &bytes)) return {};
    EXPECT_TRUE(DecodePrefix(bytes, kAnswerMagic, kAnswerBytesMax, &length));
    EXPECT_TRUE(reader_->Read(length, &bytes));
    EXPECT_TRUE(DecodeAnswer(bytes, &results));
    return results;
  }

  std::vector<TargetResult> Deliver(const Request& request, const std::string& content) {
    Send(EncodeRequest(request));
    for (size_t at = 0; at < content.size(); at += kPieceBytesMax) {
      const std::string piece = content.substr(at, kPieceBytesMax);
      Send(EncodePieceLength(static_cast<uint32_t>(piece.size())) + piece);
    }
    Send(EncodePieceLength(kContentEnd));
    return Answer();
  }

  std::vector<fs::path> AllFiles(const std::string& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(base_)) {
      if (entry.is_regular_file() && entry.path().parent_path().filename() == folder) {
        files.push_back(entry.path());
      }
    }
    return files;
  }

  static std::string Read(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string base_;
  RecordingSystem system_;
  DirectorySyncs syncs_{system_};
  int socket_ = -1;
  std::unique_ptr<SocketReader> reader_;
  std::thread server_;
};

TEST_F(MailboxServerTest, ADeliveryIsOneWholeFileInNew) {
  Start();
  const auto results =
      Deliver(RequestFor("example.com/alice/", "Subject: x\n\nhi\n"), "Subject: x\n\nhi\n");
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].code, Code::kDelivered) << results[0].text;
  const auto files = AllFiles("new");
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(Read(files[0]), "Return-Path: <a@b>\nSubject: x\n\nhi\n");
  EXPECT_EQ(files[0].parent_path(), fs::path(base_) / "example.com/alice/new");
  EXPECT_THAT(files[0].filename().string(),
              MatchesRegex("1800000000\\.V[0-9a-f]+I[0-9a-f]+M123456\\.mx1"));
}

TEST_F(MailboxServerTest, FoldersThatAreMissingAreMadeForTheUserAlone) {
  Start();
  ASSERT_EQ(Deliver(RequestFor("example.com/alice/", "x\n"), "x\n")[0].code, Code::kDelivered);
  for (const char* folder : {"example.com", "example.com/alice", "example.com/alice/tmp",
                             "example.com/alice/new", "example.com/alice/cur"}) {
    EXPECT_EQ(fs::status(fs::path(base_) / folder).permissions(), fs::perms::owner_all) << folder;
  }
  EXPECT_EQ(fs::status(AllFiles("new")[0]).permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(MailboxServerTest, TheFileIsSyncedBeforeItsNameAndTheNameBeforeTheAnswer) {
  Start();
  ASSERT_EQ(Deliver(RequestFor("a/", "x\n"), "x\n")[0].code, Code::kDelivered);
  system_.TakeCalls();
  ASSERT_EQ(Deliver(RequestFor("a/", "x\n"), "x\n")[0].code, Code::kDelivered);
  EXPECT_THAT(system_.TakeCalls(),
              ElementsAre("groups 12346", "gid 12346", "uid 12345", "base", "open", "create a/tmp",
                          "write", "sync file", "open", "rename a/tmp to a/new", "sync a/new",
                          "uid 0", "gid 0", "groups 0"));
}

TEST_F(MailboxServerTest, EveryNewFolderIsSyncedWhereItWasMade) {
  Start();
  ASSERT_EQ(Deliver(RequestFor("a/b/", "x\n"), "x\n")[0].code, Code::kDelivered);
  std::vector<std::string> calls;
  for (const std::string& call : system_.TakeCalls()) {
    if (call.starts_with("mkdir") || call.starts_with("sync") || call.starts_with("rename")) {
      calls.push_back(call);
    }
  }
  EXPECT_THAT(calls,
              ElementsAre("mkdir a", "sync .", "mkdir b", "sync .", "mkdir tmp", "sync .",
                          "sync file", "mkdir a", "mkdir b", "mkdir cur", "sync .", "mkdir a",
                          "mkdir b", "mkdir new", "sync .", "rename a/b/tmp to a/b/new",
                          "sync a/b/new", "sync .", "sync ./a", "sync ./a/b"));
}

// Another delivery may have made new/ a moment ago and not synced it yet, or have been cut off.
TEST_F(MailboxServerTest, AFolderThatWasThereIsSyncedAboveOnceInAProcess) {
  for (const char* folder : {"/a", "/a/tmp", "/a/new", "/a/cur"}) {
    ASSERT_EQ(mkdir((base_ + folder).c_str(), 0700), 0);
  }
  Start();
  const auto syncs = [this] {
    EXPECT_EQ(Deliver(RequestFor("a/", "x\n"), "x\n")[0].code, Code::kDelivered);
    std::vector<std::string> calls;
    for (const std::string& call : system_.TakeCalls()) {
      if (call.starts_with("sync")) calls.push_back(call);
    }
    return calls;
  };
  EXPECT_THAT(syncs(), ElementsAre("sync file", "sync a/new", "sync .", "sync ./a"));
  EXPECT_THAT(syncs(), ElementsAre("sync file", "sync a/new"));
}

TEST_F(MailboxServerTest, AFailedSyncOfTheFileLeavesNothing) {
  system_.Fail("sync file", EIO);
  Start();
  const auto results = Deliver(RequestFor("a/", "x\n"), "x\n");
  EXPECT_EQ(results[0].code, Code::kFailed);
  EXPECT_EQ(results[0].error_number, EIO);
  EXPECT_EQ(results[0].text, "error writing message: Input/output error");
  EXPECT_THAT(AllFiles("new"), IsEmpty());
}

TEST_F(MailboxServerTest, AFailedSyncOfTheFolderIsNotAnsweredAsDelivered) {
  system_.Fail("sync a/new", EIO);
  Start();
  EXPECT_EQ(Deliver(RequestFor("a/", "x\n"), "x\n")[0].code, Code::kFailed);
}

TEST_F(MailboxServerTest, AFailedSyncOfANewFolderIsNotAnsweredAsDelivered) {
  system_.Fail("sync .", EIO);
  Start();
  EXPECT_EQ(Deliver(RequestFor("a/", "x\n"), "x\n")[0].code, Code::kFailed);
  EXPECT_THAT(AllFiles("new"), IsEmpty());
}

TEST_F(MailboxServerTest, AFullDiskFailsTheDeliveryAndTheNextOneWorks) {
  system_.Fail("write", ENOSPC);
  Start();
  auto results = Deliver(RequestFor("a/", "x\n"), "x\n");
  EXPECT_EQ(results[0].error_number, ENOSPC);
  EXPECT_EQ(results[0].text, "error writing message: No space left on device");
  EXPECT_THAT(AllFiles("new"), IsEmpty());
  system_.Succeed("write");
  EXPECT_EQ(Deliver(RequestFor("a/", "x\n"), "x\n")[0].code, Code::kDelivered);
}

TEST_F(MailboxServerTest, ShortWritesAreContinued) {
  system_.write_halves = true;
  Start();
  const std::string content(1000, 'y');
  ASSERT_EQ(Deliver(RequestFor("a/", content), content)[0].code, Code::kDelivered);
  EXPECT_EQ(Read(AllFiles("new")[0]), "Return-Path: <a@b>\n" + content);
}

TEST_F(MailboxServerTest, ManyTargetsGetOneContentEachWithItsOwnHeader) {
  Start();
  std::string content;
  for (int i = 0; i < 300000; ++i) content += std::to_string(i) + "\n";
  Request request = RequestFor("a/", content);
  request.targets.push_back({.uid = kUid + 1, .gid = kGid, .path = "b/", .header = "X: b\n"});
  request.targets.push_back({.uid = kUid + 2, .gid = kGid, .path = "../c/", .header = "X: c\n"});
  request.targets.push_back({.uid = kUid + 3, .gid = kGid, .path = "d/", .header = "X: d\n"});
  const auto results = Deliver(request, content);
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[0].code, Code::kDelivered);
  EXPECT_EQ(results[1].code, Code::kDelivered);
  EXPECT_EQ(results[2].code, Code::kRefused);
  EXPECT_EQ(results[3].code, Code::kDelivered);
  ASSERT_EQ(AllFiles("new").size(), 3u);
  for (const fs::path& file : AllFiles("new")) {
    const std::string user = file.parent_path().parent_path().filename();
    EXPECT_EQ(Read(file), (user == "a" ? "Return-Path: <a@b>\n" : "X: " + user + "\n") + content);
  }
}

TEST_F(MailboxServerTest, AFileOverTheLimitIsNotBegun) {
  Start();
  Request request = RequestFor("a/", "12345\n");
  request.file_bytes_max = request.targets[0].header.size() + 5;
  const auto results = Deliver(request, "12345\n");
  EXPECT_EQ(results[0].error_number, EFBIG);
  EXPECT_EQ(results[0].text, "error writing message: File too large");
  EXPECT_FALSE(fs::exists(fs::path(base_) / "a"));
  ++request.file_bytes_max;
  EXPECT_EQ(Deliver(request, "12345\n")[0].code, Code::kDelivered);
}

TEST_F(MailboxServerTest, AnAbandonedContentIsNotDelivered) {
  Start();
  Send(EncodeRequest(RequestFor("a/", "12345\n")));
  Send(EncodePieceLength(3) + "123" + EncodePieceLength(kContentAbandoned));
  EXPECT_EQ(Answer()[0].code, Code::kAbandoned);
  EXPECT_THAT(AllFiles("new"), IsEmpty());
  EXPECT_EQ(Deliver(RequestFor("a/", "x\n"), "x\n")[0].code, Code::kDelivered);
}

TEST_F(MailboxServerTest, AContentThatEndsEarlyOrRunsOverIsNotDelivered) {
  for (const std::string& content :
       {EncodePieceLength(3) + "123" + EncodePieceLength(kContentEnd),
        EncodePieceLength(7) + "1234567", EncodePieceLength(kPieceBytesMax + 1),
        EncodePieceLength(3) + "123"}) {
    Start();
    Send(EncodeRequest(RequestFor("a/", "12345\n")));
    Send(content);
    shutdown(socket_, SHUT_WR);
    EXPECT_THAT(Answer(), IsEmpty());
    TearDown();
    EXPECT_THAT(AllFiles("new"), IsEmpty());
  }
  socket_ = -1;
}

TEST_F(MailboxServerTest, AMalformedRequestEndsTheConnection) {
  Start();
  Send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(Answer(), IsEmpty());
}

TEST_F(MailboxServerTest, HostileRequestsAreRefusedAndTouchNothing) {
  Start();
  struct Case {
    std::string path;
    uid_t uid;
    gid_t gid;
    std::string text;
  };
  const Case cases[] = {
      {"../x/", kUid, kGid, "\"..\""},
      {"a/../../x/", kUid, kGid, "\"..\""},
      {"/etc/", kUid, kGid, "not relative"},
      {std::string("a\0/", 3), kUid, kGid, "zero byte"},
      {"", kUid, kGid, "empty"},
      {"a/", 0, kGid, "root"},
      {"a/", kUid, 0, "root"},
      {"a/", 99, kGid, "below the minimum of 100"},
      {"a/", uid_t(-1), kGid, "no such user"},
      {"a/", kUid, gid_t(-1), "no such user"},
  };
  for (const Case& hostile : cases) {
    Request request = RequestFor(hostile.path, "x\n");
    request.targets[0].uid = hostile.uid;
    request.targets[0].gid = hostile.gid;
    const auto results = Deliver(request, "x\n");
    ASSERT_EQ(results.size(), 1u);
    EXPECT_EQ(results[0].code, Code::kRefused);
    EXPECT_THAT(results[0].text, HasSubstr(hostile.text));
  }
  Request request = RequestFor("a/", "x\n");
  request.host = "../../x";
  EXPECT_EQ(Deliver(request, "x\n")[0].code, Code::kRefused);
  EXPECT_THAT(system_.TakeCalls(), IsEmpty());
}

TEST_F(MailboxServerTest, SymbolicLinksBelowTheBaseAreNotFollowed) {
  const fs::path outside = base_ + ".outside";
  fs::remove_all(outside);
  for (const char* folder : {"tmp", "new", "cur"}) fs::create_directories(outside / folder);
  fs::create_directories(fs::path(base_) / "half/tmp");
  fs::create_directory_symlink(outside, fs::path(base_) / "linked");
  fs::create_directory_symlink(outside / "new", fs::path(base_) / "half/new");
  Start();
  for (const char* path : {"linked/", "linked/deeper/", "half/"}) {
    const auto results = Deliver(RequestFor(path, "x\n"), "x\n");
    EXPECT_EQ(results[0].code, Code::kFailed) << path;
    EXPECT_EQ(results[0].error_number, ELOOP) << path;
    EXPECT_THAT(results[0].text, HasSubstr("symbolic link")) << path;
  }
  EXPECT_TRUE(fs::is_empty(outside / "tmp"));
  EXPECT_TRUE(fs::is_empty(outside / "new"));
}

TEST_F(MailboxServerTest, ABaseThatIsALinkIsFollowed) {
  const std::string link = base_ + ".link";
  fs::remove(link);
  fs::create_directory_symlink(base_, link);
  Start();
  Request request = RequestFor("a/", "x\n");
  request.base = link;
  EXPECT_EQ(Deliver(request, "x\n")[0].code, Code::kDelivered);
}

TEST_F(MailboxServerTest, WithoutRootItServesItselfOnlyAndSaysSo) {
  system_.real_uid = 1000;
  system_.real_gid = 1001;
  Start();
  const auto results = Deliver(RequestFor("a/", "x\n"), "x\n");
  EXPECT_EQ(results[0].code, Code::kRefused);
  EXPECT_THAT(results[0].text, AllOf(HasSubstr("not started as root"), HasSubstr("uid 1000")));
  Request own = RequestFor("a/", "x\n");
  own.targets[0].uid = 1000;
  own.targets[0].gid = 1001;
  system_.TakeCalls();
  EXPECT_EQ(Deliver(own, "x\n")[0].code, Code::kDelivered);
  EXPECT_EQ(system_.TakeCalls()[0], "base");
}

TEST_F(MailboxServerTest, ACredentialThatCannotBeTakenFailsTheTarget) {
  system_.Fail("uid 12345", EAGAIN);
  Start();
  const auto results = Deliver(RequestFor("a/", "x\n"), "x\n");
  EXPECT_EQ(results[0].code, Code::kFailed);
  EXPECT_EQ(results[0].error_number, EAGAIN);
  EXPECT_THAT(AllFiles("new"), IsEmpty());
}

// With real credentials: only as root.
class AsRootTest : public MailboxServerTest {
 protected:
  void SetUp() override {
    MailboxServerTest::SetUp();
    if (getuid() != 0) GTEST_SKIP() << "needs root";
    system_.imagine_credentials = false;
    nobody_ = *getpwnam("nobody");
    // The test's own folder may lie where nobody cannot come.
    base_ = "/var/tmp/postfleet-mailbox-" + std::to_string(getpid());
    fs::create_directories(base_);
  }
  void TearDown() override {
    MailboxServerTest::TearDown();
    if (getuid() == 0) fs::remove_all(base_);
  }
  Request ForNobody(const std::string& path, const std::string& content) {
    Request request = RequestFor(path, content);
    request.targets[0].uid = nobody_.pw_uid;
    request.targets[0].gid = nobody_.pw_gid;
    return request;
  }
  struct passwd nobody_ = {};
};

TEST_F(AsRootTest, FilesBelongToTheRecipient) {
  ASSERT_EQ(chown(base_.c_str(), nobody_.pw_uid, nobody_.pw_gid), 0);
  Start();
  const auto results = Deliver(ForNobody("a/", "x\n"), "x\n");
  ASSERT_EQ(results[0].code, Code::kDelivered) << results[0].text;
  struct stat stat;
  for (const fs::path& path : {AllFiles("new")[0], fs::path(base_) / "a"}) {
    ASSERT_EQ(::stat(path.c_str(), &stat), 0);
    EXPECT_EQ(stat.st_uid, nobody_.pw_uid) << path;
    EXPECT_EQ(stat.st_gid, nobody_.pw_gid) << path;
  }
}

TEST_F(AsRootTest, RootsOwnRightsAreNotUsed) {
  fs::permissions(base_, fs::perms::owner_all);  // root's
  Start();
  const auto results = Deliver(ForNobody("a/", "x\n"), "x\n");
  EXPECT_EQ(results[0].code, Code::kFailed);
  EXPECT_EQ(results[0].error_number, EACCES);
  EXPECT_FALSE(fs::exists(fs::path(base_) / "a"));
}

TEST_F(AsRootTest, OtherThreadsStayWhoTheyAre) {
  ASSERT_EQ(chown(base_.c_str(), nobody_.pw_uid, nobody_.pw_gid), 0);
  Start();
  Send(EncodeRequest(ForNobody("a/", "12345\n")));
  Send(EncodePieceLength(3) + "123");
  // The server is in the middle of a delivery as nobody; this thread is root all the time.
  while (AllFiles("tmp").empty()) std::this_thread::yield();
  EXPECT_EQ(geteuid(), 0u);
  Send(EncodePieceLength(3) + "45\n" + EncodePieceLength(kContentEnd));
  EXPECT_EQ(Answer()[0].code, Code::kDelivered);
}

}  // namespace
}  // namespace postfleet::delivery::privileged
