#include "commands/queue_address.h"

#include <unistd.h>

#include <string_view>

#include "commands/server_lock.h"
#include "libs/base/concat.h"
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

absl::StatusOr<std::string> QueueAddress(const config::Config& config, QueuePower power,
                                         uid_t user) {
  const std::string address = config.GetString("postfleet_queue_address");
  const bool on_this_machine = address.empty() || address.starts_with(kUnixPrefix);
  if (power == QueuePower::kListAndFlush && !MayAdminister(config, user)) {
    const std::string socket = Concat(config.GetString("queue_directory"), server::kPublicSocket);
    if (on_this_machine || access(socket.c_str(), F_OK) == 0) {
      return Checked("queue_directory", Concat(kUnixPrefix, socket));
    }
  }
  if (address.empty()) return ControlAddress(config);
  return Checked("postfleet_queue_address", address);
}

}  // namespace postfleet::commands
