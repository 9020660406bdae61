#include "services/delivery/privileged/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "services/delivery/privileged/connection_passing.h"

namespace postfleet::delivery::privileged {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds Since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

// Until the server's end is closed (true), the worker has ended, or `most` is over (-1 ms: never).
// No worker: -1.
bool WaitForServersEnd(int server, int worker, milliseconds most) {
  const steady_clock::time_point begin = steady_clock::now();
  for (;;) {
    const milliseconds left = most - Since(begin);
    const int timeout =
        most.count() < 0 ? -1 : static_cast<int>(std::max<int64_t>(left.count(), 0));
    // No events are asked for: a closed end is told all the same, and what was written is not.
    struct pollfd watched[] = {{.fd = server, .events = 0, .revents = 0},
                               {.fd = worker, .events = POLLIN, .revents = 0}};
    const int ready = poll(watched, 2, timeout);
    if (ready < 0 && errno == EINTR) continue;
    return ready < 0 || watched[0].revents != 0;
  }
}

void WaitForEnd(pid_t pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// One worker, from its start to its end. True: the server has gone.
bool RunWorker(int server, const SpawnOptions& options) {
  HelperProcess worker = SpawnWorker(options);
  if (!worker.error.empty()) return WaitForServersEnd(server, -1, milliseconds(0));
  const int ended = static_cast<int>(syscall(SYS_pidfd_open, worker.pid, 0));
  if (ended >= 0) SendConnections(server, {worker.pid, worker.sockets});
  // Now they are the server's alone. Where they were not sent, the worker has none and ends.
  for (int socket : worker.sockets) close(socket);
  const bool server_gone = ended < 0 ? WaitForServersEnd(server, -1, milliseconds(0))
                                     : WaitForServersEnd(server, ended, milliseconds(-1));
  WaitForEnd(worker.pid);
  if (ended >= 0) close(ended);
  return server_gone;
}

}  // namespace

milliseconds RestartDelay(milliseconds last, milliseconds lived) {
  if (last == milliseconds(0) || lived >= kWorkedAtLeast) return kRestartDelayMin;
  return std::min(2 * last, kRestartDelayMax);
}

void Supervise(int server, const SpawnOptions& worker) {
  signal(SIGCHLD, SIG_DFL);  // ignored, nobody could be waited for
  milliseconds delay{0};
  for (;;) {
    const steady_clock::time_point begin = steady_clock::now();
    if (RunWorker(server, worker)) return;
    delay = RestartDelay(delay, Since(begin));
    if (WaitForServersEnd(server, -1, delay)) return;
  }
}

}  // namespace postfleet::delivery::privileged
