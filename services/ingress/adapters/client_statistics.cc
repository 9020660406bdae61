#include "services/ingress/adapters/client_statistics.h"

#include <time.h>

#include <algorithm>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

// "Nov 23 13:01:52", as ctime(3) has it.
std::string TimeText(int64_t wall_ms) {
  const time_t seconds = wall_ms / 1000;
  struct tm local;
  localtime_r(&seconds, &local);
  char text[32];
  return std::string(text, strftime(text, sizeof(text), "%b %e %H:%M:%S", &local));
}

struct Kind {
  std::string_view name;
  ClientPeak ClientRates::Peaks::*peak;
  bool is_rate;
};

constexpr Kind kKinds[] = {
    {"connection rate", &ClientRates::Peaks::connection_rate, true},
    {"connection count", &ClientRates::Peaks::connection_count, false},
    {"message rate", &ClientRates::Peaks::message_rate, true},
    {"recipient rate", &ClientRates::Peaks::recipient_rate, true},
};

}  // namespace

std::vector<std::string> StatisticsLines(const std::vector<ServicePeaks>& services,
                                         int64_t rate_unit_ms) {
  std::vector<std::string> lines;
  for (const Kind& kind : kKinds) {
    const ServicePeaks* greatest = nullptr;
    for (const ServicePeaks& service : services) {
      const int value = (service.peaks.*kind.peak).value;
      if (value > 0 && (greatest == nullptr || value > (greatest->peaks.*kind.peak).value)) {
        greatest = &service;
      }
    }
    if (greatest == nullptr) continue;
    const ClientPeak& peak = greatest->peaks.*kind.peak;
    lines.push_back(Concat("statistics: max ", kind.name, " ", peak.value,
                           kind.is_rate ? Concat("/", rate_unit_ms / 1000, "s") : "", " for (",
                           greatest->service, ":", peak.key, ") at ", TimeText(peak.at_ms)));
  }
  ClientPeak clients;
  for (const ServicePeaks& service : services) {
    clients.value += service.peaks.clients.value;
    clients.at_ms = std::max(clients.at_ms, service.peaks.clients.at_ms);
  }
  if (clients.value > 0) {
    lines.push_back(
        Concat("statistics: max cache size ", clients.value, " at ", TimeText(clients.at_ms)));
  }
  return lines;
}

}  // namespace postfleet::ingress
