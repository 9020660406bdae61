#include "services/delivery/smtp/connection.h"

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <cerrno>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

namespace postfleet::delivery::smtp {
namespace {

using asio::ip::tcp;

SessionOptions SessionOptionsOf(const SmtpOptions& options, uint16_t port) {
  return {.helo_name = options.helo_name,
          .myhostname = options.myhostname,
          .detect_loop = port == options.port,
          .skip_5xx_greeting = options.skip_5xx_greeting};
}

bool WouldBlock(const std::error_code& error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

}  // namespace

std::string RelayName(const Candidate& host, uint16_t port) {
  return Concat(host.host, "[", host.address.to_string(), "]:", port);
}

Connection::Connection(std::shared_ptr<const void> parts, const SmtpOptions& options,
                       const SmtpWorld& world, Deadlines& deadlines, std::string destination,
                       const Candidate& host, uint16_t port)
    : KeepsParts{std::move(parts)},
      TimeLimited(deadlines),
      options_(options),
      world_(world),
      destination_(std::move(destination)),
      endpoint_(host.address, port),
      relay_(RelayName(host, port)),
      socket_(world.loop->io()),
      session_({.host = host.host, .address = host.address.to_string()}, destination_,
               SessionOptionsOf(options, port)),
      writer_(options.line_bytes_max) {}

void Connection::Connect(ConnectionUser* user) {
  user_ = user;
  std::error_code error;
  socket_.open(endpoint_.protocol(), error);
  const auto& bind = endpoint_.address().is_v4() ? options_.bind_address : options_.bind_address6;
  if (!error && bind) socket_.bind({*bind, 0}, error);
  if (!error) socket_.non_blocking(true, error);
  if (!error) socket_.set_option(tcp::no_delay(true), error);
  if (error) return OnConnected(error);
  SetDeadline(world_.clock->Monotonic() + options_.timeouts.connect);
  socket_.async_connect(endpoint_, [self = shared_from_this()](const std::error_code& result) {
    if (self->user_ != nullptr) self->OnConnected(result);
  });
}

void Connection::OnConnected(const std::error_code& error) {
  ClearDeadline();
  if (error) return Fail(error.message());
  connected_ = true;
  opened_at_ = world_.clock->Monotonic();
  session_.Opened();
  Read();
  Advance();
}

// Before there is a session.
void Connection::Fail(const std::string& why) {
  std::error_code ignored;
  socket_.close(ignored);
  ConnectionUser* const user = std::exchange(user_, nullptr);
  if (user != nullptr) user->OnUnreachable(*this, why);
}

void Connection::Read() {
  socket_.async_read_some(asio::buffer(read_buffer_),
                          [self = shared_from_this()](const std::error_code& error, size_t bytes) {
                            self->OnRead(error, bytes);
                          });
}

void Connection::OnRead(const std::error_code& error, size_t bytes) {
  if (!socket_.is_open()) return;
  if (error) {
    session_.Lost();
    return Advance();
  }
  session_.Received({read_buffer_.data(), bytes});
  Advance();
  if (socket_.is_open()) Read();
}

void Connection::Begin(Transaction transaction, Contents* contents) {
  ++transactions_;
  contents_ = contents;
  writer_.Reset();
  dot_written_ = false;
  send_begin_ = send_end_ = 0;
  session_.Begin(std::move(transaction));
  contents_->Prefetch();
  Advance();
}

void Connection::Reset() {
  session_.Reset();
  Advance();
}

// Sends what the session has to say, then leaves the turn to the server, the contents or the user.
void Connection::Advance() {
  const bool flushed = FlushCommands();
  if (session_.state() == Session::State::kBody && flushed) SendBody();
  switch (session_.state()) {
    case Session::State::kNew:
      return;
    case Session::State::kReplies:
    case Session::State::kBody:
      return SetDeadline(world_.clock->Monotonic() + TimeLimitOf(session_.step()));
    case Session::State::kReady:
    case Session::State::kDone:
    case Session::State::kFailed:
      break;
  }
  ClearDeadline();
  DropContents();
  if (const std::string warning = session_.TakeWarning(); !warning.empty()) {
    maillog::Warning(options_.program, warning);
  }
  if (user_ != nullptr) user_->OnSession(*this);
}

std::chrono::milliseconds Connection::TimeLimitOf(Session::Step step) const {
  const SmtpTimeouts& timeouts = options_.timeouts;
  switch (step) {
    case Session::Step::kGreeting:
    case Session::Step::kEhlo:
    case Session::Step::kHelo:
      return timeouts.helo;
    case Session::Step::kMail:
      return timeouts.mail;
    case Session::Step::kRcpt:
      return timeouts.rcpt;
    case Session::Step::kData:
      return timeouts.data_init;
    case Session::Step::kBody:
      return timeouts.data_xfer;
    case Session::Step::kDot:
      return timeouts.data_done;
    case Session::Step::kReset:
      return timeouts.rset;
  }
  return timeouts.helo;
}

// False: the socket takes no more now, or is lost (the session knows).
bool Connection::FlushCommands() {
  std::string& out = session_.output();
  while (!out.empty()) {
    std::error_code error;
    const size_t sent = socket_.write_some(asio::buffer(out), error);
    if (error) {
      if (WouldBlock(error)) {
        WaitWritable();
      } else {
        out.clear();
        session_.Lost();
      }
      return false;
    }
    out.erase(0, sent);
  }
  return true;
}

void Connection::SendBody() {
  while (true) {
    while (send_begin_ < send_end_) {
      std::error_code error;
      const size_t sent = socket_.write_some(
          asio::buffer(send_buffer_.get() + send_begin_, send_end_ - send_begin_), error);
      if (error) return WouldBlock(error) ? WaitWritable() : session_.Lost();
      send_begin_ += sent;
    }
    send_begin_ = send_end_ = 0;
    if (dot_written_) return session_.BodySent();
    if (!FillSendBuffer()) return;
  }
}

bool Connection::FillSendBuffer() {
  using postfleet::smtp::DataWriter;
  if (send_buffer_ == nullptr)
    send_buffer_ = std::make_unique_for_overwrite<char[]>(kSendBufferBytes);
  while (kSendBufferBytes - send_end_ >= 2 * DataWriter::kOutBytesMin) {
    char* const out = send_buffer_.get() + send_end_;
    std::string_view piece;
    switch (contents_->Peek(&piece, [this] { Advance(); })) {
      case Contents::State::kBytes: {
        const auto progress = writer_.Write(piece, out, kSendBufferBytes - send_end_);
        contents_->Consume(progress.consumed);
        send_end_ += progress.produced;
        break;
      }
      case Contents::State::kEnd:
        send_end_ += writer_.Finish(out);
        dot_written_ = true;
        return true;
      case Contents::State::kWait:
        return send_end_ != 0;
      case Contents::State::kFailed:
        session_.ContentFailed(contents_->failure());
        return false;
    }
  }
  return true;
}

void Connection::WaitWritable() {
  if (std::exchange(waiting_writable_, true)) return;
  socket_.async_wait(tcp::socket::wait_write,
                     [self = shared_from_this()](const std::error_code& error) {
                       self->waiting_writable_ = false;
                       if (!error && self->socket_.is_open()) self->Advance();
                     });
}

void Connection::Cancel() {
  if (dot_written_ || session_.step() == Session::Step::kDot) return;
  session_.Cancel();
  Advance();
}

void Connection::DropContents() {
  if (contents_ != nullptr) contents_->Forget();
  contents_ = nullptr;
}

void Connection::Close() {
  user_ = nullptr;
  ClearDeadline();
  DropContents();
  if (!socket_.is_open()) return;
  const Session::State state = session_.state();
  if (session_.reusable() && (state == Session::State::kReady || state == Session::State::kDone)) {
    session_.Quit();
    FlushCommands();
  }
  std::error_code ignored;
  socket_.close(ignored);
}

void Connection::OnDeadline() {
  const auto self = shared_from_this();
  if (!connected_) return Fail(std::make_error_code(std::errc::timed_out).message());
  if (session_.state() == Session::State::kReady) {
    if (user_ != nullptr) user_->OnIdleOver(*this);
    return;
  }
  session_.TimedOut();
  Advance();
}

}  // namespace postfleet::delivery::smtp
