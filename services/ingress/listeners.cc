#include "services/ingress/listeners.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

absl::StatusOr<ListenerOptions> ListenerOf(const config::Config& config,
                                           const config::MasterService& service) {
  const absl::StatusOr<config::Config> own = config.WithOverrides(service);
  if (!own.ok()) return own.status();
  absl::StatusOr<ListenerOptions> listener = ListenerOptions::From(*own, service.name);
  if (!listener.ok()) return listener;
  listener->sessions_max = static_cast<size_t>(std::max(0, service.maxproc.value_or(0)));
  // `-o stress=` says that there is none.
  for (const auto& [name, value] : service.overrides) {
    if (name == "stress") return listener;
  }
  config::MasterService stressed = service;
  stressed.overrides.emplace_back("stress", "yes");
  const absl::StatusOr<config::Config> under_stress = config.WithOverrides(stressed);
  if (!under_stress.ok()) return under_stress.status();
  absl::StatusOr<SessionConfig> session = SessionConfig::From(*under_stress);
  if (!session.ok()) return session.status();
  listener->stressed_session = std::make_shared<const SessionConfig>(*std::move(session));
  return listener;
}

const config::MasterService* ServiceOf(const config::Config& config, const std::string& name) {
  const config::MasterService* service = config.master_cf().Find(name, config::ServiceType::kInet);
  return service != nullptr && service->command == "smtpd" ? service : nullptr;
}

// Without a launcher: the ports that this user may bind.
absl::StatusOr<std::vector<ListenerOptions>> ListenersToBind(const config::Config& config) {
  std::vector<ListenerOptions> listeners;
  for (const config::MasterService* service : config.master_cf().WithCommand("smtpd")) {
    if (service->type != config::ServiceType::kInet || !service->endpoint.has_value()) continue;
    std::vector<std::string> hosts = {service->endpoint->host};
    if (hosts[0].empty()) {
      hosts.clear();
      for (const config::InterfaceAddress& own : config.own_addresses()) {
        hosts.push_back(own.address.ToString());
      }
    }
    for (const std::string& host : hosts) {
      absl::StatusOr<ListenerOptions> listener = ListenerOf(config, *service);
      if (!listener.ok()) return listener.status();
      listener->host = host;
      listener->port = static_cast<uint16_t>(service->endpoint->port);
      listeners.push_back(*std::move(listener));
    }
  }
  if (listeners.empty()) {
    return absl::InvalidArgumentError(
        "master.cf has no inet smtpd service: there is no port to listen on");
  }
  return listeners;
}

}  // namespace

absl::StatusOr<std::vector<ListenerOptions>> ListenersFrom(
    const config::Config& config, const std::multimap<std::string, int>& listen_fds) {
  std::vector<ListenerOptions> listeners;
  if (listen_fds.empty()) return ListenersToBind(config);
  for (const auto& [name, fd] : listen_fds) {
    const config::MasterService* service = ServiceOf(config, name);
    if (service == nullptr) {
      return absl::InvalidArgumentError(Concat("a socket was passed for ", name,
                                               ", which is no inet smtpd service of master.cf"));
    }
    absl::StatusOr<ListenerOptions> listener = ListenerOf(config, *service);
    if (!listener.ok()) return listener.status();
    listener->fd = fd;
    listeners.push_back(*std::move(listener));
  }
  return listeners;
}

absl::Status AddListeners(const config::Config& config,
                          const std::multimap<std::string, int>& listen_fds, int cores_divisor,
                          IngressOptions* options) {
  options->statistics_every =
      absl::ToChronoMilliseconds(config.GetTime("anvil_status_update_time"));
  options->rate_unit_ms = absl::ToInt64Milliseconds(config.GetTime("anvil_rate_time_unit"));
  int64_t loops = config.GetInt("postfleet_ingress_loops");
  if (loops == 0) {
    loops = std::max<int64_t>(1, std::thread::hardware_concurrency() / cores_divisor);
  }
  for (int64_t i = 0; i < loops; ++i) {
    absl::StatusOr<std::vector<ListenerOptions>> listeners = ListenersFrom(config, listen_fds);
    if (!listeners.ok()) return listeners.status();
    if (i == 0) {
      options->listeners = *std::move(listeners);
    } else {
      options->further_loops.push_back(*std::move(listeners));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::function<void()>> PrepareListeners(
    const config::Config& config, const std::multimap<std::string, int>& listen_fds,
    int cores_divisor, Ingress& ingress) {
  std::multimap<std::string, int> served = listen_fds;
  std::erase_if(served, [&](const auto& one) { return ServiceOf(config, one.first) == nullptr; });
  if (served.empty() && !listen_fds.empty()) {
    return absl::InvalidArgumentError(
        "master.cf has none of the inet smtpd services any more that have a socket");
  }
  auto options = std::make_shared<IngressOptions>();
  const absl::Status added = AddListeners(config, served, cores_divisor, options.get());
  if (!added.ok()) return added;
  return [&ingress, options] { ingress.Reconfigure(std::move(*options)); };
}

}  // namespace postfleet::ingress
