// postfleet_queue_address: where the queue is, or each of its replicas.
//
//   postfleet_queue_address = q1.example.com:7001, q2.example.com:7001
//
// An address is HOST:PORT, [IPv6]:PORT or unix:/path; they are separated by commas or white space.
// Their order means nothing: a client asks the one that leads (libs/rpc/leader_channel.h).
//
// This is the one reader. Config::Load has read it, so that a service finds no error there. Errors:
// InvalidArgument with the reason, without the parameter's name.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::config {

// Members, and as many other names of theirs.
inline constexpr size_t kQueueAddressesMax = 18;

// What is wrong with one address, "want HOST:PORT"; "": nothing.
std::string_view WrongInAddress(std::string_view address);

absl::StatusOr<std::vector<std::string>> ParseQueueAddresses(std::string_view text);

// What main.cf says: postfleet_queue_address, or the addresses of postfleet_cluster_members. Empty:
// the queue is embedded.
std::vector<std::string> QueueAddressesOf(const Config& config);

}  // namespace postfleet::config
