// The transports that a worker offers: those of master.cf whose program it has.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/config/config.h"
#include "libs/rpc/leader_channel.h"
#include "services/delivery/delivery_service.h"

namespace postfleet::delivery {

class SharedMailboxes;

struct TransportWorld {
  const Clock* clock = &SystemClock();
  // The connections to the privileged helper; none: no mailbox is delivered to.
  std::weak_ptr<SharedMailboxes> mailboxes;
  // Where agents forward mail to, and ask for routes. nullptr: they do neither.
  rpc::LeaderChannel queue;
  std::shared_ptr<grpc::Channel> lookup;
  metrics::Registry* metrics = nullptr;  // outlives the agents; nullptr: nobody counts
};

// Takes over the connections to the privileged helper. One for all the transports that a process
// offers one after the other: DeliveryOptions::shared.
std::shared_ptr<SharedMailboxes> ShareMailboxes(std::vector<int> helper_fds);

// smtp and lmtp services of any name, local, virtual, pipe, bounce, error and discard under other
// names than the scheduler answers, each with its -o values and maxproc. Errors: options that
// cannot work, by name.
absl::StatusOr<std::vector<TransportAgent>> TransportsFrom(const config::Config& config,
                                                           TransportWorld world);

// What has `delivery` offer the transports of another configuration. Errors: as TransportsFrom.
absl::StatusOr<std::function<void()>> PrepareTransports(const config::Config& config,
                                                        TransportWorld world,
                                                        DeliveryService& delivery);

}  // namespace postfleet::delivery
