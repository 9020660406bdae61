#include "services/delivery/smtp/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <cerrno>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

namespace postfleet::delivery::smtp {
namespace {

using asio::ip::tcp;
using Socket = asio::generic::stream_protocol::socket;

// What sun_path holds beside its final zero.
constexpr size_t kUnixPathBytesMax = 107;

Peer PeerOf(const Candidate& host) {
  return {.host = host.host,
          .address = host.path.empty() ? host.address.to_string() : host.path,
          .port = host.path.empty() ? host.port : uint16_t{0}};
}

// `prepared`: whether the tables could be asked.
SessionOptions SessionOptionsOf(const SmtpOptions& options, const Candidate& host,
                                const ConnectionPurpose& purpose, int64_t now_ms,
                                HostTables& tables, absl::Status* prepared) {
  const Peer peer = PeerOf(host);
  absl::StatusOr<EhloKeywords> discarded = tables.DiscardedKeywords(peer.address);
  *prepared = discarded.status();
  if (!prepared->ok()) return {};
  PixWorkarounds pix = tables.WorkaroundsFor(peer.address);
  // Young mail is tried without the pause first.
  if (now_ms - purpose.arrival_ms < options.pix_threshold.count()) pix.delay_dotcrlf = false;
  return {.lmtp = options.protocol == ClientProtocol::kLmtp,
          .lmtp_assume_final = options.assume_final,
          .helo_name = options.helo_name,
          .queue_id = purpose.queue_id,
          .myhostname = options.myhostname,
          .detect_loop = purpose.detect_loop,
          .skip_5xx_greeting = options.skip_5xx_greeting,
          .convert_content = options.convert_content,
          .is_best_host = purpose.is_best_host,
          .always_send_ehlo = options.always_send_ehlo,
          .never_send_ehlo = options.never_send_ehlo,
          .discarded_keywords = *std::move(discarded),
          .pix_workarounds = pix,
          .quote_addresses = options.quote_addresses,
          .send_xforward = options.send_xforward,
          .keep_utf8_replies = options.smtputf8,
          .reply_filter = tables.ReplyFilter(peer.WithPort())};
}

// As Postfix, whose working folder is the queue directory.
std::string UnixPath(const SmtpOptions& options, const std::string& path) {
  return path.starts_with('/') ? path : Concat(options.queue_directory, "/", path);
}

bool WouldBlock(const std::error_code& error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

}  // namespace

Connection::Connection(std::shared_ptr<const void> parts, const SmtpOptions& options,
                       const SmtpWorld& world, HostTables& tables, Deadlines& deadlines,
                       std::string destination, const Candidate& host,
                       const ConnectionPurpose& purpose)
    : KeepsParts{std::move(parts)},
      TimeLimited(deadlines),
      options_(options),
      world_(world),
      destination_(std::move(destination)),
      host_(host),
      relay_(RelayName(host)),
      socket_(world.loop->io()),
      session_(
          PeerOf(host), destination_,
          SessionOptionsOf(options, host, purpose, world.clock->WallMillis(), tables, &prepared_)),
      writer_(options.line_bytes_max) {}

void Connection::Connect(ConnectionUser* user) {
  user_ = user;
  if (!prepared_.ok()) {
    maillog::Warning(options_.program, std::string(prepared_.message()));
    return FailHere("4.3.0", Concat("local data error while talking to ", relay_));
  }
  if (host_.path.empty()) {
    endpoint_ = tcp::endpoint(host_.address, host_.port);
  } else {
    const std::string path = UnixPath(options_, host_.path);
    if (path.size() > kUnixPathBytesMax) {
      maillog::Warning(options_.program, "unix-domain name too long: ", path);
      return FailHere("4.3.5", "Server configuration error");
    }
    endpoint_ = asio::local::stream_protocol::endpoint(path);
  }
  ends_at_ = world_.clock->Monotonic() + options_.timeouts.in_all;
  connect_ends_at_ = world_.clock->Monotonic() + options_.timeouts.connect;
  Dial();
}

void Connection::Dial() {
  std::error_code error;
  socket_.open(endpoint_.protocol(), error);
  if (error) {
    return FailHere("4.4.1", Concat("connect to ", relay_, ": ", error.message()));
  }
  if (!Bind(&error)) return FailHere("4.4.0", error.message());
  socket_.non_blocking(true, error);
  if (!error && host_.path.empty()) socket_.set_option(tcp::no_delay(true), error);
  if (error) return OnConnected(error);
  if (!host_.path.empty()) return DialUnixSocket();
  SetDeadline(connect_ends_at_);
  socket_.async_connect(endpoint_, [self = shared_from_this()](const std::error_code& result) {
    if (self->user_ != nullptr) self->OnConnected(result);
  });
}

// Connected or refused at once. EAGAIN is no promise that writability would keep, so the system is
// asked, not asio, which waits for that.
void Connection::DialUnixSocket() {
  dials_again_ = false;
  if (::connect(socket_.native_handle(), endpoint_.data(),
                static_cast<socklen_t>(endpoint_.size())) == 0) {
    return OnConnected({});
  }
  const std::error_code error(errno, asio::error::get_system_category());
  if (!WouldBlock(error)) return OnConnected(error);
  std::error_code ignored;
  socket_.close(ignored);
  dials_again_ = true;
  SetDeadline(std::min(world_.clock->Monotonic() + kBacklogRetry, connect_ends_at_));
}

bool Connection::Bind(std::error_code* error) {
  if (!host_.path.empty()) return true;
  const auto& address = host_.address.is_v4() ? options_.bind_address : options_.bind_address6;
  if (!address) return true;
  std::error_code failed;
  socket_.bind(tcp::endpoint(*address, 0), failed);
  if (!failed) return true;
  maillog::Warning(options_.program, options_.bind_address_enforce ? "cannot bind to " : "bind ",
                   address->to_string(), ": ", failed.message());
  if (options_.bind_address_enforce) *error = failed;
  return !options_.bind_address_enforce;
}

void Connection::OnConnected(const std::error_code& error) {
  ClearDeadline();
  if (error) return Fail("4.4.1", Concat("connect to ", relay_, ": ", error.message()));
  connected_ = true;
  opened_at_ = world_.clock->Monotonic();
  session_.Opened();
  Read();
  Advance();
}

void Connection::FailHere(const char* status, const std::string& why) {
  our_failure_ = true;
  Fail(status, why);
}

// Before there is a session.
void Connection::Fail(const char* status, const std::string& why) {
  std::error_code ignored;
  socket_.close(ignored);
  ConnectionUser* const user = std::exchange(user_, nullptr);
  if (user != nullptr) user->OnUnreachable(*this, status, why);
}

void Connection::Read() {
  socket_.async_read_some(asio::buffer(read_buffer_),
                          [self = shared_from_this()](const std::error_code& error, size_t bytes) {
                            self->OnRead(error, bytes);
                          });
}

void Connection::OnRead(const std::error_code& error, size_t bytes) {
  if (!socket_.is_open()) return;
  if (quits_ != nullptr) return EndQuit();
  if (error) {
    session_.Lost();
    return Advance();
  }
  if (options_.timeouts.per_request) CountReplies({read_buffer_.data(), bytes});
  session_.Received({read_buffer_.data(), bytes});
  Advance();
  if (socket_.is_open()) Read();
}

void Connection::Begin(Transaction transaction, Contents* contents) {
  ++transactions_;
  ends_at_ = world_.clock->Monotonic() + options_.timeouts.in_all;
  contents_ = contents;
  writer_.Reset();
  dot_written_ = false;
  dot_pause_ = DotPause::kNotYet;
  send_begin_ = send_end_ = 0;
  session_.Begin(std::move(transaction));
  if (session_.converts()) contents_->Convert();
  contents_->Prefetch();
  Advance();
}

void Connection::Reset() {
  session_.Reset();
  Advance();
}

// Sends what the session has to say, then leaves the turn to the server, the contents or the user.
void Connection::Advance() {
  LogNotes();
  const bool flushed = FlushCommands();
  if (session_.state() == Session::State::kBody && flushed) SendBody();
  switch (session_.state()) {
    case Session::State::kNew:
      return;
    case Session::State::kReplies:
    case Session::State::kBody:
      return ExtendDeadline();
    case Session::State::kReady:
    case Session::State::kDone:
    case Session::State::kFailed:
      break;
  }
  ClearDeadline();
  DropContents();
  if (user_ != nullptr) user_->OnSession(*this);
}

void Connection::LogNotes() {
  for (const SessionNote& note : session_.TakeNotes()) {
    if (note.is_warning) {
      maillog::Warning(options_.program, note.text);
    } else {
      maillog::Info(options_.program, note.text);
    }
  }
}

// Lines of a reply but the last have a hyphen behind the code.
void Connection::CountReplies(std::string_view bytes) {
  for (char c : bytes) {
    if (c == '\n') {
      if (!reply_goes_on_) ++replies_;
      reply_column_ = 0;
      reply_goes_on_ = false;
    } else if (++reply_column_ == 4) {
      reply_goes_on_ = c == '-';
    }
  }
}

void Connection::ExtendDeadline() {
  if (session_.state() == Session::State::kBody && dot_pause_ == DotPause::kPausing) return;
  const SmtpTimeouts& timeouts = options_.timeouts;
  const Session::Step step = session_.step();
  const auto now = world_.clock->Monotonic();
  const uint64_t paid_bytes = std::exchange(body_bytes_unpaid_, 0);
  // What a server says meanwhile is no reason to wait for it to read.
  const bool stuck = step == Session::Step::kBody && step == timed_step_ && paid_bytes == 0;
  if (stuck && has_deadline()) return;
  if (!timeouts.per_request || step != timed_step_ || replies_ != timed_replies_ ||
      !has_deadline()) {
    timed_step_ = step;
    timed_replies_ = replies_;
    return SetDeadline(std::min(now + TimeLimitOf(step), ends_at_));
  }
  if (step != Session::Step::kBody) return;
  // What was sent buys time, but never more than one write has by itself.
  const uint64_t rate = std::max<uint64_t>(timeouts.bytes_per_second_min, 1);
  const auto bought = std::chrono::milliseconds(paid_bytes * 1'000 / rate);
  SetDeadline(std::min({deadline() + bought, now + timeouts.data_xfer, ends_at_}));
}

std::chrono::milliseconds Connection::TimeLimitOf(Session::Step step) const {
  const SmtpTimeouts& timeouts = options_.timeouts;
  switch (step) {
    case Session::Step::kGreeting:
    case Session::Step::kEhlo:
    case Session::Step::kHelo:
      return timeouts.helo;
    case Session::Step::kXforwardName:
    case Session::Step::kXforwardHelo:
      return timeouts.xforward;
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
  contents_awaited_ = false;
  while (true) {
    while (send_begin_ < send_end_) {
      std::error_code error;
      const size_t sent = socket_.write_some(
          asio::buffer(send_buffer_.get() + send_begin_, send_end_ - send_begin_), error);
      if (error) return WouldBlock(error) ? WaitWritable() : session_.Lost();
      send_begin_ += sent;
      body_bytes_unpaid_ += sent;
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
        if (session_.delays_dot() && dot_pause_ != DotPause::kOver) {
          if (send_end_ != 0) return true;
          if (dot_pause_ == DotPause::kNotYet) {
            SetDeadline(world_.clock->Monotonic() + options_.pix_delay);
          }
          dot_pause_ = DotPause::kPausing;
          return false;
        }
        send_end_ += writer_.Finish(out);
        dot_written_ = true;
        return true;
      case Contents::State::kWait:
        contents_awaited_ = send_end_ == 0;
        return send_end_ != 0;
      case Contents::State::kFailed:
        if (contents_->unfit()) {
          session_.ContentUnfit(Contents::kUnfitStatus, std::string(contents_->failure()));
        } else {
          session_.ContentFailed(contents_->failure());
        }
        return false;
    }
  }
  return true;
}

void Connection::WaitWritable() {
  if (std::exchange(waiting_writable_, true)) return;
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](const std::error_code& error) {
    self->waiting_writable_ = false;
    if (!error && self->socket_.is_open() && self->quits_ == nullptr) self->Advance();
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

void Connection::Close(const std::shared_ptr<size_t>& quits) {
  user_ = nullptr;
  ClearDeadline();
  DropContents();
  if (!socket_.is_open() || quits_ != nullptr) return;
  const Session::State state = session_.state();
  if (connected_ && session_.can_quit() &&
      (state == Session::State::kReady || state == Session::State::kDone ||
       state == Session::State::kFailed)) {
    session_.Quit();
    const bool said = FlushCommands();
    if (said && quits != nullptr && *quits < options_.quitting_connections_max) {
      quits_ = quits;
      ++*quits_;
      return SetDeadline(world_.clock->Monotonic() + options_.timeouts.quit);
    }
  }
  std::error_code ignored;
  socket_.close(ignored);
}

// Whatever the server says to QUIT, it is the end.
void Connection::EndQuit() {
  --*std::exchange(quits_, nullptr);
  ClearDeadline();
  std::error_code ignored;
  socket_.close(ignored);
}

void Connection::OnDeadline() {
  const auto self = shared_from_this();
  if (quits_ != nullptr) return EndQuit();
  if (!connected_) {
    if (dials_again_ && world_.clock->Monotonic() < connect_ends_at_) return Dial();
    return Fail("4.4.1", Concat("connect to ", relay_, ": ",
                                std::make_error_code(std::errc::timed_out).message()));
  }
  if (session_.state() == Session::State::kReady) {
    if (user_ != nullptr) user_->OnIdleOver(*this);
    return;
  }
  if (session_.state() == Session::State::kBody && dot_pause_ == DotPause::kPausing) {
    dot_pause_ = DotPause::kOver;
    return Advance();
  }
  if (session_.state() == Session::State::kBody && contents_awaited_) {
    session_.ContentFailed("message contents did not come in time");
  } else {
    session_.TimedOut();
  }
  Advance();
}

}  // namespace postfleet::delivery::smtp
