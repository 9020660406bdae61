// What the privileged helper reads of a delivery service that was taken over, and what that one
// reads of a helper: requests and answers of both protocols, and whole connections.
//
// What was understood reads the same when it is written again. Root is nobody's rights but for a
// mailbox in the spool and root's own .forward. On a connection every file is touched as the user
// that was asked for, whatever comes behind the request, the thread is root again at the end, what
// is said in return is a whole answer or nothing, and every file that was opened is closed.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "services/delivery/privileged/action_policy.h"
#include "services/delivery/privileged/action_protocol.h"
#include "services/delivery/privileged/action_server.h"
#include "services/delivery/privileged/mailbox_server.h"
#include "services/delivery/privileged/protocol.h"

namespace {

using namespace postfleet::delivery::privileged;  // NOLINT: a program of one file

constexpr char kSpool[] = "/var/mail";
constexpr uid_t kMinimumUid = 100;

void Check(bool holds) {
  if (!holds) std::abort();
}

std::string_view Body(const std::string& frame) {
  return std::string_view(frame).substr(kPrefixBytes);
}

// Of a machine where everything succeeds and nothing is kept.
class Nowhere : public System {
 public:
  // Of the request: -1 once nothing may be touched.
  explicit Nowhere(std::set<uid_t> users) : users_(std::move(users)) {}
  ~Nowhere() override { Check(open_.empty() && uid_ == 0 && gid_ == 0); }

  int OpenBase(const char*) override { return Open(); }
  int OpenBeneath(int at, const char* path, bool) override {
    Check(open_.contains(at));
    Check(("/" + std::string(path) + "/").find("/../") == std::string::npos);
    return Open();
  }
  int MakeDirectory(int, const char*) override { return Touch(); }
  int CreateFile(int, const char* name) override {
    Check(std::string_view(name).find('/') == std::string_view::npos);
    return Open();
  }
  int Stat(int fd, struct stat* stat) override {
    Check(open_.contains(fd));
    *stat = {};
    stat->st_mode = S_IFREG | 0600;
    stat->st_nlink = 1;
    stat->st_uid = uid_;
    stat->st_ino = 1;
    return 0;
  }
  ssize_t Write(int fd, const struct iovec* parts, int count) override {
    Check(open_.contains(fd));
    ssize_t size = Touch();
    for (int i = 0; i < count; ++i) size += static_cast<ssize_t>(parts[i].iov_len);
    return size;
  }
  int Sync(int) override { return Touch(); }
  int Rename(int, const char*, int, const char*) override { return Touch(); }
  int Remove(int, const char*) override { return Touch(); }
  int OpenFile(const char* path, int) override {
    Check(path[0] == '/');
    return Open();
  }
  int StatPath(const char*, struct stat* stat) override { return Stat(*open_.begin(), stat); }
  int Truncate(int fd, off_t) override {
    Check(open_.contains(fd));
    return Touch();
  }
  int GiveTo(int, uid_t, gid_t) override { return Touch(); }
  int LockByFcntl(int) override { return Touch(); }
  int LockByFlock(int) override { return Touch(); }
  void UnlockFile(int) override {}
  int CreateLockFile(const char*) override { return Open(); }
  int RemovePath(const char*) override { return Touch(); }
  void Close(int fd) override { Check(open_.erase(fd) == 1); }

  uid_t RealUid() override { return 0; }
  gid_t RealGid() override { return 0; }
  int SetGroups(gid_t) override {
    Check(uid_ == 0);
    return 0;
  }
  int SetEffectiveGid(gid_t gid) override {
    gid_ = gid;
    return 0;
  }
  int SetEffectiveUid(uid_t uid) override {
    uid_ = uid;
    return 0;
  }

 private:
  int Touch() const {
    Check(users_.contains(uid_));
    return 0;
  }
  int Open() {
    Touch();
    open_.insert(++last_);
    return last_;
  }

  const std::set<uid_t> users_;
  std::set<int> open_;
  int last_ = 1000;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
};

ActionPolicy Policy() { return {.own_uid = 0, .own_gid = 0, .mail_spool = kSpool}; }

void CheckPolicy(const ActionRequest& request) {
  bool as_root = false;
  if (!Policy().Refusal(request, &as_root).empty()) return;
  Check(as_root == (request.uid == 0));
  Check(as_root || request.gid != 0);
  Check(request.kind != ActionKind::kCommand || !request.argv.empty());
  if (!as_root) return;
  const std::string folder = request.kind == ActionKind::kMbox ? kSpool : "/root";
  Check(request.kind == ActionKind::kMbox ||
        (request.kind == ActionKind::kReadFile && request.path.starts_with("/root/.forward")));
  Check(request.path.starts_with(folder + "/") && request.path.rfind('/') == folder.size());
}

void CheckAction(std::string_view body) {
  ActionRequest request;
  if (!DecodeAction(body, &request)) return;
  ActionRequest again;
  const std::string frame = EncodeAction(request);
  // Flags may have come as other numbers than 1.
  Check(DecodeAction(Body(frame), &again) && EncodeAction(again) == frame);
  Check(frame.size() == body.size() + kPrefixBytes);
  CheckPolicy(request);
}

void CheckActionAnswer(std::string_view body) {
  ActionAnswer answer, again;
  if (!DecodeActionAnswer(body, &answer)) return;
  const std::string frame = EncodeActionAnswer(answer);
  Check(DecodeActionAnswer(Body(frame), &again) && EncodeActionAnswer(again) == frame);
}

void CheckMaildirs(std::string_view body) {
  Request request;
  if (!DecodeRequest(body, &request)) return;
  Check(Body(EncodeRequest(request)) == body);
  for (const Target& target : request.targets) {
    std::vector<std::string> components;
    if (!CheckPath(target.path, &components).empty()) continue;
    Check(!components.empty());
    for (const std::string& component : components) {
      Check(!component.empty() && component != "." && component != ".." &&
            component.find_first_of(std::string_view("/\0", 2)) == std::string::npos);
    }
  }
}

void CheckAnswer(std::string_view body) {
  std::vector<TargetResult> results;
  if (DecodeAnswer(body, &results)) Check(Body(EncodeAnswer(results)) == body);
}

// Everything that the helper sends for these bytes.
template <typename Serve>
std::string Converse(std::string_view bytes, Serve serve) {
  int pair[2];
  Check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  Check(send(pair[0], bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  shutdown(pair[0], SHUT_WR);
  serve(pair[1]);
  std::string said;
  char buffer[4096];
  for (ssize_t got; (got = recv(pair[0], buffer, sizeof(buffer), MSG_DONTWAIT)) > 0;) {
    said.append(buffer, static_cast<size_t>(got));
  }
  close(pair[0]);
  return said;
}

void CheckActionConnection(std::string_view body, std::string_view content) {
  ActionRequest request;
  // Commands and files of users are this machine's.
  if (!DecodeAction(body, &request) || request.kind == ActionKind::kCommand ||
      request.kind == ActionKind::kReadFile) {
    return;
  }
  Nowhere system({request.uid});
  DirectorySyncs syncs(system);
  ActionServer server(system, syncs, Policy(), rlimit{});
  const std::string said =
      Converse(EncodeAction(request) + std::string(content), [&](int fd) { server.ServeOne(fd); });
  uint32_t length = 0;
  ActionAnswer answer;
  Check(said.size() >= kPrefixBytes &&
        DecodePrefix(said.substr(0, kPrefixBytes), kActionAnswerMagic, kActionAnswerBytesMax,
                     &length) &&
        length == said.size() - kPrefixBytes && DecodeActionAnswer(Body(said), &answer));
}

// Any number of requests, each with its content; the lengths of the first are made right.
void CheckMaildirConnection(std::string_view body, std::string_view content) {
  Request request;
  if (!DecodeRequest(body, &request)) return;
  std::set<uid_t> users;
  for (const Target& target : request.targets) {
    if (target.uid >= kMinimumUid) users.insert(target.uid);
  }
  request.content_bytes %= 64;
  Nowhere system(users);
  DirectorySyncs syncs(system);
  Converse(EncodeRequest(request) + std::string(content), [&](int fd) {
    MailboxServer(system, syncs, kMinimumUid, fd).Serve();
    close(fd);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string_view all = bytes.substr(2);
  // What comes behind a request on its connection.
  const size_t tail = std::min<size_t>(static_cast<uint8_t>(bytes[1]), all.size());
  const std::string_view body = all.substr(0, all.size() - tail);
  switch (bytes[0] % 6) {
    case 0:
      CheckAction(all);
      break;
    case 1:
      CheckActionAnswer(all);
      break;
    case 2:
      CheckMaildirs(all);
      break;
    case 3:
      CheckAnswer(all);
      break;
    case 4:
      CheckActionConnection(body, all.substr(body.size()));
      break;
    default:
      CheckMaildirConnection(body, all.substr(body.size()));
      break;
  }
  return 0;
}
