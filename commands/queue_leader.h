// The queue's replicas, for commands: which one to ask.
//
// One address is the queue; nobody is asked before the command itself. Of several, the one that
// leads is looked for (libs/submission/queue_leader.h): while replicas answer and none leads, or
// one hangs, again every kLeaderRetryInterval, for at most `wait`. Blocks so long and one answer's
// time.
//
// Errors: Unavailable when none leads (kNoLeader), DeadlineExceeded when one hangs. That nobody
// answers at all is for the command's own call to find: there is a channel then, too.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::commands {

inline constexpr std::chrono::milliseconds kLeaderRetryInterval{200};
// An election takes a second or two.
inline constexpr std::chrono::milliseconds kLeaderWaitMax{10'000};
inline constexpr char kNoLeader[] =
    "no replica of the queue leads now; see postfleet cluster status, or try again in a moment";

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenLeader(const std::vector<std::string>& addresses,
                                                          std::chrono::milliseconds wait);

}  // namespace postfleet::commands
