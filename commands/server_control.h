// Starting, stopping and signalling the server process.
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "commands/server_lock.h"

namespace postfleet::commands {

inline constexpr int kStartSecondsMax = 600;  // reading back the log after a crash is part of it
inline constexpr int kStopSecondsMax = 600;
inline constexpr int kStopWordEverySeconds = 5;

// Runs argv in a session of its own, without standard input and output. Blocks until the server
// answers health checks at `address`; what the process writes to its standard error until then is
// copied to `err`, afterwards it is lost. Errors: the program cannot be run; it ended ("exit status
// 1", "signal 9"); it did not answer in kStartSecondsMax (it runs on).
absl::Status StartServer(const std::vector<std::string>& argv, const std::string& address,
                         FILE* err);

// SIGTERM; blocks until the process is gone and the lock is free. `on_waiting` is called every
// kStopWordEverySeconds. A process that is gone already is no error.
absl::Status StopServer(const RunningServer& server, const std::function<void()>& on_waiting);

// SIGHUP.
absl::Status ReloadServer(const RunningServer& server);

// SIGTERM, without waiting for the end.
absl::Status AbortServer(const RunningServer& server);

}  // namespace postfleet::commands
