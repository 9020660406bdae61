// One client: a socket and its Session, on the loop.
//
// Reads go through the server's one buffer, so an idle connection has none. Replies leave with one
// send for all that was pipelined; what the kernel does not take waits here, and nothing is read
// until it is gone.
#pragma once

#include <asio/ip/tcp.hpp>
#include <chrono>
#include <list>
#include <memory>
#include <string>

#include "services/ingress/adapters/requester.h"
#include "services/ingress/core/session.h"

namespace postfleet::ingress {

class Server;
struct Listener;

class Connection : public Requester, public std::enable_shared_from_this<Connection> {
 public:
  // `stressed`: it goes by Listener::ConfigOf(true).
  Connection(Server& server, Listener& listener, bool stressed, asio::ip::tcp::socket socket,
             ConnectionFacts facts);

  void Start(bool ready);
  void OnResolved(const lookup::v1::Answer& answer) override;
  void OnFlushed(bool started) override;
  void OnEnqueued(const std::string& queue_id, bool final,
                  queue::v1::EnqueueResult::Code code) override;
  // timeout() has passed since active_at().
  void OnIdle();
  void OnShutdown();
  // At once, without a word; logs the session's end.
  void Drop();

  // When the current time limit began: with the last byte from or to the client, or, with
  // SessionConfig::per_request_deadline, with the command or reply, later by what content came.
  std::chrono::steady_clock::time_point active_at() const { return active_at_; }
  std::chrono::milliseconds timeout() const {
    return std::chrono::milliseconds(config_.timeout_ms);
  }

 private:
  friend class Server;

  template <typename Event>
  void Handle(const Event& event);
  void Perform(Actions& actions);
  void ArmRead();
  void OnReadable();
  bool ReadOnce();
  void Flush();
  void ArmWrite();
  void Touch();
  // `bytes` of content came: they allow for some more time.
  void Extend(size_t bytes);
  void StartDelay(int64_t ms);
  void AccountBuffers();
  void Close();

  Server& server_;
  Listener& listener_;
  const SessionConfig& config_;
  asio::ip::tcp::socket socket_;
  Session session_;
  std::string unsent_;
  std::unique_ptr<asio::steady_timer> delay_;
  size_t accounted_bytes_ = 0;
  std::chrono::steady_clock::time_point active_at_;
  std::list<std::shared_ptr<Connection>>::iterator place_;  // in the listener's list
  bool reading_ = false;
  bool writing_ = false;
  bool close_after_flush_ = false;
  bool closed_ = false;
};

}  // namespace postfleet::ingress
