#include "libs/config/queue_addresses.h"

#include <algorithm>
#include <cstdint>

#include "libs/base/concat.h"
#include "libs/config/cluster_members.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr int64_t kPortMax = 65'535;

}  // namespace

std::string_view WrongInAddress(std::string_view address) {
  if (address.starts_with(kUnixPrefix)) {
    return address.substr(kUnixPrefix.size()).starts_with('/') ? "" : "want unix:/path";
  }
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return "no port; want HOST:PORT";
  const std::string_view host = address.substr(0, colon), port = address.substr(colon + 1);
  const bool bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
  if (host.empty()) return "no host; want HOST:PORT";
  if (!bracketed && host.find_first_of(":[]") != std::string_view::npos) {
    return "want an IPv6 address in brackets: [2001:db8::1]:PORT";
  }
  const absl::StatusOr<int64_t> number = ParseInteger(port);
  return number.ok() && *number > 0 && *number <= kPortMax ? "" : "want a port of 1 to 65535";
}

absl::StatusOr<std::vector<std::string>> ParseQueueAddresses(std::string_view text) {
  std::vector<std::string> addresses = SplitList(text);
  for (auto address = addresses.begin(); address != addresses.end(); ++address) {
    std::string_view wrong = WrongInAddress(*address);
    if (std::find(addresses.begin(), address, *address) != address) wrong = "it is listed twice";
    if (wrong.empty()) continue;
    return absl::InvalidArgumentError(Concat("bad address \"", *address, "\": ", wrong));
  }
  if (addresses.size() > kQueueAddressesMax) {
    return absl::InvalidArgumentError(
        Concat(addresses.size(), " addresses; there may be ", kQueueAddressesMax));
  }
  return addresses;
}

std::vector<std::string> QueueAddressesOf(const Config& config) {
  // Load has refused what cannot be read; commands, which go on without, find none then.
  std::vector<std::string> addresses =
      ParseQueueAddresses(config.GetString("postfleet_queue_address"))
          .value_or(std::vector<std::string>());
  if (!addresses.empty()) return addresses;
  for (ClusterMember& member : ClusterMembersOf(config)) {
    addresses.push_back(std::move(member.address));
  }
  return addresses;
}

}  // namespace postfleet::config
