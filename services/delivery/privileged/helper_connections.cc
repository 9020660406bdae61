#include "services/delivery/privileged/helper_connections.h"

#include <array>
#include <asio/buffer.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>
#include <deque>
#include <optional>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

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
  explicit Core(runtime::EventLoop& loop) : loop(loop) {}

  struct Waiting {
    uint64_t number = 0;
    Handover handover;
  };

  void Serve();
  void AnswerAllWaiting();
  void AnswerLater(Handover handover, absl::Status status);

  runtime::EventLoop& loop;
  std::vector<std::shared_ptr<Connection>> connections;
  std::deque<Waiting> waiting;
  uint64_t last_number = 0;
};

// Carries one message at a time: request, contents, answer.
class HelperConnections::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Core> core, int fd)
      : core_(core), socket_(core->loop.io(), asio::local::stream_protocol(), fd) {}

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
  enum class Phase { kContents, kEnding };

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
    const std::shared_ptr<Core> core = core_.lock();
    // Those who wait go first, and `done` may end the owner.
    if (core != nullptr) core->Serve();
    ended.done(status, status.ok() ? std::move(results) : std::vector<TargetResult>());
  }

  void Break() {
    broken_ = true;
    asio::error_code ignored;
    socket_.close(ignored);
    maillog::Warning("virtual", "lost a connection to the privileged delivery helper");
    const std::shared_ptr<Core> core = core_.lock();
    if (core != nullptr) std::erase(core->connections, shared_from_this());
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
  Phase phase_ = Phase::kContents;
  absl::Status failure_;
  bool writing_ = false;
  bool abandon_after_write_ = false;
  std::vector<Piece> pieces_;
  size_t gathered_ = 0;
  int64_t left_ = 0;    // bytes of the contents that have not come
  std::string unsent_;  // behind the pieces
  std::string answer_;
};

void HelperConnections::Core::Serve() {
  if (connections.empty()) return AnswerAllWaiting();
  for (size_t i = 0; i < connections.size() && !waiting.empty(); ++i) {
    const std::shared_ptr<Connection> connection = connections[i];
    if (!connection->idle()) continue;
    Waiting next = std::move(waiting.front());
    waiting.pop_front();
    connection->Start(next.number, std::move(next.handover));
  }
}

void HelperConnections::Core::AnswerAllWaiting() {
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

HelperConnections::HelperConnections(runtime::EventLoop& loop, const std::vector<int>& sockets)
    : core_(std::make_shared<Core>(loop)) {
  for (int socket : sockets) {
    core_->connections.push_back(std::make_shared<Connection>(core_, socket));
  }
}

HelperConnections::~HelperConnections() {
  for (const auto& connection : core_->connections) connection->Close();
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

size_t HelperConnections::connections() const { return core_->connections.size(); }
size_t HelperConnections::waiting() const { return core_->waiting.size(); }

}  // namespace postfleet::delivery::privileged
