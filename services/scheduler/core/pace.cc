#include "services/scheduler/core/pace.h"

#include <algorithm>

namespace postfleet::scheduler {

void Pace::Begin(int64_t now_ms) { born_ms_ = minute_ms_ = now_ms; }

void Pace::Turn(int64_t now_ms) {
  const int64_t past_ms = now_ms - minute_ms_;
  if (past_ms < kMinuteMs) return;
  ended_before_ = past_ms < 2 * kMinuteMs ? ended_ : 0;
  ended_ = 0;
  minute_ms_ = now_ms - past_ms % kMinuteMs;
}

void Pace::Count(int64_t now_ms) {
  Turn(now_ms);
  ++ended_;
}

double Pace::PerMinute(int64_t now_ms) {
  Turn(now_ms);
  const double minute = kMinuteMs;
  const double in_this = static_cast<double>(std::max<int64_t>(now_ms - minute_ms_, 0)) / minute;
  // Of the minute before, the part that is less than a minute ago.
  const double ended = static_cast<double>(ended_) + ended_before_ * (1 - in_this);
  const double seen = static_cast<double>(now_ms - born_ms_) / minute;
  const double rate = seen > 0 && seen < 1 ? ended / seen : ended;
  return std::max(rate, 1.0);
}

}  // namespace postfleet::scheduler
