// Keeps the program's signals away from Go's threads.
//
// Go's constructor starts a thread before main, and all threads of Go have the signals blocked that
// it had. A program waits for SIGTERM or SIGHUP with sigwait, and blocks it in all its threads:
// Go's would be the one thread left that takes it, and its action there is the process's end. So
// everything is blocked while Go's constructor runs, which core/archive.sh puts between these two.
// Go itself unblocks what it needs (faults, SIGURG, SIGPROF).
#include <signal.h>

namespace {

sigset_t before_go;

__attribute__((constructor(199))) void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before_go);
}

__attribute__((constructor(201))) void RestoreSignals() {
  pthread_sigmask(SIG_SETMASK, &before_go, nullptr);
}

}  // namespace
