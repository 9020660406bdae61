#include "services/delivery/privileged/action_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "services/delivery/privileged/action_protocol.h"
#include "services/delivery/privileged/identity.h"
#include "services/delivery/privileged/mailbox_server.h"
#include "services/delivery/privileged/maildir.h"
#include "services/delivery/privileged/mbox.h"
#include "services/delivery/privileged/protocol.h"
#include "services/delivery/privileged/running_command.h"

namespace postfleet::delivery::privileged {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

ActionAnswer Failed(std::string what, int error_number) {
  ActionAnswer answer;
  answer.code = ActionCode::kFailed;
  answer.error_number = error_number;
  answer.text = std::move(what);
  return answer;
}

// The server has closed its end.
bool HasGone(int fd, int wait_ms) {
  struct pollfd watched = {.fd = fd, .events = POLLRDHUP, .revents = 0};
  return poll(&watched, 1, wait_ms) > 0;
}

// How content ended.
enum class Content { kComplete, kAbandoned, kLost, kNotTaken };

// Gives each piece to `take` until it returns false.
Content ReadContent(SocketReader& reader, const std::function<bool(std::string_view)>& take) {
  for (;;) {
    std::string prefix;
    if (!reader.Read(sizeof(uint32_t), &prefix)) return Content::kLost;
    uint32_t piece = DecodePieceLength(prefix);
    if (piece == kContentEnd) return Content::kComplete;
    if (piece == kContentAbandoned) return Content::kAbandoned;
    if (piece > kPieceBytesMax) return Content::kLost;
    while (piece > 0) {
      const std::string_view bytes = reader.ReadSome(piece);
      if (bytes.empty()) return Content::kLost;
      piece -= static_cast<uint32_t>(bytes.size());
      if (!take(bytes)) return Content::kNotTaken;
    }
  }
}

// A Maildir or an mbox: both have Write, Commit, Abandon.
template <typename Mailbox, typename Result>
ActionAnswer Fill(Mailbox& mailbox, SocketReader& reader, Result result) {
  const Content content =
      ReadContent(reader, [&](std::string_view bytes) { return mailbox.Write(bytes); });
  if (content == Content::kComplete) {
    if (mailbox.Commit()) {
      ActionAnswer done;
      done.code = ActionCode::kDone;
      return done;
    }
  } else if (content != Content::kNotTaken) {
    mailbox.Abandon();
    ActionAnswer abandoned;
    abandoned.code = ActionCode::kAbandoned;
    return abandoned;
  }
  const ActionAnswer answer = result();
  mailbox.Abandon();
  return answer;
}

ActionAnswer AnswerOf(const Maildir& maildir) {
  return Failed(maildir.failed_step(), maildir.error().error_number);
}

ActionAnswer DeliverMaildir(System& system, DirectorySyncs& syncs, const ActionRequest& asked,
                            SocketReader& reader) {
  Request request;
  request.file_bytes_max = asked.file_bytes_max;
  request.seconds = asked.seconds;
  request.microseconds = asked.microseconds;
  request.host = asked.host;
  request.base = asked.base;
  Target target = {asked.uid, asked.gid, asked.path, asked.header};
  std::vector<std::string> components;
  std::string why = CheckRequest(request);
  if (why.empty()) why = CheckPath(target.path, &components);
  if (!why.empty()) {
    ActionAnswer refused;
    refused.code = ActionCode::kRefused;
    refused.text = why;
    return refused;
  }
  Maildir maildir(system, syncs, request, target, std::move(components));
  if (!maildir.Create()) {
    maildir.Abandon();
    return AnswerOf(maildir);
  }
  return Fill(maildir, reader, [&] { return AnswerOf(maildir); });
}

ActionAnswer DeliverMbox(System& system, DirectorySyncs& syncs, MailboxTurns& turns,
                         const ActionRequest& request, int fd, SocketReader& reader) {
  Mbox mbox(system, syncs, turns, request,
            [fd](uint32_t delay_ms) { return !HasGone(fd, static_cast<int>(delay_ms)); });
  if (!mbox.Open()) return mbox.result();
  return Fill(mbox, reader, [&] { return mbox.result(); });
}

ActionAnswer ReadUserFile(const ActionRequest& request) {
  ActionAnswer answer;
  struct stat link = {};
  answer.is_link = lstat(request.path.c_str(), &link) == 0 && S_ISLNK(link.st_mode);
  const int fd = open(request.path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return Failed("open", errno);
  struct stat file = {};
  fstat(fd, &file);
  answer.code = ActionCode::kDone;
  answer.is_regular = S_ISREG(file.st_mode);
  answer.owner = file.st_uid;
  answer.mode = file.st_mode;
  const size_t wanted = std::min<size_t>(request.bytes_max, kFileReadBytesMax);
  // One more shows that there is more.
  answer.bytes.resize(answer.is_regular ? wanted + 1 : 0);
  size_t size = 0;
  while (size < answer.bytes.size()) {
    const ssize_t got = read(fd, answer.bytes.data() + size, answer.bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      answer = Failed("read", errno);
      break;
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  close(fd);
  if (answer.code != ActionCode::kDone) return answer;
  answer.is_longer = size > wanted;
  answer.bytes.resize(std::min(size, wanted));
  return answer;
}

// Between the server's connection and the command's pipes.
class Conversation {
 public:
  // Of 16 KiB: 64 KiB are a pipe's size, twice that is enough at a command's end.
  static constexpr int kReadsMax = 8;

  Conversation(const ActionRequest& request, RunningCommand& command, int fd, SocketReader& reader,
               steady_clock::time_point deadline)
      : request_(request),
        command_(command),
        fd_(fd),
        reader_(reader),
        deadline_(deadline),
        input_(request.header) {}

  ActionAnswer Run() {
    bool ended = false;
    while (!ended) {
      // What the command has not taken holds the content up.
      if (command_.input() >= 0 && input_.empty() && content_ended_) command_.CloseInput();
      struct pollfd watched[4] = {
          {.fd = command_.ended(), .events = POLLIN, .revents = 0},
          {.fd = command_.output(), .events = POLLIN, .revents = 0},
          {.fd = input_.empty() ? -1 : command_.input(), .events = POLLOUT, .revents = 0},
          {.fd = WantsContent() ? fd_ : -1, .events = POLLIN | POLLRDHUP, .revents = 0}};
      // While nothing is wanted of the server, its end is still watched.
      if (watched[3].fd < 0) watched[3] = {.fd = fd_, .events = POLLRDHUP, .revents = 0};
      const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - steady_clock::now());
      if (left.count() <= 0) return Kill(ActionCode::kTimedOut);
      const int ready =
          reader_.HasBuffered() && WantsContent()
              ? 1
              : poll(watched, 4, static_cast<int>(std::min<int64_t>(left.count(), 1'000'000)));
      if (ready < 0 && errno != EINTR) return Kill(ActionCode::kFailed);
      if (watched[1].revents != 0) ReadOutput();
      if (watched[2].revents != 0) WriteInput();
      if ((watched[3].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0 && !WantsContent()) {
        return Kill(ActionCode::kAbandoned);
      }
      if (WantsContent() && (watched[3].revents != 0 || reader_.HasBuffered()) && !ReadPiece()) {
        return Kill(ActionCode::kAbandoned);
      }
      ended = watched[0].revents != 0;
    }
    // What it has written before its end; a process that it left behind may keep the pipe open.
    ReadOutput();
    ActionAnswer answer;
    command_.Wait(&answer);
    answer.bytes = std::move(output_);
    return answer;
  }

 private:
  bool WantsContent() const { return !content_ended_ && input_.empty(); }

  // The next bytes of the content. False: called off.
  bool ReadPiece() {
    if (piece_left_ == 0) {
      std::string prefix;
      if (!reader_.Read(sizeof(uint32_t), &prefix)) return false;
      const uint32_t piece = DecodePieceLength(prefix);
      if (piece == kContentEnd) {
        content_ended_ = true;
        return true;
      }
      if (piece > kPieceBytesMax) return false;  // kContentAbandoned, too
      piece_left_ = piece;
    }
    const std::string_view bytes = reader_.ReadSome(piece_left_);
    if (bytes.empty()) return false;
    piece_left_ -= static_cast<uint32_t>(bytes.size());
    // Read and dropped once the command reads no more.
    if (command_.input() >= 0) input_ = bytes;
    WriteInput();
    return true;
  }

  void WriteInput() {
    while (!input_.empty() && command_.input() >= 0) {
      const ssize_t written = write(command_.input(), input_.data(), input_.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == EAGAIN) return;
      if (written < 0) {
        command_.CloseInput();
        input_.clear();
        return;
      }
      input_.erase(0, static_cast<size_t>(written));
    }
  }

  // At most what a pipe holds at once: one that writes without end must not keep this from looking
  // at the clock and at the server.
  void ReadOutput() {
    char buffer[16 << 10];
    for (int i = 0; i < kReadsMax && command_.output() >= 0; ++i) {
      const ssize_t got = read(command_.output(), buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) return command_.CloseOutput();
      const size_t room = std::min<size_t>(request_.bytes_max, kOutputBytesMax) - output_.size();
      output_.append(buffer, std::min(room, static_cast<size_t>(got)));
    }
  }

  ActionAnswer Kill(ActionCode code) {
    const int error_number = errno;
    command_.Kill();
    ReadOutput();
    ActionAnswer answer;
    command_.Wait(&answer);
    answer.code = code;
    answer.error_number = code == ActionCode::kFailed ? error_number : 0;
    answer.bytes = std::move(output_);
    return answer;
  }

  const ActionRequest& request_;
  RunningCommand& command_;
  const int fd_;
  SocketReader& reader_;
  const steady_clock::time_point deadline_;
  std::string input_;  // not yet taken by the command
  std::string output_;
  uint32_t piece_left_ = 0;
  bool content_ended_ = false;
};

ActionAnswer RunCommand(const ActionRequest& request, const rlimit& open_files, int fd,
                        SocketReader& reader) {
  RunningCommand command(open_files);
  ActionAnswer failure;
  const auto deadline = steady_clock::now() + milliseconds(request.time_limit_ms);
  if (!command.Start(request, fd, deadline, &failure)) return failure;
  return Conversation(request, command, fd, reader, deadline).Run();
}

}  // namespace

ActionServer::ActionServer(System& system, DirectorySyncs& syncs, ActionPolicy policy,
                           const rlimit& open_files)
    : system_(system), syncs_(syncs), policy_(std::move(policy)), open_files_(open_files) {}

ActionServer::~ActionServer() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [this] { return running_ == 0; });
}

void ActionServer::Serve(int control) {
  for (;;) {
    char byte;
    struct iovec bytes = {&byte, 1};
    alignas(struct cmsghdr) char rights[CMSG_SPACE(sizeof(int))] = {};
    struct msghdr header = {};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = rights;
    header.msg_controllen = sizeof(rights);
    const ssize_t got = recvmsg(control, &header, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    const struct cmsghdr* part = CMSG_FIRSTHDR(&header);
    if (part == nullptr || part->cmsg_type != SCM_RIGHTS) continue;
    int fd;
    memcpy(&fd, CMSG_DATA(part), sizeof(fd));
    Begin(fd);
  }
}

void ActionServer::Begin(int fd) {
  {
    std::lock_guard lock(mutex_);
    if (running_ == kActionsMax) {
      ActionAnswer busy = Failed("too many deliveries at once", EAGAIN);
      SendAll(fd, EncodeActionAnswer(busy));
      close(fd);
      return;
    }
    ++running_;
  }
  const auto end = [this] {
    std::lock_guard lock(mutex_);
    if (--running_ == 0) none_.notify_all();
  };
  try {
    std::thread([this, fd, end] {
      ServeOne(fd);
      end();
    }).detach();
  } catch (const std::system_error&) {
    close(fd);
    end();
  }
}

void ActionServer::ServeOne(int fd) {
  SocketReader reader(fd);
  std::string bytes;
  uint32_t length = 0;
  ActionRequest request;
  const bool understood = reader.Read(kPrefixBytes, &bytes) &&
                          DecodePrefix(bytes, kActionMagic, kActionBytesMax, &length) &&
                          reader.Read(length, &bytes) && DecodeAction(bytes, &request);
  if (understood) {
    bool as_root = false;
    ActionAnswer answer;
    answer.code = ActionCode::kRefused;
    answer.text = policy_.Refusal(request, &as_root);
    if (answer.text.empty() && request.kind == ActionKind::kCommand) {
      answer = RunCommand(request, open_files_, fd, reader);
    } else if (answer.text.empty()) {
      Identity identity(system_, 1);
      if (!as_root && policy_.own_uid == 0 && !identity.Become(request.uid, request.gid)) {
        answer = Failed("cannot act as the user", errno);
      } else if (request.kind == ActionKind::kMaildir) {
        answer = DeliverMaildir(system_, syncs_, request, reader);
      } else if (request.kind == ActionKind::kMbox) {
        answer = DeliverMbox(system_, syncs_, turns_, request, fd, reader);
      } else {
        answer = ReadUserFile(request);
      }
    }
    SendAll(fd, EncodeActionAnswer(answer));
  }
  // What is still on its way is dropped: closed with it unread, the answer could be lost.
  shutdown(fd, SHUT_WR);
  while (!reader.ReadSome(kPieceBytesMax).empty()) {
  }
  close(fd);
}

bool SendAction(int control, int fd) {
  char byte = 0;
  struct iovec bytes = {&byte, 1};
  alignas(struct cmsghdr) char rights[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr header = {};
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  header.msg_control = rights;
  header.msg_controllen = sizeof(rights);
  struct cmsghdr* part = CMSG_FIRSTHDR(&header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(part), &fd, sizeof(fd));
  return sendmsg(control, &header, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

}  // namespace postfleet::delivery::privileged
