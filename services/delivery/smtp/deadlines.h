// Time limits of many connections with one timer: setting one is a store; every tick looks at all
// of them. A limit may be exceeded by a tick. The timer runs only while somebody is registered.
#pragma once

#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"

namespace postfleet::delivery::smtp {

class TimeLimited;

class Deadlines {
 public:
  Deadlines(runtime::EventLoop& loop, const Clock& clock, std::chrono::milliseconds tick)
      : clock_(clock), tick_(tick), timer_(loop) {}

  // At each tick, after the limits; true: keep the timer running though nobody is registered.
  void set_on_tick(std::function<bool()> on_tick) { on_tick_ = std::move(on_tick); }
  void StartTimer();
  void Stop() { timer_.Cancel(); }

 private:
  friend class TimeLimited;
  void Add(TimeLimited* entry);
  void Remove(TimeLimited* entry);
  void Tick();

  const Clock& clock_;
  const std::chrono::milliseconds tick_;
  runtime::Timer timer_;
  bool running_ = false;
  // nullptr: removed during a tick.
  std::vector<TimeLimited*> entries_;
  bool ticking_ = false;
  std::function<bool()> on_tick_;
};

class TimeLimited {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Registers; `deadlines` must outlive it.
  explicit TimeLimited(Deadlines& deadlines) : deadlines_(deadlines) { deadlines_.Add(this); }
  virtual ~TimeLimited() { deadlines_.Remove(this); }
  TimeLimited(const TimeLimited&) = delete;
  TimeLimited& operator=(const TimeLimited&) = delete;

  void SetDeadline(Time deadline) { deadline_ = deadline; }
  void ClearDeadline() { deadline_ = Time::max(); }
  bool has_deadline() const { return deadline_ != Time::max(); }
  Time deadline() const { return deadline_; }
  // Once for each deadline. May destroy this and others.
  virtual void OnDeadline() = 0;

 private:
  friend class Deadlines;
  Deadlines& deadlines_;
  Time deadline_ = Time::max();
};

}  // namespace postfleet::delivery::smtp
