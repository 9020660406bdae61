#include "services/ingress/adapters/server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/dns/native_resolver.h"

namespace postfleet::ingress {
namespace {

constexpr size_t kReadBufferBytes = 64 * 1024;
// Connections taken in one turn of the loop.
constexpr int kAcceptsMax = 64;
constexpr std::chrono::milliseconds kSweepInterval{1000};
constexpr std::chrono::minutes kStressWarningEvery{1};
// Before the next try when the process is out of descriptors.
constexpr std::chrono::milliseconds kAcceptPause{100};

uint16_t PortOf(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

uint16_t PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return PortOf(address);
}

// An inherited socket may block: an accept too many would stop the loop.
int NonBlocking(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return fd;
}

std::string IdentityOf(const ListenerOptions& options) {
  return options.fd >= 0 ? Concat("fd ", options.fd) : Concat(options.host, " port ", options.port);
}

config::IpAddress AddressOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET6) {
    return config::IpAddress::FromV6(
        reinterpret_cast<const sockaddr_in6&>(address).sin6_addr.s6_addr);
  }
  uint8_t bytes[4];
  std::copy_n(reinterpret_cast<const uint8_t*>(
                  &reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr),
              4, bytes);
  return config::IpAddress::FromV4(bytes);
}

}  // namespace

Listener::Listener(runtime::EventLoop& loop, metrics::Registry& registry, ListenerOptions options,
                   int listening_fd)
    : identity(IdentityOf(options)),
      service(options.name),
      log_program(std::move(options.log_program)),
      session_config(std::move(options.session)),
      stressed_config(std::move(options.stressed_session)),
      behind_proxy(options.behind_proxy),
      proxy_timeout(options.proxy_timeout),
      clients(std::move(options.clients)),
      socket(loop.io(), NonBlocking(listening_fd)),
      port(PortOf(listening_fd)),
      metrics(registry, options.name) {}

Server::Server(runtime::EventLoop& loop, SharedLoad& shared, IngressOptions options,
               metrics::Registry& registry, std::vector<int> listening_fds)
    : loop_(loop),
      options_(std::move(options)),
      shared_(shared),
      registry_(registry),
      enqueue_(loop,
               {.name = options_.name,
                .channel = options_.queue,
                .clock = options_.clock,
                .resend_max = kResendMax,
                .on_change = [this] { OnLinkChange(); }},
               shared_.budget()),
      resolve_(loop, options_.lookup, *options_.clock, [this] { OnLinkChange(); }),
      resolver_(std::make_unique<dns::NativeResolver>(loop.io()), registry, *options_.clock),
      names_(resolver_, *options_.clock),
      sweep_(loop),
      first_ready_(loop),
      accept_again_(loop),
      read_buffer_(kReadBufferBytes, '\0') {
  auto& listeners = const_cast<IngressOptions&>(options_).listeners;
  for (size_t i = 0; i < listeners.size(); ++i) {
    listeners_.push_back(Listen(std::move(listeners[i]), listening_fds[i]));
    ports_.push_back(listeners_.back()->port);
  }
  shared_.OnRoom([this] {
    loop_.Post([this] {
      for (const auto& listener : listeners_) ArmAccept(*listener);
    });
  });
}

Server::~Server() = default;

std::unique_ptr<Listener> Server::Listen(ListenerOptions options, int listening_fd) {
  const size_t sessions_max =
      options.sessions_max > 0 ? options.sessions_max : options_.sessions_max;
  auto listener = std::make_unique<Listener>(loop_, registry_, std::move(options), listening_fd);
  listener->ceiling = shared_.CeilingOf(listener->service, sessions_max);
  const ClientLimits& limits = listener->session_config.client_limits;
  if (limits.any()) listener->rates = shared_.RatesOf(listener->session_config.service, limits);
  return listener;
}

void Server::Reconfigure(std::vector<ListenerOptions> listeners) {
  if (draining_) return;
  std::vector<std::unique_ptr<Listener>> begun;
  for (const auto& old : listeners_) {
    if (std::exchange(old->retired, true)) continue;
    const auto options =
        std::find_if(listeners.begin(), listeners.end(),
                     [&](const ListenerOptions& one) { return IdentityOf(one) == old->identity; });
    if (options == listeners.end()) {
      std::error_code ignored;
      old->socket.close(ignored);
    } else {
      begun.push_back(Listen(std::move(*options), old->socket.release()));
      listeners.erase(options);
    }
  }
  for (const ListenerOptions& closed : listeners) {
    maillog::Warning("master", "ignoring service ", closed.name,
                     " inet of master.cf: its port is closed; to open it, stop and start Postfix");
  }
  for (auto& listener : begun) {
    listeners_.push_back(std::move(listener));
    ArmAccept(*listeners_.back());
  }
  DropRetired();
}

void Server::DropRetired() {
  std::erase_if(listeners_, [](const auto& listener) {
    return listener->retired && listener->sessions == 0 && !listener->accepting;
  });
}

void Server::Start() {
  enqueue_.Start();
  resolve_.Start();
  first_ready_.Set(kFirstReadyWait, [this] { StartAccepting(); });
  Sweep();
}

void Server::OnLinkChange() {
  const bool ready = enqueue_.connected() && resolve_.connected();
  ready_.store(ready, std::memory_order_release);
  if (ready) StartAccepting();
}

void Server::StartAccepting() {
  if (accepting_ || draining_) return;
  accepting_ = true;
  first_ready_.Cancel();
  for (const auto& listener : listeners_) ArmAccept(*listener);
}

bool Server::MayAccept(const Listener& listener) const {
  return !draining_ && !listener.retired && !shared_.all().Full() && !listener.ceiling->Full();
}

void Server::ArmAccept(Listener& listener) {
  if (listener.accepting || !accepting_ || !MayAccept(listener)) return;
  listener.accepting = true;
  listener.socket.async_wait(asio::posix::stream_descriptor::wait_read,
                             [this, &listener](const std::error_code& error) {
                               listener.accepting = false;
                               if (listener.retired) return DropRetired();
                               if (!error) Accept(listener);
                             });
}

void Server::Accept(Listener& listener) {
  for (int i = 0; i < kAcceptsMax && MayAccept(listener); ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    const int fd = ::accept4(listener.socket.native_handle(), reinterpret_cast<sockaddr*>(&address),
                             &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(listener, fd, address);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      maillog::Warning(listener.log_program, "accept: ", std::string_view(strerrordesc_np(errno)));
      accept_again_.Set(kAcceptPause, [this] {
        for (const auto& waiting : listeners_) ArmAccept(*waiting);
      });
      return;
    }
    break;  // EAGAIN
  }
  ArmAccept(listener);
}

void Server::Admit(Listener& listener, int fd, const sockaddr_storage& address) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const bool v6 = address.ss_family == AF_INET6;
  asio::ip::tcp::socket socket(loop_.io());
  std::error_code error;
  socket.assign(v6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), fd, error);
  if (error) {
    ::close(fd);
    return;
  }
  auto arrival = std::make_shared<Arrival>(*this, listener, std::move(socket), AddressOf(address),
                                           PortOf(address));
  sessions_.fetch_add(1, std::memory_order_relaxed);
  shared_.all().Enter();
  listener.ceiling->Enter();
  ++listener.sessions;
  arrival->place_ = arrivals_.insert(arrivals_.end(), arrival);
  arrival->Start();
}

void Server::Begin(Arrival& arrival, Listener& listener, asio::ip::tcp::socket socket,
                   ConnectionFacts facts) {
  arrivals_.erase(arrival.place_);
  auto connection = std::make_shared<Connection>(*this, listener, BeginsStressed(listener),
                                                 std::move(socket), std::move(facts));
  connection->place_ = listener.connections.insert(listener.connections.end(), connection);
  connection->Start(enqueue_.NextQueueIdIsKnown());
  if (draining_) connection->OnShutdown();
}

void Server::Abandon(Arrival& arrival, Listener& listener) {
  arrivals_.erase(arrival.place_);
  Left(listener);
}

bool Server::BeginsStressed(Listener& listener) {
  SessionCeiling& ceiling = *listener.ceiling;
  if (!ceiling.Stressed()) return false;
  if (ceiling.MayWarn(options_.clock->Monotonic(), kStressWarningEvery)) {
    maillog::Warning("master", "service \"", listener.service, "\" has ", ceiling.sessions(),
                     " sessions of at most ", ceiling.sessions_max(),
                     ": new ones have the limits of stress; see STRESS_README");
  }
  return true;
}

void Server::Closed(Connection& connection, Listener& listener) {
  listener.connections.erase(connection.place_);
  Left(listener);
}

void Server::Left(Listener& listener) {
  const bool were_full = shared_.all().Leave();
  const bool was_full = listener.ceiling->Leave();
  {
    std::lock_guard lock(drain_mutex_);
    sessions_.fetch_sub(1, std::memory_order_relaxed);
  }
  drained_.notify_all();
  if (were_full || was_full) shared_.TellOfRoom();
  // Posted: its session is still ending.
  if (--listener.sessions == 0 && listener.retired) loop_.Post([this] { DropRetired(); });
}

void Server::Sweep() {
  enqueue_.GiveUpOld();
  resolve_.GiveUpOld();
  for (const std::string& line : shared_.StatisticsDue(options_.clock->Monotonic())) {
    maillog::Info("anvil", line);
  }
  std::chrono::milliseconds interval = kSweepInterval;
  for (const auto& listener : listeners_) {
    for (const bool stressed : {false, true}) {
      const std::chrono::milliseconds timeout(listener->ConfigOf(stressed).timeout_ms);
      interval = std::min(interval, std::max(timeout / 2, std::chrono::milliseconds(1)));
    }
    const auto now = options_.clock->Monotonic();
    std::vector<std::shared_ptr<Connection>> idle;
    for (const std::shared_ptr<Connection>& connection : listener->connections) {
      if (now - connection->active_at() >= connection->timeout()) idle.push_back(connection);
    }
    for (const std::shared_ptr<Connection>& connection : idle) connection->OnIdle();
  }
  sweep_.Set(interval, [this] { Sweep(); });
}

void Server::BeginDrain() {
  loop_.RunAndWait([this] {
    draining_ = true;
    for (const auto& listener : listeners_) {
      std::error_code ignored;
      listener->socket.close(ignored);
      const auto connections = listener->connections;
      for (const auto& connection : connections) connection->OnShutdown();
    }
  });
}

bool Server::WaitUntilDrained(std::chrono::milliseconds grace) {
  std::unique_lock lock(drain_mutex_);
  return drained_.wait_for(lock, grace, [this] { return sessions_.load() == 0; });
}

void Server::DropAll() {
  while (!arrivals_.empty()) std::shared_ptr(arrivals_.front())->Drop();
  for (const auto& listener : listeners_) {
    std::error_code ignored;
    listener->socket.close(ignored);
    const auto connections = listener->connections;
    for (const auto& connection : connections) connection->Drop();
  }
}

void Server::Stop() {
  loop_.RunAndWait([this] {
    draining_ = true;
    sweep_.Cancel();
    first_ready_.Cancel();
    accept_again_.Cancel();
    DropAll();
  });
  resolve_.Stop();
  enqueue_.Stop();
  ready_ = false;
}

Ingress::Figures Server::figures() const {
  return {.sessions = sessions_.load(),
          .buffered_bytes = shared_.budget().bytes(),
          .buffered_bytes_peak = shared_.budget().peak(),
          .messages_accepted = accepted_.load()};
}

}  // namespace postfleet::ingress
