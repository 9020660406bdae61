#include "libs/server/pause_guard.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "libs/base/concat.h"

namespace postfleet::server {
namespace {

constexpr int kRenewalsInLimit = 8;

itimerspec After(std::chrono::milliseconds time) {
  itimerspec when = {};
  when.it_value.tv_sec = time.count() / 1000;
  when.it_value.tv_nsec = time.count() % 1000 * 1'000'000;
  return when;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PauseGuard>> PauseGuard::Begin(std::chrono::milliseconds limit) {
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
    return absl::ResourceExhaustedError(Concat("timer_create: ", strerror(errno)));
  }
  return std::unique_ptr<PauseGuard>(new PauseGuard(timer, limit));
}

PauseGuard::PauseGuard(timer_t timer, std::chrono::milliseconds limit)
    : timer_(timer), limit_(limit), thread_([this] {
        pthread_setname_np(pthread_self(), "pause-guard");
        std::unique_lock lock(mutex_);
        while (!ends_) {
          Renew();
          wake_.wait_for(lock, limit_ / kRenewalsInLimit);
        }
      }) {}

PauseGuard::~PauseGuard() {
  {
    std::lock_guard lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  thread_.join();
  timer_delete(timer_);
}

void PauseGuard::Renew() const {
  const itimerspec when = After(limit_);
  timer_settime(timer_, 0, &when, nullptr);
}

}  // namespace postfleet::server
