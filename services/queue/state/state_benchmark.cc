// What a message of 4 KiB with one recipient costs the state machine: its enqueue and its outcome;
// and what bulk work and listings cost on a backlog of deferred messages.
//
//   bazel run -c opt //services/queue/state:state_benchmark
//
// Arguments of EnqueueAndOutcome: messages a command, messages open between enqueue and outcome. Of
// the others: messages deferred. Items are messages.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <memory>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/reader.h"
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
    reader_ = std::make_unique<Reader>(store_.get());
    state::Command command;
    command.mutable_register_();
    Apply(command);
    command.Clear();
    command.mutable_open();
    Apply(command);
  }
  ~Load() {
    reader_.reset();
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

  // Messages that wait for an hour.
  void Defer(int64_t messages) {
    for (int64_t done = 0; done < messages; done += 50) {
      Enqueue(50);
      state::Command command;
      command.mutable_outcomes()->set_epoch(1);
      for (; !open_.empty(); open_.pop_front()) {
        v1::MessageOutcome* outcome = command.mutable_outcomes()->add_outcomes();
        outcome->set_queue_id(open_.front());
        outcome->set_retry_at_ms(1'800'003'600'000);
        outcome->set_transport("smtp");
        outcome->set_nexthop("recipient.example.com");
        outcome->add_outcomes()->set_action(mail::v1::Outcome::ACTION_DEFERRED);
        outcome->mutable_outcomes(0)->set_text("connect to recipient.example.com: timed out");
      }
      Apply(command);
    }
    const absl::Status flushed = store_->Flush();
    if (!flushed.ok()) Die(flushed);
  }

  // One action on all of a queue, as the service does it. How many there were.
  uint64_t AdministerAll(v1::Action action, v1::QueueName queue) {
    BulkQuery query;
    query.queues = {queue};
    // What a requeue makes is incoming.
    std::string cursor;
    uint64_t changed = 0;
    for (bool end = false; !end;) {
      query.after = cursor;
      auto page = reader_->ScanQueues(query);
      if (!page.ok()) Die(page.status());
      state::Command command;
      state::Administer& administer = *command.mutable_administer();
      administer.set_action(action);
      end = page->end;
      cursor = page->cursor;
      for (size_t i = 0; i < page->queue_ids.size(); i += kCommandIdsMax) {
        administer.clear_queue_ids();
        const size_t last = std::min<size_t>(page->queue_ids.size(), i + kCommandIdsMax);
        for (size_t id = i; id < last; ++id) administer.add_queue_ids(page->queue_ids[id]);
        changed += Apply(command);
      }
    }
    return changed;
  }

  void Purge() {
    state::Command command;
    command.mutable_purge();
    Apply(command);
  }

  uint64_t List(const v1::ListRequest& first) {
    v1::ListRequest request = first;
    uint64_t listed = 0;
    for (bool more = true; more;) {
      const auto page = reader_->List(request, [](std::string_view) { return false; });
      if (!page.ok()) Die(page.status());
      listed += static_cast<uint64_t>(page->messages_size());
      request.set_after_queue_id(page->next_queue_id());
      more = page->more();
    }
    return listed;
  }

  uint64_t Shape() {
    v1::ShapeRequest request;
    request.add_queues(v1::QUEUE_NAME_DEFERRED);
    const auto shape = reader_->Shape(request, 0, [](std::string_view) { return false; });
    if (!shape.ok()) Die(shape.status());
    return shape->total().counts(0);
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

  // How many were changed by an action.
  uint64_t Apply(const state::Command& command, absl::Span<const std::string_view> payload = {}) {
    const auto effects = machine_->Apply(++index_, {command, payload, nullptr});
    if (!effects.ok()) Die(effects.status());
    if (!(*effects)->refused.empty()) std::abort();
    for (const SubmissionResult& result : (*effects)->submissions) {
      if (result.code != v1::EnqueueResult::COMMITTED) std::abort();
    }
    for (const OutcomeEffect& outcome : (*effects)->outcomes) {
      if (outcome.late) std::abort();
    }
    return (*effects)->changed.size();
  }

  std::string folder_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<StateMachine> machine_;
  std::unique_ptr<Reader> reader_;
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

void Expect(uint64_t count, int64_t wanted) {
  if (count == static_cast<uint64_t>(wanted)) return;
  std::fprintf(stderr, "%llu messages instead of %lld\n", static_cast<unsigned long long>(count),
               static_cast<long long>(wanted));
  std::abort();
}

// One action on a backlog of deferred mail, and back where there is a way back.
void BM_Bulk(benchmark::State& state, v1::Action action) {
  const int64_t messages = state.range(0);
  for (auto _ : state) {
    state.PauseTiming();
    auto load = std::make_unique<Load>();
    load->Defer(messages);
    if (action == v1::ACTION_RELEASE) {
      Expect(load->AdministerAll(v1::ACTION_HOLD, v1::QUEUE_NAME_DEFERRED), messages);
    }
    state.ResumeTiming();
    Expect(load->AdministerAll(action, action == v1::ACTION_RELEASE ? v1::QUEUE_NAME_HOLD
                                                                    : v1::QUEUE_NAME_DEFERRED),
           messages);
    state.PauseTiming();
    load.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * messages);
}
#define POSTFLEET_BULK(name, action)       \
  BENCHMARK_CAPTURE(BM_Bulk, name, action) \
      ->Arg(100'000)                       \
      ->Iterations(1)                      \
      ->Unit(benchmark::kMillisecond)
POSTFLEET_BULK(delete, v1::ACTION_DELETE);
POSTFLEET_BULK(hold, v1::ACTION_HOLD);
POSTFLEET_BULK(release, v1::ACTION_RELEASE);
POSTFLEET_BULK(requeue, v1::ACTION_REQUEUE);
POSTFLEET_BULK(expire, v1::ACTION_EXPIRE);
POSTFLEET_BULK(flush, v1::ACTION_FLUSH);

void BM_Purge(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    auto load = std::make_unique<Load>();
    load->Defer(state.range(0));
    state.ResumeTiming();
    load->Purge();
    state.PauseTiming();
    load.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Purge)->Arg(100'000)->Iterations(1)->Unit(benchmark::kMillisecond);

void BM_Read(benchmark::State& state) {
  Load load;
  load.Defer(state.range(0));
  v1::ListRequest deferred;
  deferred.add_queues(v1::QUEUE_NAME_DEFERRED);
  for (auto _ : state) {
    switch (state.range(1)) {
      case 0:
        Expect(load.List({}), state.range(0));
        break;
      case 1:
        Expect(load.List(deferred), state.range(0));
        break;
      default:
        Expect(load.Shape(), state.range(0));
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
// What: 0 a listing of everything, 1 of the deferred queue by its index, 2 a shape.
BENCHMARK(BM_Read)
    ->ArgNames({"deferred", "what"})
    ->ArgsProduct({{100'000}, {0, 1, 2}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace postfleet::queue
