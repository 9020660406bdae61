#include "services/ingress/listeners.h"

#include "libs/base/concat.h"

namespace postfleet::ingress {

absl::StatusOr<std::vector<ListenerOptions>> ListenersFrom(
    const config::Config& config, const std::multimap<std::string, int>& listen_fds) {
  std::vector<ListenerOptions> listeners;
  for (const auto& [name, fd] : listen_fds) {
    const config::MasterService* service =
        config.master_cf().Find(name, config::ServiceType::kInet);
    if (service == nullptr || service->command != "smtpd") {
      return absl::InvalidArgumentError(Concat("a socket was passed for ", name,
                                               ", which is no inet smtpd service of master.cf"));
    }
    const absl::StatusOr<config::Config> own = config.WithOverrides(*service);
    if (!own.ok()) return own.status();
    absl::StatusOr<ListenerOptions> listener = ListenerOptions::From(*own, name);
    if (!listener.ok()) return listener.status();
    listener->fd = fd;
    listeners.push_back(*std::move(listener));
  }
  return listeners;
}

}  // namespace postfleet::ingress
