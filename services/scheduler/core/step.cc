#include "services/scheduler/core/step.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {

Scheduler::Scheduler(Config config, std::function<std::string()> mint_queue_id)
    : state_(std::make_unique<State>(std::move(config), std::move(mint_queue_id))) {}

Scheduler::~Scheduler() = default;

void Scheduler::Step(Event event, int64_t now_ms, Actions* actions) {
  State& state = *state_;
  state.now_ms = now_ms;
  state.actions = actions;
  std::visit([&state](auto& happened) { state.On(happened); }, event);
  state.StartDeliveries();
  state.LetGoOfBodiesPastBound();
  state.SetTimer();
  state.actions = nullptr;
}

const Counters& Scheduler::counters() const { return state_->counters; }

uint64_t Scheduler::runnable_recipients() const { return state_->runnable; }

Sizes Scheduler::sizes() const {
  Sizes sizes{
      .messages = state_->messages.size(),
      .deliveries_running = state_->attempts.size(),
      .destinations_dead = state_->dead.size(),
      .queries = state_->queries.size(),
      .transports = state_->transports.size(),
      .workers = state_->workers.size(),
      .body_bytes = state_->body_bytes,
  };
  for (const auto& [id, message] : state_->messages) sizes.recipients_waiting += message->waiting;
  for (const auto& [name, transport] : state_->transports) {
    sizes.destinations += transport->destinations.size();
  }
  return sizes;
}

std::string Scheduler::Describe(int64_t now_ms) const {
  std::vector<std::string> lines;
  for (const auto& [transport_name, transport] : state_->transports) {
    for (const auto& [name, destination] : transport->destinations) {
      size_t waiting = 0;
      for (const auto& [rank, job] : destination->jobs) {
        waiting += job.notice ? 1 : job.targets.size() - job.next;
      }
      std::string& line =
          lines.emplace_back(Concat(transport_name, "/", name, " busy=", destination->busy,
                                    " window=", destination->window.size(), " waiting=", waiting));
      if (destination->window.dead()) {
        ConcatTo(&line, " dead for ", (destination->dead_until_ms - now_ms) / 1000, "s");
      }
    }
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) ConcatTo(&text, line, "\n");
  return text;
}

}  // namespace postfleet::scheduler
