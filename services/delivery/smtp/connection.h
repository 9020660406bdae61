// One connection, TCP or of a unix socket, with its session: moves bytes between the socket and
// core/session.h, and keeps its time limits.
//
// A connection has a user (an attempt, or the cache) that is told when the session's state is its
// to act on: kReady, kDone, kFailed. A read is always open, so that a server that hangs up or
// speaks early is noticed at once, and no write can block both sides. Commands go out in one send
// for each group, the body in sends of kSendBufferBytes, the dot with the last of it.
//
// A unix socket whose queue of connections is full refuses at once; it is asked again every
// kBacklogRetry until the time to connect is over.
//
// Time limits are for each read and write, or, per_request, for what a reply needs, as Postfix's
// smtp_per_request_deadline: trickled bytes win no time.
#pragma once

#include <array>
#include <asio/generic/stream_protocol.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libs/smtp/data_writer.h"
#include "services/delivery/smtp/contents.h"
#include "services/delivery/smtp/core/session.h"
#include "services/delivery/smtp/deadlines.h"
#include "services/delivery/smtp/host_tables.h"
#include "services/delivery/smtp/smtp_agent.h"

namespace postfleet::delivery::smtp {

class Connection;

// What a connection is made for.
struct ConnectionPurpose {
  std::string queue_id;
  int64_t arrival_ms = 0;
  // See SessionOptions.
  bool is_best_host = true;
  bool detect_loop = false;
};

class ConnectionUser {
 public:
  virtual ~ConnectionUser() = default;
  // The connection could not be made: "connect to mx.example[192.0.2.1]:25: Connection refused".
  virtual void OnUnreachable(Connection& connection, const char* status,
                             const std::string& why) = 0;
  // session().state() is kReady, kDone or kFailed. The last thing that the connection does before
  // it returns to its loop.
  virtual void OnSession(Connection& connection) = 0;
  // The time given to Idle is over; kReady still.
  virtual void OnIdleOver(Connection& connection) = 0;
};

// What the connection's base class refers to, so it must be let go last.
struct KeepsParts {
  std::shared_ptr<const void> parts;
};

class Connection : public std::enable_shared_from_this<Connection>,
                   private KeepsParts,
                   public TimeLimited {
 public:
  static constexpr size_t kSendBufferBytes = 32 * 1024;
  static constexpr size_t kReadBufferBytes = 4 * 1024;
  static constexpr std::chrono::milliseconds kBacklogRetry{100};

  // `parts` own what the references refer to: a closed connection may live until its loop has let
  // go of it.
  Connection(std::shared_ptr<const void> parts, const SmtpOptions& options, const SmtpWorld& world,
             HostTables& tables, Deadlines& deadlines, std::string destination,
             const Candidate& host, const ConnectionPurpose& purpose);

  void Connect(ConnectionUser* user);
  // kReady only. The contents must live until the state is kDone.
  void Begin(Transaction transaction, Contents* contents);
  // kDone, session().reusable(): becomes kReady (the user is told), or fails.
  void Reset();
  // Ends the transaction that runs (the user is told), unless the dot may be on its way.
  void Cancel();
  bool in_transaction() const { return transactions_ != 0; }
  // Says QUIT if the server would listen, and closes: at once, or, where `quits` counts those that
  // wait and it may be one of them, when the reply is there or its time is over. No user is told.
  void Close(const std::shared_ptr<size_t>& quits = nullptr);
  // OnIdleOver comes at `until`; OnSession with kFailed when the server hangs up before.
  void Idle(std::chrono::steady_clock::time_point until) { SetDeadline(until); }

  void set_user(ConnectionUser* user) { user_ = user; }
  Session& session() { return session_; }
  const std::string& destination() const { return destination_; }
  const Candidate& host() const { return host_; }
  const std::string& relay() const { return relay_; }
  std::chrono::steady_clock::time_point opened_at() const { return opened_at_; }
  size_t transactions() const { return transactions_; }
  bool reused() const { return transactions_ > 1; }
  // What failed was ours: a table, a socket, contents that did not come. It says nothing of the
  // server.
  bool our_failure() const { return our_failure_ || session_.our_failure(); }

  void OnDeadline() override;

 private:
  // False: the connection must not be made.
  bool Bind(std::error_code* error);
  void Dial();
  void DialUnixSocket();
  void OnConnected(const std::error_code& error);
  void Read();
  void OnRead(const std::error_code& error, size_t bytes);
  void Advance();
  std::chrono::milliseconds TimeLimitOf(Session::Step step) const;
  void CountReplies(std::string_view bytes);
  void ExtendDeadline();
  void EndQuit();
  bool FlushCommands();
  // Until all is with the system, the socket takes no more, or contents are awaited; or the session
  // has failed.
  void SendBody();
  // True: there is something to send.
  bool FillSendBuffer();
  void LogNotes();
  void WaitWritable();
  void DropContents();
  void Fail(const char* status, const std::string& why);
  // Of our own.
  void FailHere(const char* status, const std::string& why);

  const SmtpOptions& options_;
  const SmtpWorld& world_;
  const std::string destination_;
  const Candidate host_;
  const std::string relay_;
  // What tables say of the host; not known: no connection.
  absl::Status prepared_;
  asio::generic::stream_protocol::socket socket_;
  Session session_;
  ConnectionUser* user_ = nullptr;
  asio::generic::stream_protocol::endpoint endpoint_;
  bool connected_ = false;
  // The server had no room; the deadline is that of the next try.
  bool dials_again_ = false;
  std::chrono::steady_clock::time_point connect_ends_at_;
  bool our_failure_ = false;
  bool waiting_writable_ = false;
  std::chrono::steady_clock::time_point opened_at_;
  size_t transactions_ = 0;
  // Counted in it: QUIT was said, the reply is awaited.
  std::shared_ptr<size_t> quits_;
  // What the deadline was set for.
  Session::Step timed_step_ = Session::Step::kGreeting;
  size_t timed_replies_ = 0;
  // Per request only.
  size_t replies_ = 0;
  size_t reply_column_ = 0;
  bool reply_goes_on_ = false;
  // The end of an attempt or transaction that never ends.
  std::chrono::steady_clock::time_point ends_at_;
  uint64_t body_bytes_unpaid_ = 0;

  // Of the body that is being sent.
  Contents* contents_ = nullptr;
  postfleet::smtp::DataWriter writer_;
  bool dot_written_ = false;  // to the send buffer
  bool contents_awaited_ = false;
  // smtp_pix_workarounds: the dot waits for the deadline, or has waited.
  enum class DotPause { kNotYet, kPausing, kOver } dot_pause_ = DotPause::kNotYet;
  std::unique_ptr<char[]> send_buffer_;
  size_t send_begin_ = 0;
  size_t send_end_ = 0;

  std::array<char, kReadBufferBytes> read_buffer_;
};

}  // namespace postfleet::delivery::smtp
