// CPU of one message through Step: activated, resolved, delivered, done, committed, released. Run
// with
//   bazel run //services/scheduler/core:step_bench
#include <benchmark/benchmark.h>

#include <deque>
#include <string>

#include "libs/base/concat.h"
#include "services/scheduler/core/step.h"

namespace postfleet::scheduler {
namespace {

constexpr int64_t kNow = 1'800'000'000'000;

class Bench {
 public:
  explicit Bench(int destinations)
      : scheduler_({}, [] { return std::string("N"); }), destinations_(destinations) {
    Step(Opened{1});
    WorkerJoined joined{.worker = 1};
    scheduler::v1::TransportSlots& slots = *joined.hello.add_transports();
    slots.set_transport("smtp");
    slots.set_slots(100);
    Step(std::move(joined));
  }

  void Activate() {
    const uint64_t serial = ++serial_;
    Activated activated;
    queue::v1::Activation& activation = activated.activation;
    activation.set_queue_id(Concat("4fXyZ01234z", serial));
    mail::v1::Envelope& envelope = *activation.mutable_envelope();
    envelope.set_sender("sender@example.org");
    envelope.set_arrival_ms(kNow);
    envelope.mutable_origin()->set_client_name("client.example.org");
    envelope.mutable_origin()->set_client_address("192.0.2.1");
    envelope.mutable_origin()->set_helo("client.example.org");
    activation.set_create_ms(kNow);
    activation.set_content_bytes(4'096);
    mail::v1::Recipient& recipient = *activation.add_recipients();
    recipient.set_address(Concat("user", serial % 1'000, "@d", serial % destinations_, ".example"));
    Step(std::move(activated));
    const lookup::v1::Query query = actions_.resolve.back();
    Resolved resolved;
    lookup::v1::Answer& answer = *resolved.response.add_answers();
    answer.set_id(query.id());
    answer.set_transport("smtp");
    answer.set_nexthop(query.recipient().substr(query.recipient().find('@') + 1));
    answer.set_recipient(query.recipient());
    Step(std::move(resolved));
  }

  // Ends the oldest running delivery, with its commit and release.
  void End() {
    DeliveryDone done;
    done.result.set_id(running_.front());
    running_.pop_front();
    mail::v1::Outcome& outcome = *done.result.add_outcomes();
    outcome.set_action(mail::v1::Outcome::ACTION_SENT);
    outcome.set_status("2.0.0");
    Step(std::move(done));
    Committed committed;
    committed.committed.set_queue_id(actions_.commit.back().queue_id());
    committed.committed.set_removed(true);
    Step(std::move(committed));
  }

  size_t messages() const { return scheduler_.sizes().messages; }

 private:
  void Step(Event event) {
    actions_.Clear();
    scheduler_.Step(std::move(event), kNow, &actions_);
    for (const StartDelivery& start : actions_.deliver) running_.push_back(start.delivery.id());
  }

  Scheduler scheduler_;
  const uint64_t destinations_;
  Actions actions_;
  std::deque<uint64_t> running_;
  uint64_t serial_ = 0;
};

// Arguments: destinations, messages that wait in memory meanwhile.
void OneMessage(benchmark::State& state) {
  Bench bench(state.range(0));
  for (int64_t i = 0; i < state.range(1); ++i) bench.Activate();
  for (auto _ : state) {
    bench.Activate();
    bench.End();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(OneMessage)
    ->ArgNames({"destinations", "waiting"})
    ->Args({1, 0})
    ->Args({1'000, 0})
    ->Args({1, 19'000})
    ->Args({1'000, 19'000})
    ->Args({19'000, 19'000});

}  // namespace
}  // namespace postfleet::scheduler

BENCHMARK_MAIN();
