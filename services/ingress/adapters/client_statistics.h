// The lines of anvil(8): the most that one client did, each anvil_status_update_time and at the
// end.
//
//   postfix/anvil[4711]: statistics: max connection rate 3/60s for (smtp:192.0.2.1) at Nov 23
//   13:01:52 postfix/anvil[4711]: statistics: max connection count 2 for (smtp:192.0.2.1) at Nov 23
//   13:01:52 postfix/anvil[4711]: statistics: max cache size 7 at Nov 23 13:01:52
//
// Of all services together; "cache size" is the number of clients that were remembered at once, the
// sum over the services. Nothing is said while nothing was counted: a service without limits counts
// nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/ingress/core/client_rates.h"

namespace postfleet::ingress {

struct ServicePeaks {
  std::string service;
  ClientRates::Peaks peaks;
};

// The lines without their program. Times are wall milliseconds; they are shown as local time.
std::vector<std::string> StatisticsLines(const std::vector<ServicePeaks>& services,
                                         int64_t rate_unit_ms);

}  // namespace postfleet::ingress
