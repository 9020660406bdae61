#include "services/delivery/smtp/deadlines.h"

#include <algorithm>

namespace postfleet::delivery::smtp {

void Deadlines::Add(TimeLimited* entry) {
  entries_.push_back(entry);
  StartTimer();
}

void Deadlines::Remove(TimeLimited* entry) {
  const auto found = std::find(entries_.begin(), entries_.end(), entry);
  if (found == entries_.end()) return;
  if (ticking_) {
    *found = nullptr;
  } else {
    *found = entries_.back();
    entries_.pop_back();
  }
}

void Deadlines::StartTimer() {
  if (std::exchange(running_, true)) return;
  timer_.Set(tick_, [this] { Tick(); });
}

void Deadlines::Tick() {
  running_ = false;
  const TimeLimited::Time now = clock_.Monotonic();
  ticking_ = true;
  // By index: entries may be added meanwhile.
  for (size_t i = 0; i < entries_.size(); ++i) {
    TimeLimited* const entry = entries_[i];
    if (entry == nullptr || entry->deadline_ > now) continue;
    entry->ClearDeadline();
    entry->OnDeadline();
  }
  ticking_ = false;
  std::erase(entries_, nullptr);
  const bool more = on_tick_ && on_tick_();
  if (more || !entries_.empty()) StartTimer();
}

}  // namespace postfleet::delivery::smtp
