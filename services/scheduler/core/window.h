// How many deliveries may run to one destination at once, and when it is dead: SCHEDULER_README,
// with the arithmetic of Postfix 3.9's code where the two differ (a destination is dead when its
// failed cohorts *reach* the limit, not when they pass it).
//
// Feedback is judged while the delivery that ended still counts as busy.
#pragma once

#include "services/scheduler/core/config.h"

namespace postfleet::scheduler {

class Window {
 public:
  explicit Window(const TransportLimits& limits) : size_(limits.initial_destination_concurrency) {}

  // 0 while the destination is dead.
  int size() const { return size_; }
  bool dead() const { return size_ == 0; }
  bool HasRoom(int busy) const { return busy < size_; }

  // A delivery ended without failure of the destination. Revives a dead one.
  void Succeeded(const TransportLimits& limits, int busy);
  // The session failed before recipients were judged. True: now dead (it was alive).
  bool Failed(const TransportLimits& limits);
  // A dead destination is tried again: as many as are busy, or as at the start.
  void Revive(const TransportLimits& limits, int busy);
  // The limits have changed.
  void Adopt(const TransportLimits& limits);

 private:
  int size_;
  double success_ = 0;
  double failure_ = 0;
  double failed_cohorts_ = 0;
};

}  // namespace postfleet::scheduler
