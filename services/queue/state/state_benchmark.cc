// What a message of 4 KiB with one recipient costs the state machine: its enqueue and its outcome.
//
//   bazel run -c opt //services/queue/state:state_benchmark
//
// Arguments: messages a command, messages open between enqueue and outcome.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <deque>
#include <filesystem>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

constexpr size_t kContentBytes = 4'096;

void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

class Load {
 public:
  Load() {
    char folder[] = "/var/tmp/postfleet_state_XXXXXX";
    if (mkdtemp(folder) == nullptr) std::abort();
    StoreOptions options;
    options.path = folder_ = folder;
    auto store = Store::Open(options);
    if (!store.ok()) Die(store.status());
    store_ = *std::move(store);
    auto machine = StateMachine::Load(store_.get());
    if (!machine.ok()) Die(machine.status());
    machine_ = *std::move(machine);
    state::Command command;
    command.mutable_register_();
    Apply(command);
    command.Clear();
    command.mutable_open();
    Apply(command);
  }
  ~Load() {
    machine_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Enqueue(int messages) {
    state::Command command;
    std::vector<std::string_view> payload;
    for (int i = 0; i < messages; ++i) {
      AddSubmission(command.add_submissions());
      payload.push_back(contents_);
    }
    Apply(command, payload);
  }

  void Finish(int messages) {
    state::Command command;
    command.mutable_outcomes()->set_epoch(1);
    for (int i = 0; i < messages; ++i) {
      v1::MessageOutcome* outcome = command.mutable_outcomes()->add_outcomes();
      outcome->set_queue_id(open_.front());
      outcome->add_outcomes()->set_action(mail::v1::Outcome::ACTION_SENT);
      outcome->mutable_outcomes(0)->set_text("250 2.0.0 Ok: queued as 4TQxyz");
      open_.pop_front();
    }
    Apply(command);
  }

 private:
  void AddSubmission(v1::Submission* submission) {
    submission->mutable_id()->set_incarnation(1);
    submission->mutable_id()->set_sequence(++sequence_);
    open_.push_back(FormatQueueId(1'800'000'000 + static_cast<int64_t>(sequence_ / 1'000),
                                  static_cast<int32_t>(sequence_ % 1'000), sequence_ << 32));
    submission->set_queue_id(open_.back());
    submission->set_payload_bytes(kContentBytes);
    v1::NewMessage* message = submission->mutable_message();
    message->set_content_bytes(kContentBytes);
    message->mutable_envelope()->set_sender("some.sender@sender.example.org");
    message->mutable_envelope()->mutable_origin()->set_client_name("mail.example.org");
    message->mutable_envelope()->mutable_origin()->set_client_address("192.0.2.77");
    message->mutable_envelope()->mutable_origin()->set_helo("mail.example.org");
    message->mutable_envelope()->mutable_origin()->set_protocol("ESMTP");
    message->mutable_envelope()->set_arrival_ms(1'800'000'000'000);
    message->add_recipients()->set_address("some.recipient@recipient.example.com");
  }

  void Apply(const state::Command& command, absl::Span<const std::string_view> payload = {}) {
    const auto effects = machine_->Apply(++index_, {command, payload, nullptr});
    if (!effects.ok()) Die(effects.status());
    if (!(*effects)->refused.empty()) std::abort();
    for (const SubmissionResult& result : (*effects)->submissions) {
      if (result.code != v1::EnqueueResult::COMMITTED) std::abort();
    }
    for (const OutcomeEffect& outcome : (*effects)->outcomes) {
      if (!outcome.removed || outcome.late) std::abort();
    }
  }

  std::string folder_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<StateMachine> machine_;
  const std::string contents_ = std::string(kContentBytes, 'x');
  std::deque<std::string> open_;
  uint64_t index_ = 0;
  uint64_t sequence_ = 0;
};

void BM_EnqueueAndOutcome(benchmark::State& state) {
  Load load;
  const int batch = static_cast<int>(state.range(0));
  for (int64_t open = 0; open < state.range(1); open += batch) load.Enqueue(batch);
  for (auto _ : state) {
    load.Enqueue(batch);
    load.Finish(batch);
  }
  state.SetItemsProcessed(state.iterations() * batch);
}
// Process CPU: flushes and compactions are RocksDB's threads' but the message's cost.
BENCHMARK(BM_EnqueueAndOutcome)
    ->ArgNames({"batch", "open"})
    ->Args({1, 100})
    ->Args({10, 100})
    ->Args({50, 100})
    ->Args({10, 20'000})
    ->MeasureProcessCPUTime()
    ->UseRealTime();

}  // namespace
}  // namespace postfleet::queue
