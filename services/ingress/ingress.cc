#include "services/ingress/ingress.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "libs/base/concat.h"
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
  // syslog_name "postfix/submission" writes "postfix/submission/smtpd".
  const std::string syslog_name = config.GetString("syslog_name");
  const size_t slash = syslog_name.find('/');
  if (slash != std::string::npos) {
    options.log_program = Concat(std::string_view(syslog_name).substr(slash + 1), "/smtpd");
  }
  return options;
}

class Ingress::Impl {
 public:
  Impl(IngressOptions options, std::vector<int> fds)
      : loop_("ingress"),
        own_registry_(options.metrics == nullptr ? new metrics::Registry : nullptr),
        server_(new Server(loop_, std::move(options),
                           own_registry_ != nullptr ? *own_registry_ : *options.metrics,
                           std::move(fds))) {
    loop_.Start();
    loop_.RunAndWait([this] { server_->Start(); });
  }
  ~Impl() { Stop(); }

  void Stop() {
    std::lock_guard lock(stop_mutex_);
    if (std::exchange(stopped_, true)) return;
    server_->Stop();
    loop_.Stop();
  }

  Server& server() { return *server_; }

 private:
  runtime::EventLoop loop_;
  std::unique_ptr<metrics::Registry> own_registry_;
  std::unique_ptr<Server> server_;
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
  return std::unique_ptr<Ingress>(
      new Ingress(std::make_unique<Impl>(std::move(options), std::move(fds))));
}

bool Ingress::Ready() const { return impl_->server().Ready(); }
bool Ingress::Drain(std::chrono::milliseconds grace) { return impl_->server().Drain(grace); }
void Ingress::Stop() { impl_->Stop(); }
std::vector<uint16_t> Ingress::ports() const { return impl_->server().ports(); }
Ingress::Figures Ingress::figures() const { return impl_->server().figures(); }

}  // namespace postfleet::ingress
