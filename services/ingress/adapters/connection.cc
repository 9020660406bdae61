#include "services/ingress/adapters/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "libs/base/maillog.h"
#include "services/ingress/adapters/server.h"

namespace postfleet::ingress {
namespace {

// A session between commands reads little at once: what a paused session keeps of it stays small.
constexpr size_t kCommandReadBytes = 4096;
// Reads of one client before others have their turn.
constexpr int kReadsMax = 16;

lookup::v1::Query QueryOf(const Resolve& resolve) {
  lookup::v1::Query query;
  query.set_recipient(resolve.recipient);
  query.set_sender(resolve.sender);
  query.set_check_listed(resolve.check_listed);
  return query;
}

}  // namespace

Connection::Connection(Server& server, Listener& listener, bool stressed,
                       asio::ip::tcp::socket socket, ConnectionFacts facts)
    : server_(server),
      listener_(listener),
      config_(listener.ConfigOf(stressed)),
      socket_(std::move(socket)),
      session_(config_, std::move(facts), server),
      active_at_(server.clock().Monotonic()) {}

template <typename Event>
void Connection::Handle(const Event& event) {
  if (closed_) return;
  Actions& actions = server_.actions();
  actions.Clear();
  event(actions);
  Perform(actions);
}

void Connection::Start(bool ready) {
  Handle([&](Actions& actions) {
    ready ? session_.OnConnect(&actions) : session_.OnNotReady(&actions);
    listener_.metrics.Opened(actions.limited);
  });
}

void Connection::OnResolved(const lookup::v1::Answer& answer) {
  Handle([&](Actions& actions) { session_.OnResolved(answer, &actions); });
}

void Connection::OnFlushed(bool started) {
  Handle([&](Actions& actions) { session_.OnFlushed(started, &actions); });
}

void Connection::OnEnqueued(const std::string& queue_id, bool final,
                            queue::v1::EnqueueResult::Code code) {
  Handle([&](Actions& actions) { session_.OnEnqueued(queue_id, final, code, &actions); });
}

void Connection::OnShutdown() {
  Handle([&](Actions& actions) { session_.OnShutdown(&actions); });
}

void Connection::OnIdle() {
  // While queue or lookup are asked it is not the client who is slow.
  if (!unsent_.empty()) {
    Drop();
    return;
  }
  if (!session_.WantsInput()) {
    Touch();
    return;
  }
  Handle([&](Actions& actions) { session_.OnTimeout(&actions); });
}

void Connection::Drop() {
  if (closed_) return;
  const auto self = shared_from_this();
  Handle([&](Actions& actions) { session_.OnDisconnect(&actions); });
  Close();
}

// The order: log, then what others are asked, then the client.
void Connection::Perform(Actions& actions) {
  for (const LogLine& line : actions.log) {
    maillog::Write(line.program == LogProgram::kCleanup ? "cleanup" : listener_.log_program,
                   line.text);
  }
  for (const RejectEvent& event : actions.rejects) listener_.metrics.Rejected(event);
  if (actions.accepted) {
    server_.CountAccepted();
    listener_.metrics.Accepted(static_cast<double>(server_.WallMillis() - session_.mail_ms()) /
                               1000.0);
  }
  for (Submit& submit : actions.submits) {
    const bool abandon = submit.submission.abandon();
    server_.enqueue().Send(std::move(submit.submission), std::move(submit.content),
                           abandon ? nullptr : shared_from_this());
  }
  if (actions.resolve) server_.resolve().Ask(QueryOf(*actions.resolve), shared_from_this());
  if (actions.flush) server_.enqueue().Flush(*actions.flush, shared_from_this());
  // A reply ends a request, and its own writing has the whole limit.
  if (config_.per_request_deadline && unsent_.empty() && !actions.reply.empty()) Touch();
  unsent_ += actions.reply;
  if (actions.close) close_after_flush_ = true;
  if (actions.delay_ms > 0) StartDelay(actions.delay_ms);
  if (!session_.AwaitsService() || actions.delay_ms > 0) Flush();
  if (closed_) return;
  AccountBuffers();
  ArmRead();
}

void Connection::AccountBuffers() {
  const size_t bytes = session_.buffered_bytes() + unsent_.size();
  server_.budget().Add(static_cast<int64_t>(bytes) - static_cast<int64_t>(accounted_bytes_));
  accounted_bytes_ = bytes;
}

void Connection::StartDelay(int64_t ms) {
  if (delay_ == nullptr) delay_ = std::make_unique<asio::steady_timer>(socket_.get_executor());
  delay_->expires_after(std::chrono::milliseconds(ms));
  delay_->async_wait([self = shared_from_this()](const std::error_code& error) {
    if (error) return;
    self->Handle([&](Actions& actions) { self->session_.OnDelayOver(&actions); });
  });
}

void Connection::ArmRead() {
  if (reading_ || !unsent_.empty() || !session_.WantsInput()) return;
  reading_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](const std::error_code& error) {
                       self->reading_ = false;
                       if (!error) self->OnReadable();
                     });
}

void Connection::OnReadable() {
  for (int i = 0; i < kReadsMax; ++i) {
    if (closed_ || !unsent_.empty() || !session_.WantsInput()) return;
    if (!ReadOnce()) break;
  }
  if (!closed_) ArmRead();
}

// False: the kernel has no more.
bool Connection::ReadOnce() {
  const size_t size = session_.InData() ? server_.read_buffer().size() : kCommandReadBytes;
  char* buffer = server_.read_buffer().data();
  const ssize_t count = ::recv(socket_.native_handle(), buffer, size, MSG_DONTWAIT);
  if (count > 0) {
    if (!config_.per_request_deadline) {
      Touch();
    } else if (session_.InData()) {
      Extend(static_cast<size_t>(count));
    }
    // Not armed again until the loop of reads ends.
    reading_ = true;
    Handle([&](Actions& actions) {
      session_.OnBytes({buffer, static_cast<size_t>(count)}, &actions);
    });
    reading_ = false;
    return static_cast<size_t>(count) == size;
  }
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  Drop();
  return false;
}

void Connection::Flush() {
  if (closed_ || writing_) return;
  while (!unsent_.empty()) {
    const ssize_t count = ::send(socket_.native_handle(), unsent_.data(), unsent_.size(),
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        ArmWrite();
      } else if (close_after_flush_) {
        Close();
      } else {
        // Posted: a session's event may be at work.
        asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Drop(); });
        unsent_.clear();
      }
      return;
    }
    unsent_.erase(0, static_cast<size_t>(count));
    if (!config_.per_request_deadline || unsent_.empty()) Touch();
  }
  if (close_after_flush_) Close();
}

void Connection::ArmWrite() {
  writing_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_write,
                     [self = shared_from_this()](const std::error_code& error) {
                       self->writing_ = false;
                       if (error) return;
                       self->Flush();
                       if (self->closed_) return;
                       self->AccountBuffers();
                       self->ArmRead();
                     });
}

void Connection::Touch() { active_at_ = server_.clock().Monotonic(); }

void Connection::Extend(size_t bytes) {
  const auto now = server_.clock().Monotonic();
  if (config_.min_data_rate <= 0) return Touch();
  const std::chrono::milliseconds more(static_cast<int64_t>(bytes) * 1000 / config_.min_data_rate);
  active_at_ = std::min(now, active_at_ + more);
}

void Connection::Close() {
  if (closed_) return;
  closed_ = true;
  const auto self = shared_from_this();
  if (delay_ != nullptr) delay_->cancel();
  std::error_code ignored;
  socket_.close(ignored);
  server_.budget().Add(-static_cast<int64_t>(accounted_bytes_));
  accounted_bytes_ = 0;
  listener_.metrics.Closed(session_.counts());
  server_.Closed(*this, listener_);
}

}  // namespace postfleet::ingress
