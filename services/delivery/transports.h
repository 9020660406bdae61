// The transports that a worker offers: those of master.cf whose program it has.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/config/config.h"
#include "services/delivery/delivery_service.h"

namespace postfleet::delivery {

struct TransportWorld {
  const Clock* clock = &SystemClock();
  // Connections to the privileged helper; taken over. Empty: no mailbox is delivered to.
  std::vector<int> helper_fds;
  // Where agents forward mail to, and ask for routes. nullptr: they do neither.
  std::shared_ptr<grpc::Channel> queue;
  std::shared_ptr<grpc::Channel> lookup;
  metrics::Registry* metrics = nullptr;  // outlives the agents; nullptr: nobody counts
};

// smtp and lmtp services of any name, local, virtual, pipe, bounce, error and discard under other
// names than the scheduler answers, each with its -o values and maxproc. Errors: options that
// cannot work, by name.
absl::StatusOr<std::vector<TransportAgent>> TransportsFrom(const config::Config& config,
                                                           TransportWorld world);

}  // namespace postfleet::delivery
