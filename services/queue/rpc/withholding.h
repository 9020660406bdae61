// Commands that must not meet an attempt (a requeue): keeps their messages from being given out,
// and calls back once none of them is out any more.
//
//   withholding.Begin(queue_ids, wait, ready);    // ready(still_out): propose, but for those
//   ... when the command is applied, or was not proposed:
//   withholding.End(queue_ids);
//
// `ready` is called once, on the state loop: at once when none is out; else when the last of them
// was released or is gone; after `wait`, or by Close, with those that still are out. State loop
// only.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "libs/runtime/event_loop.h"
#include "services/queue/dispatch/dispatcher.h"

namespace postfleet::queue {

class Withholding {
 public:
  using StillOut = absl::flat_hash_set<std::string>;
  using Ready = std::function<void(const StillOut&)>;
  struct Wait;
  using Ticket = std::weak_ptr<Wait>;

  // All outlive this. `pump` gives the holder what the dispatcher has for it now; it must not call
  // back into this.
  Withholding(Dispatcher* dispatcher, runtime::EventLoop* loop, std::function<void()> pump);
  ~Withholding();

  // `wait` zero: no bound. The ticket is for Cut; it is empty once `ready` was called.
  Ticket Begin(const std::vector<std::string>& queue_ids, std::chrono::milliseconds wait,
               Ready ready);
  // Waits no more: `ready` is called with what is still out. Nothing when it was called before.
  void Cut(const Ticket& ticket);
  void End(const std::vector<std::string>& queue_ids);
  // Those that are not still out; the log tells of the others that they are not requeued.
  static std::vector<std::string> LeaveOut(const std::vector<std::string>& queue_ids,
                                           const StillOut& out);

  // After all that the dispatcher was told: some may be settled.
  void OnSettled();
  // No more waits: what waits is called, and later ones at once.
  void Close();

 private:
  void Finish(const std::shared_ptr<Wait>& wait);

  Dispatcher* const dispatcher_;
  runtime::EventLoop* const loop_;
  const std::function<void()> pump_;
  absl::flat_hash_set<std::shared_ptr<Wait>> waits_;
  // By message that is out.
  absl::flat_hash_map<std::string, std::vector<std::shared_ptr<Wait>>> by_id_;
  bool closed_ = false;
};

}  // namespace postfleet::queue
