// Time as it enters the program. Code that decides takes `now` as an argument; code that acts takes
// a Clock.
//
// Wall time is milliseconds since the Unix epoch, as in every contract (`*_ms`). Monotonic time is
// for intervals: it never jumps.
#pragma once

#include <chrono>
#include <cstdint>

namespace postfleet {

class Clock {
 public:
  virtual ~Clock() = default;
  // Microseconds since the Unix epoch.
  virtual int64_t WallMicros() const = 0;
  virtual std::chrono::steady_clock::time_point Monotonic() const = 0;

  int64_t WallMillis() const { return WallMicros() / 1000; }
};

// The machine's clock. Lives as long as the process.
const Clock& SystemClock();

// For tests: stands still until moved. Not thread-safe.
class FakeClock : public Clock {
 public:
  explicit FakeClock(int64_t wall_ms = 1'800'000'000'000) : wall_us_(wall_ms * 1000) {}
  int64_t WallMicros() const override { return wall_us_; }
  std::chrono::steady_clock::time_point Monotonic() const override { return monotonic_; }

  void AdvanceMillis(int64_t ms) {
    wall_us_ += ms * 1000;
    monotonic_ += std::chrono::milliseconds(ms);
  }

 private:
  int64_t wall_us_;
  std::chrono::steady_clock::time_point monotonic_{};
};

}  // namespace postfleet
