// The part of the privileged helper that stays: starts the worker, hands the server the
// connections to it, and starts another one when it has ended, however that was.
//
// The server has given up its privileges and could start nothing as root; the supervisor has kept
// them and does nothing but that. It has one thread, holds no connection of a worker and reads
// nothing: from the server it takes one thing only, that its socket was closed. Then it waits for
// the worker, whose connections are closed too, and ends.
//
// A worker that ended is followed by the next one after RestartDelay. A message that was being
// delivered when it ended is answered Unavailable to the server (helper_connections.h) and tried
// again later: it may come twice, but is neither lost nor half in new/. Its file in tmp/ stays, as
// after a power failure.
#pragma once

#include <chrono>

#include "services/delivery/privileged/spawn.h"

namespace postfleet::delivery::privileged {

inline constexpr std::chrono::milliseconds kRestartDelayMin{100};
inline constexpr std::chrono::milliseconds kRestartDelayMax{30'000};
// A worker that lived so long has worked: the next one's delay begins at the minimum again.
inline constexpr std::chrono::milliseconds kWorkedAtLeast{60'000};

// How long to wait after a worker that lived for `lived`; `last` is what this returned for the one
// before, 0 at first.
std::chrono::milliseconds RestartDelay(std::chrono::milliseconds last,
                                       std::chrono::milliseconds lived);

// Returns once the other end of `server`, a SOCK_SEQPACKET socket, is closed and the worker has
// ended.
void Supervise(int server, const SpawnOptions& worker);

}  // namespace postfleet::delivery::privileged
