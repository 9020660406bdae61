#include "commands/queue_address.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "commands/server_lock.h"
#include "libs/base/concat.h"
#include "libs/config/queue_addresses.h"
#include "libs/server/instance.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

absl::StatusOr<std::string> Checked(std::string_view parameter, std::string address) {
  if (!address.starts_with(kUnixPrefix)) return address;
  const std::string_view path = std::string_view(address).substr(kUnixPrefix.size());
  if (path.size() > kSocketPathBytesMax) {
    return absl::InvalidArgumentError(Concat(
        "parameter ", parameter, ": the path of a unix socket has at most ", kSocketPathBytesMax,
        " bytes, this one has ", path.size(), ": ", path, "; set a shorter one in main.cf"));
  }
  return address;
}

}  // namespace

absl::StatusOr<std::string> ControlAddress(const config::Config& config) {
  return Checked("postfleet_control_socket",
                 Concat(kUnixPrefix, config.GetString("postfleet_control_socket")));
}

absl::StatusOr<std::vector<std::string>> QueueAddresses(const config::Config& config,
                                                        QueuePower power, uid_t user) {
  std::vector<std::string> addresses = config::QueueAddressesOf(config);
  const bool on_this_machine =
      std::all_of(addresses.begin(), addresses.end(),
                  [](const std::string& address) { return address.starts_with(kUnixPrefix); });
  std::string_view parameter = "postfleet_queue_address";
  if (power == QueuePower::kListAndFlush && !MayAdminister(config, user)) {
    const std::string socket = Concat(config.GetString("queue_directory"), server::kPublicSocket);
    if (on_this_machine || access(socket.c_str(), F_OK) == 0) {
      parameter = "queue_directory";
      addresses = {Concat(kUnixPrefix, socket)};
    }
  }
  if (addresses.empty()) {
    absl::StatusOr<std::string> control = ControlAddress(config);
    if (!control.ok()) return control.status();
    return std::vector<std::string>{*std::move(control)};
  }
  for (const std::string& address : addresses) {
    if (absl::Status bad = Checked(parameter, address).status(); !bad.ok()) return bad;
  }
  return addresses;
}

}  // namespace postfleet::commands
