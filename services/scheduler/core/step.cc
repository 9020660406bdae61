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
  state.set_back_ms += std::max<int64_t>(0, state.steady_ms - (now_ms + state.set_back_ms));
  state.steady_ms = now_ms + state.set_back_ms;
  state.actions = actions;
  std::visit([&state](auto& happened) { state.On(happened); }, event);
  state.RelieveCrowded();
  state.StartDeliveries();
  state.AskForMoreInBounds();
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
  sizes.recipients = state_->recipients;
  for (const auto& [id, message] : state_->messages) sizes.recipients_waiting += message->waiting;
  for (const auto& [name, transport] : state_->transports) {
    sizes.destinations += transport->destinations.size();
    sizes.jobs += transport->jobs.size();
  }
  return sizes;
}

std::string Scheduler::Describe(int64_t now_ms) const {
  const int64_t steady_ms = now_ms + state_->set_back_ms;
  std::vector<std::string> lines;
  for (const auto& [transport_name, transport] : state_->transports) {
    for (const auto& [name, destination] : transport->destinations) {
      size_t waiting = 0;
      for (const auto& [rank, peer] : destination->peers) {
        waiting += peer.notice ? 1 : peer.waiting();
      }
      std::string& line =
          lines.emplace_back(Concat(transport_name, "/", name, " busy=", destination->busy,
                                    " window=", destination->window.size(), " waiting=", waiting));
      if (destination->window.dead()) {
        ConcatTo(&line, " dead for ", (destination->dead_until_ms - steady_ms) / 1000, "s");
      }
      if (destination->delayed_until_ms != kNoTimer) {
        ConcatTo(&line, " delayed for ", (destination->delayed_until_ms - steady_ms) / 1000, "s");
      }
    }
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) ConcatTo(&text, line, "\n");
  return text;
}

std::string Scheduler::DescribeJobs() const {
  std::string text;
  for (const auto& [transport_name, transport] : state_->transports) {
    for (const auto& [rank, job] : transport->jobs) {
      int64_t waiting = 0;
      for (const Destination* destination : job->destinations) {
        waiting += state_->Deliveries(destination->peers.find(rank)->second);
      }
      ConcatTo(&text, transport_name, " ", job->message->queue_id, " read=", job->read,
               " selected=", job->selected, " unread=", job->Unread(), " waiting=", waiting,
               " slots=", job->slots_available, " level=", job->level,
               " before=", job->parent == nullptr ? "-" : job->parent->message->queue_id, "\n");
    }
  }
  return text;
}

}  // namespace postfleet::scheduler
