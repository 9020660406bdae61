// Tells ThreadSanitizer what Debian's gRPC and abseil order: they are compiled without it and have
// locks of their own, so all that they hand from thread to thread looks like a race, in our code
// above them, too.
//
//   abseil's mutexes and condition variables order what is done under them
//   what a thread did before it started an operation of a call is seen by gRPC's threads: by all of
//   them, when they take their next lock, which is more than gRPC promises
//
// In every test of `./dev test --config=tsan`: these take the place of the libraries' functions,
// and call them. What gRPC orders by counts alone stays unseen: tsan.supp.
#include <dlfcn.h>

#include "absl/synchronization/mutex.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}

namespace {

// Stands for all operations that were started.
char started_operations;

void Acquire(absl::Mutex* mutex) {
  __tsan_acquire(mutex);
  __tsan_acquire(&started_operations);
}

template <typename Function>
Function Next(const char* symbol) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, symbol));
}

}  // namespace

extern "C" int grpc_call_start_batch(void* call, const void* operations, size_t count, void* tag,
                                     void* reserved) {
  static const auto next =
      Next<int (*)(void*, const void*, size_t, void*, void*)>("grpc_call_start_batch");
  __tsan_release(&started_operations);
  return next(call, operations, count, tag, reserved);
}

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const auto next = Next<void (*)(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  next(this);
  Acquire(this);
}

void Mutex::Unlock() {
  static const auto next = Next<void (*)(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  __tsan_release(this);
  next(this);
}

bool Mutex::TryLock() {
  static const auto next = Next<bool (*)(Mutex*)>("_ZN4absl7debian35Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked) Acquire(this);
  return locked;
}

void ReleasableMutexLock::Release() {
  static const auto next =
      Next<void (*)(ReleasableMutexLock*)>("_ZN4absl7debian319ReleasableMutexLock7ReleaseEv");
  // Its mutex is its first field; it unlocks within abseil, where nobody is called.
  if (Mutex* const mutex = *reinterpret_cast<Mutex**>(this); mutex != nullptr) {
    __tsan_release(mutex);
  }
  next(this);
}

void CondVar::Wait(Mutex* mutex) {
  static const auto next =
      Next<void (*)(CondVar*, Mutex*)>("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  __tsan_release(mutex);
  next(this, mutex);
  Acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static const auto next = Next<bool (*)(CondVar*, Mutex*, Duration)>(
      "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  __tsan_release(mutex);
  const bool timed_out = next(this, mutex, timeout);
  Acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static const auto next = Next<bool (*)(CondVar*, Mutex*, Time)>(
      "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  __tsan_release(mutex);
  const bool timed_out = next(this, mutex, deadline);
  Acquire(mutex);
  return timed_out;
}

ABSL_NAMESPACE_END
}  // namespace absl
