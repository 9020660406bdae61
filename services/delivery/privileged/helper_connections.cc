#include "services/delivery/privileged/helper_connections.h"

#include <sys/socket.h>
#include <unistd.h>

#include <asio/buffer.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/delivery/privileged/action_server.h"
#include "services/delivery/privileged/connection_passing.h"

namespace postfleet::delivery::privileged {
namespace {

absl::Status NoHelper() {
  return absl::UnavailableError("the privileged delivery helper is not running");
}

}  // namespace

bool FitsRequest(const Target& target) {
  return target.path.size() <= kPathBytesMax && target.header.size() <= kHeaderBytesMax;
}

struct HelperConnections::Core : std::enable_shared_from_this<Core> {
  Core(runtime::EventLoop& loop, std::chrono::milliseconds wait_for_worker)
      : loop(loop), wait_for_worker(wait_for_worker), no_worker(loop) {}

  struct Supervisor {
    Supervisor(runtime::EventLoop& loop, int socket) : socket(loop.io(), socket) {}
    asio::posix::stream_descriptor socket;
  };

  struct Waiting {
    uint64_t number = 0;
    Handover handover;
  };

  void Listen(const std::shared_ptr<Supervisor>& supervisor);
  void TakeWorker(const std::shared_ptr<Supervisor>& supervisor);
  void SupervisorEnded(const std::shared_ptr<Supervisor>& supervisor);
  void Lost(const std::shared_ptr<Connection>& connection);
  void AwaitWorker();
  void Serve();
  void GiveUp();
  void AnswerLater(Handover handover, absl::Status status);

  runtime::EventLoop& loop;
  const std::chrono::milliseconds wait_for_worker;
  std::vector<std::shared_ptr<Supervisor>> supervisors;
  pid_t worker = 0;       // that came last
  pid_t lost_worker = 0;  // of which a connection was lost
  std::vector<std::shared_ptr<Connection>> connections;
  runtime::Timer no_worker;
  bool given_up = false;  // nothing waits for a worker any more
  std::deque<Waiting> waiting;
  uint64_t last_number = 0;
  int control = -1;  // of the worker that came last: where actions begin
};

// Carries one message at a time: request, contents, answer.
class HelperConnections::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(const std::shared_ptr<Core>& core, pid_t worker, int fd)
      : worker(worker), core_(core), socket_(core->loop.io(), asio::local::stream_protocol(), fd) {}

  const pid_t worker;

  // The helper says nothing but answers: when there is something to read and none is due, it has
  // gone. Noticed before a message is lost to it.
  void Watch() {
    if (std::exchange(watching_, true)) return;
    socket_.async_wait(asio::socket_base::wait_read,
                       [this, self = shared_from_this()](const asio::error_code& error) {
                         watching_ = false;
                         if (broken_ || phase_ == Phase::kEnding) return;
                         error || HasEnded() ? Break() : Watch();
                       });
  }

  bool idle() const { return number_ == 0; }
  bool broken() const { return broken_; }
  uint64_t number() const { return number_; }

  void Start(uint64_t number, Handover handover) {
    number_ = number;
    handover_ = std::move(handover);
    phase_ = Phase::kContents;
    failure_ = absl::OkStatus();
    unsent_ = EncodeRequest(handover_.request);
    pieces_.clear();
    gathered_ = 0;
    left_ = static_cast<int64_t>(handover_.request.content_bytes);
    ReadContents();
  }

  void Cancel() {
    if (phase_ != Phase::kContents || !failure_.ok()) return;
    Abandon(absl::CancelledError("cancelled"));
  }

  // The owner goes: no answer any more.
  void Close() {
    broken_ = true;
    number_ = 0;
    handover_ = {};
    asio::error_code ignored;
    socket_.close(ignored);
  }

 private:
  // kEnding: the end, or that it is abandoned, is on its way; the answer comes next.
  enum class Phase { kIdle, kContents, kEnding };

  bool HasEnded() {
    char byte;
    const ssize_t got = recv(socket_.native_handle(), &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EINTR);
  }

  void ReadContents() {
    handover_.contents->Next([this, alive = weak_from_this(), number = number_](
                                 const absl::Status& status, rpc::Payload payload) {
      if (alive.expired() || number != number_ || phase_ != Phase::kContents) return;
      TakeContents(status, std::move(payload));
    });
  }

  void TakeContents(const absl::Status& status, rpc::Payload payload) {
    if (!status.ok()) return Abandon(status);
    left_ -= static_cast<int64_t>(rpc::PayloadBytes(payload));
    if (left_ < 0 || (payload.empty() && left_ > 0)) {
      return Abandon(absl::DataLossError("message contents are not as long as they should be"));
    }
    if (payload.empty()) return End(kContentEnd);
    for (const grpc::Slice& slice : payload) AddPiece(slice);
    if (gathered_ < kGatherBytes) return ReadContents();
    Write();
  }

  void AddPiece(const grpc::Slice& slice) {
    for (size_t at = 0; at < slice.size(); at += kPieceBytesMax) {
      const size_t size = std::min<size_t>(slice.size() - at, kPieceBytesMax);
      pieces_.push_back(
          {std::exchange(unsent_, {}) + EncodePieceLength(static_cast<uint32_t>(size)),
           slice.sub(at, at + size)});
      gathered_ += size;
    }
  }

  void Abandon(absl::Status why) {
    failure_ = std::move(why);
    handover_.contents.reset();
    if (writing_) {
      phase_ = Phase::kEnding;
      abandon_after_write_ = true;
      return;
    }
    End(kContentAbandoned);
  }

  void End(uint32_t how) {
    phase_ = Phase::kEnding;
    unsent_ += EncodePieceLength(how);
    Write();
  }

  void Write() {
    std::vector<asio::const_buffer> buffers;
    for (const Piece& piece : pieces_) {
      buffers.push_back(asio::buffer(piece.prefix));
      buffers.push_back(asio::buffer(piece.bytes.begin(), piece.bytes.size()));
    }
    buffers.push_back(asio::buffer(unsent_));
    writing_ = true;
    asio::async_write(socket_, buffers,
                      [this, self = shared_from_this()](const asio::error_code& error, size_t) {
                        if (!broken_) OnWritten(error);
                      });
  }

  void OnWritten(const asio::error_code& error) {
    writing_ = false;
    pieces_.clear();
    unsent_.clear();
    gathered_ = 0;
    if (error) return Break();
    if (std::exchange(abandon_after_write_, false)) return End(kContentAbandoned);
    if (phase_ == Phase::kContents) return ReadContents();
    ReadAnswer();
  }

  void ReadAnswer() {
    answer_.resize(kPrefixBytes);
    asio::async_read(
        socket_, asio::buffer(answer_),
        [this, self = shared_from_this()](const asio::error_code& error, size_t) {
          if (broken_) return;
          uint32_t length = 0;
          if (error || !DecodePrefix(answer_, kAnswerMagic, kAnswerBytesMax, &length)) {
            return Break();
          }
          ReadAnswerBody(length);
        });
  }

  void ReadAnswerBody(uint32_t length) {
    answer_.resize(length);
    asio::async_read(socket_, asio::buffer(answer_),
                     [this, self = shared_from_this()](const asio::error_code& error, size_t) {
                       if (broken_) return;
                       std::vector<TargetResult> results;
                       if (error || !DecodeAnswer(answer_, &results) ||
                           results.size() != handover_.request.targets.size()) {
                         return Break();
                       }
                       Finish(failure_, std::move(results));
                     });
  }

  void Finish(absl::Status status, std::vector<TargetResult> results) {
    Handover ended = std::exchange(handover_, {});
    number_ = 0;
    phase_ = Phase::kIdle;
    if (!broken_) Watch();
    const std::shared_ptr<Core> core = core_.lock();
    // Those who wait go first, and `done` may end the owner.
    if (core != nullptr) core->Serve();
    if (ended.done != nullptr) {
      ended.done(status, status.ok() ? std::move(results) : std::vector<TargetResult>());
    }
  }

  void Break() {
    broken_ = true;
    asio::error_code ignored;
    socket_.close(ignored);
    if (const std::shared_ptr<Core> core = core_.lock()) core->Lost(shared_from_this());
    Finish(failure_.ok() ? absl::UnavailableError("the privileged delivery helper went away")
                         : failure_,
           {});
  }

  struct Piece {
    std::string prefix;
    grpc::Slice bytes;
  };

  const std::weak_ptr<Core> core_;
  asio::local::stream_protocol::socket socket_;
  bool broken_ = false;

  uint64_t number_ = 0;  // of the message that it carries; 0: idle
  Handover handover_;
  Phase phase_ = Phase::kIdle;
  bool watching_ = false;
  absl::Status failure_;
  bool writing_ = false;
  bool abandon_after_write_ = false;
  std::vector<Piece> pieces_;
  size_t gathered_ = 0;
  int64_t left_ = 0;    // bytes of the contents that have not come
  std::string unsent_;  // behind the pieces
  std::string answer_;
};

void HelperConnections::Core::Listen(const std::shared_ptr<Supervisor>& supervisor) {
  supervisor->socket.async_wait(asio::posix::stream_descriptor::wait_read,
                                [alive = weak_from_this(), supervisor](asio::error_code error) {
                                  const std::shared_ptr<Core> core = alive.lock();
                                  if (core != nullptr && !error) core->TakeWorker(supervisor);
                                });
}

void HelperConnections::Core::TakeWorker(const std::shared_ptr<Supervisor>& supervisor) {
  WorkerConnections received;
  switch (ReceiveConnections(supervisor->socket.native_handle(), &received)) {
    case Received::kEnd:
      return SupervisorEnded(supervisor);
    case Received::kNothingYet:
      break;
    case Received::kConnections:
      if (control >= 0) close(control);
      control = received.sockets.back();
      received.sockets.pop_back();
      for (int socket : received.sockets) {
        connections.push_back(
            std::make_shared<Connection>(shared_from_this(), received.worker, socket));
        connections.back()->Watch();
      }
      if (std::exchange(worker, received.worker) != 0) {
        maillog::Info("virtual", "the privileged delivery helper runs again: process ", worker);
      }
      no_worker.Cancel();
      given_up = false;
      Serve();
  }
  Listen(supervisor);
}

void HelperConnections::Core::SupervisorEnded(const std::shared_ptr<Supervisor>& supervisor) {
  maillog::Warning("virtual",
                   "the supervisor of the privileged delivery helper went away: when the helper "
                   "ends, mailboxes wait until the mail system is started again");
  asio::error_code ignored;
  supervisor->socket.close(ignored);
  std::erase(supervisors, supervisor);
  if (connections.empty()) AwaitWorker();
}

void HelperConnections::Core::Lost(const std::shared_ptr<Connection>& connection) {
  std::erase(connections, connection);
  if (std::exchange(lost_worker, connection->worker) != connection->worker) {
    maillog::Warning("virtual", "lost a connection to the privileged delivery helper, process ",
                     connection->worker);
  }
  if (connections.empty()) AwaitWorker();
}

void HelperConnections::Core::AwaitWorker() {
  if (supervisors.empty()) return GiveUp();
  no_worker.Set(wait_for_worker, [this] { GiveUp(); });
}

void HelperConnections::Core::Serve() {
  if (given_up) return GiveUp();
  for (size_t i = 0; i < connections.size() && !waiting.empty(); ++i) {
    const std::shared_ptr<Connection> connection = connections[i];
    if (!connection->idle()) continue;
    Waiting next = std::move(waiting.front());
    waiting.pop_front();
    connection->Start(next.number, std::move(next.handover));
  }
}

void HelperConnections::Core::GiveUp() {
  given_up = true;
  while (!waiting.empty()) {
    Waiting next = std::move(waiting.front());
    waiting.pop_front();
    AnswerLater(std::move(next.handover), NoHelper());
  }
}

void HelperConnections::Core::AnswerLater(Handover handover, absl::Status status) {
  loop.Post([alive = weak_from_this(), done = std::move(handover.done), status] {
    if (!alive.expired()) done(status, {});
  });
}

HelperConnections::HelperConnections(runtime::EventLoop& loop, const std::vector<int>& sockets,
                                     std::chrono::milliseconds wait_for_worker)
    : core_(std::make_shared<Core>(loop, wait_for_worker)) {
  for (int socket : sockets) {
    core_->supervisors.push_back(std::make_shared<Core::Supervisor>(loop, socket));
    core_->supervisors.back()->socket.non_blocking(true);
    core_->Listen(core_->supervisors.back());
  }
  core_->AwaitWorker();
}

HelperConnections::~HelperConnections() {
  core_->no_worker.Cancel();
  asio::error_code ignored;
  for (const auto& supervisor : core_->supervisors) supervisor->socket.close(ignored);
  for (const auto& connection : core_->connections) connection->Close();
  if (core_->control >= 0) close(core_->control);
}

uint64_t HelperConnections::Deliver(Handover handover) {
  const uint64_t number = ++core_->last_number;
  core_->waiting.push_back({number, std::move(handover)});
  core_->Serve();
  return number;
}

void HelperConnections::Cancel(uint64_t number) {
  for (auto waiting = core_->waiting.begin(); waiting != core_->waiting.end(); ++waiting) {
    if (waiting->number != number) continue;
    core_->AnswerLater(std::move(waiting->handover), absl::CancelledError("cancelled"));
    core_->waiting.erase(waiting);
    return;
  }
  for (const auto& connection : core_->connections) {
    if (connection->number() == number) return connection->Cancel();
  }
}

absl::StatusOr<int> HelperConnections::OpenAction() {
  if (core_->control < 0) return NoHelper();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::UnavailableError(Concat("no socket for the privileged delivery helper: ",
                                         std::string_view(strerror(errno))));
  }
  const bool sent = SendAction(core_->control, ends[1]);
  close(ends[1]);
  if (sent) return ends[0];
  close(ends[0]);
  return NoHelper();
}

size_t HelperConnections::connections() const { return core_->connections.size(); }
size_t HelperConnections::waiting() const { return core_->waiting.size(); }
pid_t HelperConnections::worker() const { return core_->worker; }

}  // namespace postfleet::delivery::privileged
