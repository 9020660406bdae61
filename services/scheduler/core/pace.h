// How many deliveries ended at a destination in the last minute, in constant memory: two counts, of
// the minute that runs and of the one before it. Times: milliseconds.
#pragma once

#include <cstdint>

namespace postfleet::scheduler {

class Pace {
 public:
  static constexpr int64_t kMinuteMs = 60'000;
  // Before so much time of a destination was seen, its pace is not known.
  static constexpr int64_t kUnknownMs = 10'000;

  // The first call, of any, is when the destination came to be.
  void Begin(int64_t now_ms);
  // A delivery ended.
  void Count(int64_t now_ms);

  bool known(int64_t now_ms) const { return now_ms - born_ms_ >= kUnknownMs; }
  // Ends in a minute, projected from what was seen where that is less; at least 1.
  double PerMinute(int64_t now_ms);

 private:
  void Turn(int64_t now_ms);

  int64_t born_ms_ = 0;
  int64_t minute_ms_ = 0;
  uint64_t ended_ = 0;
  uint64_t ended_before_ = 0;
};

}  // namespace postfleet::scheduler
