#include "services/delivery/privileged/helper_actions.h"

#include <unistd.h>

#include <asio/buffer.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>
#include <cerrno>
#include <functional>
#include <utility>
#include <vector>

#include "services/delivery/privileged/action_protocol.h"
#include "services/delivery/privileged/protocol.h"

namespace postfleet::delivery::privileged {
namespace {

constexpr char kWentAway[] = "the privileged delivery helper went away";

ActionFailure Unavailable(std::string text) {
  return {.kind = ActionFailure::Kind::kUnavailable, .text = std::move(text)};
}

ActionFailure FailureOf(const ActionAnswer& answer) {
  switch (answer.code) {
    case ActionCode::kRefused:
      return {.kind = ActionFailure::Kind::kRefused, .text = answer.text};
    case ActionCode::kFailed:
      return {.kind = ActionFailure::Kind::kFailed,
              .error_number = answer.error_number,
              .text = answer.text};
    case ActionCode::kAbandoned:
      return {.kind = ActionFailure::Kind::kCancelled, .text = "cancelled"};
    default:
      return {};
  }
}

UserFile FileOf(const ActionFailure& failure, ActionAnswer answer) {
  UserFile file;
  file.failure = failure;
  file.text = std::move(answer.bytes);
  file.is_longer = answer.is_longer;
  file.is_link = answer.is_link;
  file.is_regular = answer.is_regular;
  file.owner = answer.owner;
  file.mode = answer.mode;
  return file;
}

CommandEnd EndOf(const ActionFailure& failure, ActionAnswer answer) {
  CommandEnd end;
  end.failure = failure;
  end.output = std::move(answer.bytes);
  if (failure.kind != ActionFailure::Kind::kNone) return end;
  end.code = answer.value;
  end.how = answer.code == ActionCode::kExited      ? CommandEnd::How::kExited
            : answer.code == ActionCode::kSignalled ? CommandEnd::How::kSignalled
                                                    : CommandEnd::How::kTimedOut;
  return end;
}

ActionRequest RequestFor(const MailboxDelivery& delivery) {
  ActionRequest request;
  request.uid = delivery.user.uid;
  request.gid = delivery.user.gid;
  request.header = delivery.header;
  request.file_bytes_max = delivery.file_bytes_max;
  request.path = delivery.path;
  if (delivery.kind == MailboxDelivery::Kind::kMaildir) {
    request.kind = ActionKind::kMaildir;
    std::string path = delivery.path;
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    request.base = delivery.base.empty() ? path.substr(0, path.rfind('/') + 1) : delivery.base;
    while (request.base.size() > 1 && request.base.ends_with('/')) request.base.pop_back();
    request.path = path.substr(std::min(path.size(), request.base.size()));
    while (request.path.starts_with('/')) request.path.erase(0, 1);
    return request;
  }
  request.kind = ActionKind::kMbox;
  request.owner_uid = delivery.owner.uid;
  request.owner_gid = delivery.owner.gid;
  request.must_be_owned = delivery.must_be_owned;
  request.is_any_file = delivery.is_any_file;
  request.fcntl_lock = delivery.locks.fcntl;
  request.flock_lock = delivery.locks.flock;
  request.dotlock = delivery.locks.dotlock;
  const auto milliseconds = [](std::chrono::seconds seconds) {
    return static_cast<uint32_t>(std::chrono::milliseconds(seconds).count());
  };
  request.lock_tries = static_cast<uint32_t>(delivery.locks.tries);
  request.lock_delay_ms = milliseconds(delivery.locks.delay);
  request.lock_stale_ms = milliseconds(delivery.locks.stale_after);
  return request;
}

bool Fits(const ActionRequest& request) {
  return request.path.size() <= kPathBytesMax && request.base.size() <= kPathBytesMax &&
         request.chroot.size() <= kPathBytesMax && request.header.size() <= kHeaderBytesMax;
}

}  // namespace

// One action, from its request to its answer.
class HelperActions::Action : public std::enable_shared_from_this<Action> {
 public:
  using Done = std::function<void(const ActionFailure&, ActionAnswer)>;

  Action(runtime::EventLoop& loop, std::unique_ptr<ContentReader> contents, Done done)
      : loop_(loop), socket_(loop.io()), contents_(std::move(contents)), done_(std::move(done)) {}

  void Start(int fd, const ActionRequest& request) {
    socket_.assign(asio::local::stream_protocol(), fd);
    unsent_ = EncodeAction(request);
    ReadAnswer();
    contents_ == nullptr ? Write() : ReadContents();
  }
  void FailLater(ActionFailure failure) {
    loop_.Post(
        [self = shared_from_this(), failure = std::move(failure)] { self->Finish(failure, {}); });
  }
  void Cancel() {
    FailLater({.kind = ActionFailure::Kind::kCancelled, .text = "cancelled"});
    Close();
  }
  void Forget() {
    done_ = nullptr;
    contents_.reset();
    Close();
  }

 private:
  void Close() {
    asio::error_code ignored;
    socket_.close(ignored);
  }

  void ReadContents() {
    contents_->Next([alive = weak_from_this()](const absl::Status& status, rpc::Payload payload) {
      if (const auto self = alive.lock(); self != nullptr && self->done_ != nullptr) {
        self->TakeContents(status, std::move(payload));
      }
    });
  }

  void TakeContents(const absl::Status& status, rpc::Payload payload) {
    if (!status.ok()) {
      // Closed without its end: the helper takes back what it has written.
      const bool damaged = absl::IsDataLoss(status);
      Close();
      return Finish({.kind = ActionFailure::Kind::kContents,
                     .text = std::string(status.message()),
                     .contents_damaged = damaged},
                    {});
    }
    if (payload.empty()) {
      contents_.reset();
      unsent_ += EncodePieceLength(kContentEnd);
      return Write();
    }
    for (const grpc::Slice& slice : payload) {
      for (size_t at = 0; at < slice.size(); at += kPieceBytesMax) {
        const size_t size = std::min<size_t>(slice.size() - at, kPieceBytesMax);
        pieces_.push_back(
            {std::exchange(unsent_, {}) + EncodePieceLength(static_cast<uint32_t>(size)),
             slice.sub(at, at + size)});
      }
    }
    Write();
  }

  void Write() {
    std::vector<asio::const_buffer> buffers;
    for (const Piece& piece : pieces_) {
      buffers.push_back(asio::buffer(piece.prefix));
      buffers.push_back(asio::buffer(piece.bytes.begin(), piece.bytes.size()));
    }
    buffers.push_back(asio::buffer(unsent_));
    asio::async_write(socket_, buffers,
                      [self = shared_from_this()](const asio::error_code& error, size_t) {
                        self->pieces_.clear();
                        self->unsent_.clear();
                        // The answer says why nothing more is wanted.
                        if (!error && self->contents_ != nullptr) self->ReadContents();
                      });
  }

  void ReadAnswer() {
    answer_.resize(kPrefixBytes);
    asio::async_read(socket_, asio::buffer(answer_),
                     [self = shared_from_this()](const asio::error_code& error, size_t) {
                       uint32_t length = 0;
                       if (error || !DecodePrefix(self->answer_, kActionAnswerMagic,
                                                  kActionAnswerBytesMax, &length)) {
                         return self->Finish(Unavailable(kWentAway), {});
                       }
                       self->ReadAnswerBody(length);
                     });
  }

  void ReadAnswerBody(uint32_t length) {
    answer_.resize(length);
    asio::async_read(socket_, asio::buffer(answer_),
                     [self = shared_from_this()](const asio::error_code& error, size_t) {
                       ActionAnswer answer;
                       if (error || !DecodeActionAnswer(self->answer_, &answer)) {
                         return self->Finish(Unavailable(kWentAway), {});
                       }
                       const ActionFailure failure = FailureOf(answer);
                       self->Finish(failure, std::move(answer));
                     });
  }

  void Finish(const ActionFailure& failure, ActionAnswer answer) {
    const Done done = std::exchange(done_, nullptr);
    if (done == nullptr) return;
    contents_.reset();
    Close();
    done(failure, std::move(answer));
  }

  struct Piece {
    std::string prefix;
    grpc::Slice bytes;
  };

  runtime::EventLoop& loop_;
  asio::local::stream_protocol::socket socket_;
  std::unique_ptr<ContentReader> contents_;
  Done done_;
  std::vector<Piece> pieces_;
  std::string unsent_;  // behind the pieces
  std::string answer_;
};

struct HelperActions::Core {
  explicit Core(runtime::EventLoop& loop) : loop(loop) {}

  uint64_t Start(HelperConnections& connections, const ActionRequest& request,
                 std::unique_ptr<ContentReader> contents, Action::Done done,
                 const std::shared_ptr<Core>& self) {
    const uint64_t number = ++last_number;
    auto action = std::make_shared<Action>(
        loop, std::move(contents),
        [alive = std::weak_ptr<Core>(self), number, done = std::move(done)](
            const ActionFailure& failure, ActionAnswer answer) {
          const std::shared_ptr<Core> core = alive.lock();
          if (core == nullptr) return;
          core->actions.erase(number);
          done(failure, std::move(answer));
        });
    actions[number] = action;
    if (!Fits(request)) {
      action->FailLater({.kind = ActionFailure::Kind::kRefused, .text = "path or header too long"});
      return number;
    }
    const absl::StatusOr<int> fd = connections.OpenAction();
    if (fd.ok()) {
      action->Start(*fd, request);
    } else {
      action->FailLater(Unavailable(std::string(fd.status().message())));
    }
    return number;
  }

  runtime::EventLoop& loop;
  std::map<uint64_t, std::shared_ptr<Action>> actions;
  uint64_t last_number = 0;
};

HelperActions::HelperActions(runtime::EventLoop& loop,
                             std::shared_ptr<HelperConnections> connections, std::string host,
                             const Clock& clock)
    : core_(std::make_shared<Core>(loop)),
      connections_(std::move(connections)),
      host_(std::move(host)),
      clock_(clock) {}

HelperActions::~HelperActions() {
  for (const auto& [number, action] : core_->actions) action->Forget();
}

uint64_t HelperActions::Deliver(MailboxDelivery delivery, std::unique_ptr<ContentReader> contents,
                                Delivered done) {
  ActionRequest request = RequestFor(delivery);
  const int64_t now_us = clock_.WallMicros();
  request.host = host_;
  request.seconds = now_us / 1'000'000;
  request.microseconds = static_cast<uint32_t>(now_us % 1'000'000);
  return core_->Start(
      *connections_, request, std::move(contents),
      [done = std::move(done)](const ActionFailure& failure, const ActionAnswer&) {
        done(failure);
      },
      core_);
}

uint64_t HelperActions::ReadFile(UserIds user, std::string path, size_t bytes_max, Read done) {
  ActionRequest request;
  request.kind = ActionKind::kReadFile;
  request.uid = user.uid;
  request.gid = user.gid;
  request.path = std::move(path);
  request.bytes_max = bytes_max;
  return core_->Start(
      *connections_, request, nullptr,
      [done = std::move(done)](const ActionFailure& failure, ActionAnswer answer) {
        done(FileOf(failure, std::move(answer)));
      },
      core_);
}

uint64_t HelperActions::Run(Command command, std::unique_ptr<ContentReader> contents, Ended done) {
  ActionRequest request;
  request.kind = ActionKind::kCommand;
  request.uid = command.user.uid;
  request.gid = command.user.gid;
  request.path = command.directory;
  request.chroot = command.chroot;
  request.argv = std::move(command.argv);
  request.environment = std::move(command.environment);
  request.header = std::move(command.header);
  request.bytes_max = command.output_bytes_max;
  request.time_limit_ms = static_cast<uint32_t>(
      std::min<int64_t>(std::chrono::milliseconds(command.time_limit).count(), UINT32_MAX));
  return core_->Start(
      *connections_, request, std::move(contents),
      [done = std::move(done)](const ActionFailure& failure, ActionAnswer answer) {
        done(EndOf(failure, std::move(answer)));
      },
      core_);
}

void HelperActions::Cancel(uint64_t number) {
  const auto action = core_->actions.find(number);
  if (action != core_->actions.end()) action->second->Cancel();
}

}  // namespace postfleet::delivery::privileged
