#include "services/queue/rpc/withholding.h"

#include <utility>

#include "libs/base/maillog.h"

namespace postfleet::queue {

struct Withholding::Wait {
  explicit Wait(runtime::EventLoop& loop) : timer(loop) {}
  StillOut out;
  Ready ready;
  runtime::Timer timer;
};

Withholding::Withholding(Dispatcher* dispatcher, runtime::EventLoop* loop,
                         std::function<void()> pump)
    : dispatcher_(dispatcher), loop_(loop), pump_(std::move(pump)) {}

Withholding::~Withholding() = default;

Withholding::Ticket Withholding::Begin(const std::vector<std::string>& queue_ids,
                                       std::chrono::milliseconds wait, Ready ready) {
  auto begun = std::make_shared<Wait>(*loop_);
  for (const std::string& queue_id : queue_ids) {
    if (dispatcher_->Withhold(queue_id) == Dispatcher::Whereabouts::kOut) {
      begun->out.insert(queue_id);
    }
  }
  if (begun->out.empty() || closed_) {
    ready(begun->out);
    return {};
  }
  begun->ready = std::move(ready);
  waits_.insert(begun);
  for (const std::string& queue_id : begun->out) by_id_[queue_id].push_back(begun);
  if (wait.count() > 0) begun->timer.Set(wait, [this, begun] { Finish(begun); });
  pump_();  // recalls them
  return begun;
}

void Withholding::Cut(const Ticket& ticket) {
  if (const std::shared_ptr<Wait> wait = ticket.lock()) Finish(wait);
}

std::vector<std::string> Withholding::LeaveOut(const std::vector<std::string>& queue_ids,
                                               const StillOut& out) {
  std::vector<std::string> free;
  for (const std::string& queue_id : queue_ids) {
    if (!out.contains(queue_id)) {
      free.push_back(queue_id);
    } else {
      maillog::Warning("queue", queue_id, ": not requeued: its delivery goes on");
    }
  }
  return free;
}

void Withholding::End(const std::vector<std::string>& queue_ids) {
  if (queue_ids.empty()) return;
  for (const std::string& queue_id : queue_ids) dispatcher_->Restore(queue_id);
  pump_();
}

void Withholding::OnSettled() {
  for (const std::string& queue_id : dispatcher_->TakeSettled()) {
    const auto found = by_id_.find(queue_id);
    if (found == by_id_.end()) continue;
    const std::vector<std::shared_ptr<Wait>> waits = std::move(found->second);
    by_id_.erase(found);
    for (const std::shared_ptr<Wait>& wait : waits) {
      wait->out.erase(queue_id);
      if (wait->out.empty()) Finish(wait);
    }
  }
}

void Withholding::Finish(const std::shared_ptr<Wait>& wait) {
  const std::shared_ptr<Wait> kept = wait;
  if (waits_.erase(kept) == 0) return;
  kept->timer.Cancel();
  for (const std::string& queue_id : kept->out) {
    const auto found = by_id_.find(queue_id);
    if (found == by_id_.end()) continue;
    std::erase(found->second, kept);
    if (found->second.empty()) by_id_.erase(found);
  }
  std::exchange(kept->ready, nullptr)(kept->out);
}

void Withholding::Close() {
  closed_ = true;
  while (!waits_.empty()) Finish(*waits_.begin());
}

}  // namespace postfleet::queue
