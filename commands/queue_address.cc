#include "commands/queue_address.h"

#include <string_view>

#include "libs/base/concat.h"

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

absl::StatusOr<std::string> QueueAddress(const config::Config& config) {
  std::string address = config.GetString("postfleet_queue_address");
  if (address.empty()) return ControlAddress(config);
  return Checked("postfleet_queue_address", std::move(address));
}

}  // namespace postfleet::commands
