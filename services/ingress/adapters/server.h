// The listeners of one loop and what their sessions share: the loop's read buffer, the clients of
// queue and lookup. What all loops share is SharedLoad. On the loop, but for what is marked.
#pragma once

#include <asio/ip/tcp.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libs/dns/metered_resolver.h"
#include "libs/message/local_time.h"
#include "libs/routing/resolve_client.h"
#include "libs/submission/enqueue_client.h"
#include "services/ingress/adapters/arrival.h"
#include "services/ingress/adapters/client_names.h"
#include "services/ingress/adapters/connection.h"
#include "services/ingress/adapters/session_metrics.h"
#include "services/ingress/adapters/shared_load.h"
#include "services/ingress/ingress.h"

namespace postfleet::ingress {

// A socket, and what the sessions go by that begin there. Another configuration makes another one
// of the same socket; this one ends with its last session.
struct Listener {
  Listener(runtime::EventLoop& loop, metrics::Registry& registry, ListenerOptions options,
           int listening_fd);

  // What a session that begins now goes by.
  const SessionConfig& ConfigOf(bool stressed) const {
    return stressed && stressed_config != nullptr ? *stressed_config : session_config;
  }

  const std::string identity;  // of its socket over configurations
  const std::string service;   // of master.cf
  const std::string log_program;
  const SessionConfig session_config;
  const std::shared_ptr<const SessionConfig> stressed_config;  // null: as without stress
  std::shared_ptr<SessionCeiling> ceiling;                     // of its service
  const bool behind_proxy;
  const std::chrono::milliseconds proxy_timeout;
  ClientLists clients;
  asio::posix::stream_descriptor socket;
  const uint16_t port;
  bool accepting = false;
  bool retired = false;
  size_t sessions = 0;  // arrivals and connections
  ListenerMetrics metrics;
  std::shared_ptr<ClientRates> rates;  // of its service; null: no limits
  std::list<std::shared_ptr<Connection>> connections;
};

class Server : public Surroundings {
 public:
  // Takes the descriptors over. `shared` outlives it.
  Server(runtime::EventLoop& loop, SharedLoad& shared, IngressOptions options,
         metrics::Registry& registry, std::vector<int> listening_fds);
  ~Server() override;

  void Start();
  // IngressOptions of a new configuration: these listeners, by their sockets.
  void Reconfigure(std::vector<ListenerOptions> listeners);
  // From other threads; the loop runs.
  void BeginDrain();
  // True: all sessions have ended within `grace`.
  bool WaitUntilDrained(std::chrono::milliseconds grace);
  void Stop();
  bool Ready() const { return ready_.load(std::memory_order_acquire); }
  Ingress::Figures figures() const;
  std::vector<uint16_t> ports() const { return ports_; }

  // Surroundings.
  int64_t WallMillis() override { return options_.clock->WallMillis(); }
  message::MailTime MailTimeAt(int64_t wall_ms) override { return local_time_.At(wall_ms); }
  bool QueueIsThere() override { return enqueue_.connected(); }
  std::string NextQueueId() override { return enqueue_.NextQueueId(); }
  bool DiskNearlyFull() override { return enqueue_.disk_nearly_full(); }
  bool QueueIsBehind() override { return enqueue_.behind(); }
  bool BuffersFull() override { return shared_.budget().Full(); }

  // For connections.
  const Clock& clock() const { return *options_.clock; }
  Actions& actions() { return actions_; }
  std::string& read_buffer() { return read_buffer_; }
  submission::EnqueueClient& enqueue() { return enqueue_; }
  routing::ResolveClient& resolve() { return resolve_; }
  submission::BufferBudget& budget() { return shared_.budget(); }
  void CountAccepted() { accepted_.fetch_add(1, std::memory_order_relaxed); }
  void Closed(Connection& connection, Listener& listener);

  // For arrivals.
  ClientNames& names() { return names_; }
  void Begin(Arrival& arrival, Listener& listener, asio::ip::tcp::socket socket,
             ConnectionFacts facts);
  void Abandon(Arrival& arrival, Listener& listener);

 private:
  std::unique_ptr<Listener> Listen(ListenerOptions options, int listening_fd);
  void DropRetired();
  void OnLinkChange();
  void StartAccepting();
  void ArmAccept(Listener& listener);
  void Accept(Listener& listener);
  void Admit(Listener& listener, int fd, const sockaddr_storage& address);
  bool MayAccept(const Listener& listener) const;
  // A session is over.
  void Left(Listener& listener);
  bool BeginsStressed(Listener& listener);
  void Sweep();
  void DropAll();

  runtime::EventLoop& loop_;
  const IngressOptions options_;
  SharedLoad& shared_;
  metrics::Registry& registry_;
  submission::EnqueueClient enqueue_;
  routing::ResolveClient resolve_;
  dns::MeteredResolver resolver_;
  ClientNames names_;
  message::LocalTime local_time_;
  std::list<std::shared_ptr<Arrival>> arrivals_;
  std::vector<std::unique_ptr<Listener>> listeners_;  // retired ones too
  std::vector<uint16_t> ports_;
  runtime::Timer sweep_;
  runtime::Timer first_ready_;
  runtime::Timer accept_again_;
  Actions actions_;
  std::string read_buffer_;
  bool accepting_ = false;
  bool draining_ = false;

  std::atomic<bool> ready_{false};
  std::atomic<uint64_t> accepted_{0};
  std::atomic<size_t> sessions_{0};
  std::mutex drain_mutex_;
  std::condition_variable drained_;  // sessions_ became 0
};

}  // namespace postfleet::ingress
