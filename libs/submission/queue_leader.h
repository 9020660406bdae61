// The calls by which a client of the queue finds the replica that leads (libs/rpc/leader_channel.h)
// and is known to it. `done` comes on any thread. At most kAnswerMax and a moment, whoever hangs.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "libs/rpc/leader_channel.h"
#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::submission {

inline constexpr std::chrono::milliseconds kAnswerMax{5'000};
// Where another replica can be asked instead. What waits for a stream waits for this too.
inline constexpr std::chrono::milliseconds kSignOfLifeMax{1'000};

// Changes nothing. If its answer is OK, `queue.leader()` served a moment ago.
void FindLeader(const rpc::LeaderChannel& queue,
                std::function<void(const rpc::LeaderAnswer&)> done);

// A new incarnation for `name`. It is every replica's: leaders come and go, an incarnation is kept
// until the queue says EXPIRED. A lost answer costs one that nobody uses. nullptr: not now.
void Register(const rpc::LeaderChannel& queue, const std::string& name,
              std::function<void(const queue::v1::RegisterResponse*)> done);

}  // namespace postfleet::submission
