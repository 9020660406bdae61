#include "services/ingress/ingress.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/runtime/event_loop.h"
#include "services/ingress/adapters/server.h"

namespace postfleet::ingress {
namespace {

constexpr int kListenBacklog = 1024;

absl::StatusOr<int> Bind(const ListenerOptions& options) {
  if (options.fd >= 0) return options.fd;
  const std::string port = std::to_string(options.port);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(options.host.empty() ? nullptr : options.host.c_str(),
                                    port.c_str(), &hints, &found)) {
    return absl::InvalidArgumentError(
        Concat("bind ", options.host, ": ", std::string_view(gai_strerror(error))));
  }
  const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  bool good = fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
  if (good && found->ai_family == AF_INET6) {
    good = ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
  }
  good = good && ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
         ::listen(fd, kListenBacklog) == 0;
  const int error = errno;
  freeaddrinfo(found);
  if (good) return fd;
  if (fd >= 0) ::close(fd);
  return absl::UnavailableError(Concat("bind ", options.host, " port ", options.port, ": ",
                                       std::string_view(strerrordesc_np(error))));
}

}  // namespace

absl::StatusOr<ListenerOptions> ListenerOptions::From(const config::Config& config,
                                                      std::string name) {
  ListenerOptions options;
  options.name = std::move(name);
  absl::StatusOr<SessionConfig> session = SessionConfig::From(config);
  if (!session.ok()) return session.status();
  options.session = *std::move(session);
  absl::StatusOr<ClientLists> clients = ClientLists::Open(config);
  if (!clients.ok()) return clients.status();
  options.clients = *std::move(clients);
  const std::string proxy = config.GetString("smtpd_upstream_proxy_protocol");
  if (!proxy.empty() && proxy != "haproxy") {
    return absl::InvalidArgumentError(
        Concat("bad parameter value: smtpd_upstream_proxy_protocol = ", proxy));
  }
  options.behind_proxy = !proxy.empty();
  options.proxy_timeout =
      absl::ToChronoMilliseconds(config.GetTime("smtpd_upstream_proxy_timeout"));
  options.log_program = maillog::ProgramOf(config.GetString("syslog_name"), "smtpd");
  return options;
}

namespace {

// A loop with its server.
struct Lane {
  explicit Lane(size_t number) : loop(number == 0 ? "ingress" : Concat("ingress", number + 1)) {}

  runtime::EventLoop loop;
  std::unique_ptr<Server> server;
};

// Takes the loop's listeners out of `options`.
IngressOptions OptionsOf(size_t loop, IngressOptions& options) {
  IngressOptions own;
  own.name = loop == 0 ? options.name : Concat(options.name, "#", loop + 1);
  own.listeners = std::move(loop == 0 ? options.listeners : options.further_loops[loop - 1]);
  own.queue = options.queue;
  own.lookup = options.lookup;
  own.clock = options.clock;
  own.metrics = options.metrics;
  own.ingress_buffer_bytes_max = options.ingress_buffer_bytes_max;
  own.sessions_max = options.sessions_max;
  return own;
}

// The same sockets for another loop.
absl::StatusOr<std::vector<int>> Duplicates(const std::vector<int>& fds) {
  std::vector<int> copies;
  for (const int fd : fds) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
      for (const int made : copies) ::close(made);
      return absl::UnavailableError(
          Concat("dup of a listening socket: ", std::string_view(strerrordesc_np(errno))));
    }
    copies.push_back(copy);
  }
  return copies;
}

}  // namespace

class Ingress::Impl {
 public:
  Impl(IngressOptions options, std::vector<std::vector<int>> fds_of_loops)
      : shared_(options.ingress_buffer_bytes_max, options.sessions_max),
        own_registry_(options.metrics == nullptr ? new metrics::Registry : nullptr) {
    shared_.ReportStatistics(options.statistics_every, options.rate_unit_ms);
    metrics::Registry& registry = own_registry_ != nullptr ? *own_registry_ : *options.metrics;
    for (size_t i = 0; i < fds_of_loops.size(); ++i) {
      auto lane = std::make_unique<Lane>(i);
      lane->server = std::make_unique<Server>(lane->loop, shared_, OptionsOf(i, options), registry,
                                              std::move(fds_of_loops[i]));
      lanes_.push_back(std::move(lane));
    }
    for (const auto& lane : lanes_) lane->loop.Start();
    for (const auto& lane : lanes_) lane->loop.RunAndWait([&] { lane->server->Start(); });
  }
  ~Impl() { Stop(); }

  bool Ready() const {
    return std::all_of(lanes_.begin(), lanes_.end(),
                       [](const auto& lane) { return lane->server->Ready(); });
  }

  bool Drain(std::chrono::milliseconds grace) {
    const auto deadline = std::chrono::steady_clock::now() + grace;
    for (const auto& lane : lanes_) lane->server->BeginDrain();
    bool drained = true;
    for (const auto& lane : lanes_) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      drained &= lane->server->WaitUntilDrained(std::max(left, std::chrono::milliseconds(0)));
    }
    return drained;
  }

  void Stop() {
    std::lock_guard lock(stop_mutex_);
    if (std::exchange(stopped_, true)) return;
    for (const auto& lane : lanes_) lane->server->Stop();
    for (const auto& lane : lanes_) lane->loop.Stop();
    for (const std::string& line : shared_.Statistics()) maillog::Info("anvil", line);
  }

  void Reconfigure(IngressOptions options) {
    shared_.ReportStatistics(options.statistics_every, options.rate_unit_ms);
    const size_t lanes = std::min(lanes_.size(), options.further_loops.size() + 1);
    for (size_t i = 0; i < lanes; ++i) {
      Lane& lane = *lanes_[i];
      lane.loop.RunAndWait([&] { lane.server->Reconfigure(OptionsOf(i, options).listeners); });
    }
  }

  std::vector<uint16_t> ports() const { return lanes_.front()->server->ports(); }

  Figures figures() const {
    Figures sum;
    for (const auto& lane : lanes_) {
      const Figures of_one = lane->server->figures();
      sum.sessions += of_one.sessions;
      sum.messages_accepted += of_one.messages_accepted;
      sum.buffered_bytes = of_one.buffered_bytes;  // of all
      sum.buffered_bytes_peak = of_one.buffered_bytes_peak;
    }
    return sum;
  }

 private:
  SharedLoad shared_;
  std::unique_ptr<metrics::Registry> own_registry_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::mutex stop_mutex_;
  bool stopped_ = false;
};

Ingress::Ingress(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ingress::~Ingress() = default;

absl::StatusOr<std::unique_ptr<Ingress>> Ingress::Start(IngressOptions options) {
  std::vector<int> fds;
  for (const ListenerOptions& listener : options.listeners) {
    absl::StatusOr<int> fd = Bind(listener);
    if (!fd.ok()) {
      for (size_t i = 0; i < fds.size(); ++i) {
        if (options.listeners[i].fd < 0) ::close(fds[i]);
      }
      return fd.status();
    }
    fds.push_back(*fd);
  }
  std::vector<std::vector<int>> fds_of_loops = {fds};
  for (size_t i = 0; i < options.further_loops.size(); ++i) {
    absl::StatusOr<std::vector<int>> copies = Duplicates(fds);
    if (!copies.ok()) return copies.status();
    fds_of_loops.push_back(*std::move(copies));
  }
  return std::unique_ptr<Ingress>(
      new Ingress(std::make_unique<Impl>(std::move(options), std::move(fds_of_loops))));
}

bool Ingress::Ready() const { return impl_->Ready(); }
bool Ingress::Drain(std::chrono::milliseconds grace) { return impl_->Drain(grace); }
void Ingress::Stop() { impl_->Stop(); }
void Ingress::Reconfigure(IngressOptions options) { impl_->Reconfigure(std::move(options)); }
std::vector<uint16_t> Ingress::ports() const { return impl_->ports(); }
Ingress::Figures Ingress::figures() const { return impl_->figures(); }

}  // namespace postfleet::ingress
