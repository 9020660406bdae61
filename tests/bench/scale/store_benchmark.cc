// What messages of 4 KiB with one recipient cost the queue's store, in bytes written to disk, disk
// space, memory and CPU, without log and network:
//
//   bazel run -c opt //tests/bench/scale:store_benchmark -- [messages] [blob_bytes_min]
//
// Prints one line for each phase: messages accepted and delivered at once; accepted and deferred;
// the check of the whole store; delivered later, in the order of their ids, every third deferred
// once more.
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "libs/base/crc32c.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"
#include "services/queue/verify/verify.h"

namespace postfleet::queue {
namespace {

constexpr size_t kContentBytes = 4'096;
constexpr int kBatch = 10;
constexpr size_t kOpen = 500;  // between enqueue and outcome

void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

uint64_t WrittenBytes() {
  std::ifstream io("/proc/self/io");
  std::string name;
  uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "write_bytes:") return value;
  }
  return 0;
}

uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  uint64_t resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

uint64_t DiskBytes(const std::string& folder) {
  uint64_t sum = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    std::error_code gone;
    const uint64_t size = file.is_regular_file(gone) ? file.file_size(gone) : 0;
    if (!gone) sum += size;
  }
  return sum;
}

class Bench {
 public:
  explicit Bench(uint64_t blob_bytes_min) {
    char folder[] = "/var/tmp/postfleet_store_XXXXXX";
    if (mkdtemp(folder) == nullptr) std::abort();
    folder_ = folder;
    auto store = Store::Open(
        {.path = folder_, .write_buffer_bytes = 32u << 20, .blob_bytes_min = blob_bytes_min});
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
  ~Bench() {
    machine_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Start() {
    written_ = WrittenBytes();
    cpu_ = CpuSeconds();
    start_ = std::chrono::steady_clock::now();
  }
  // With what compactions still owe.
  void Tell(const char* phase, size_t messages) {
    if (absl::Status flushed = store_->Flush(); !flushed.ok()) Die(flushed);
    uint64_t busy = 1;
    while (busy > 0) {
      usleep(100'000);
      uint64_t compactions = 0;
      uint64_t pending = 0;
      store_->db()->GetAggregatedIntProperty("rocksdb.num-running-compactions", &compactions);
      store_->db()->GetAggregatedIntProperty("rocksdb.compaction-pending", &pending);
      busy = compactions + pending;
    }
    const double count = static_cast<double>(messages);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
    uint64_t readers = 0;
    store_->db()->GetAggregatedIntProperty("rocksdb.estimate-table-readers-mem", &readers);
    std::printf(
        "%-22s %8zu messages: %5.2f x written, %5.1f us CPU, %6.1f s; disk %6.0f MB, resident "
        "%4.0f "
        "MB, table readers %.1f MB\n",
        phase, messages,
        static_cast<double>(WrittenBytes() - written_) / count / static_cast<double>(kContentBytes),
        (CpuSeconds() - cpu_) * 1e6 / count, seconds.count(),
        static_cast<double>(DiskBytes(folder_)) / 1e6, static_cast<double>(ResidentBytes()) / 1e6,
        static_cast<double>(readers) / 1e6);
    std::fflush(stdout);
  }

  // The outcome of the oldest open ones, in one command.
  void Report(size_t messages, mail::v1::Outcome::Action action) {
    state::Command command;
    command.mutable_outcomes()->set_epoch(1);
    command.set_now_ms(now_ms_);
    for (size_t i = 0; i < messages && !open_.empty(); ++i) {
      v1::MessageOutcome* outcome = command.mutable_outcomes()->add_outcomes();
      outcome->set_queue_id(open_.front());
      outcome->set_transport("smtp");
      outcome->set_nexthop("recipient.example.com");
      outcome->set_retry_at_ms(now_ms_ + 4 * 3'600'000);
      outcome->add_outcomes()->set_action(action);
      outcome->mutable_outcomes(0)->set_text("450 4.2.0 deferred transport");
      if (action == mail::v1::Outcome::ACTION_DEFERRED) waiting_.push_back(open_.front());
      open_.pop_front();
    }
    Apply(command);
  }
  void Run(size_t messages, mail::v1::Outcome::Action action) {
    for (size_t i = 0; i < messages; i += kBatch) {
      Enqueue();
      if (open_.size() > kOpen) Report(kBatch, action);
    }
    while (!open_.empty()) Report(kBatch, action);
  }
  // What waits, again; every third is deferred another time.
  void RunAgain(size_t messages) {
    for (size_t i = 0; i < messages; i += kBatch) {
      for (int k = 0; k < kBatch && !waiting_.empty(); ++k) {
        open_.push_back(waiting_.front());
        waiting_.pop_front();
      }
      Report(kBatch,
             i % 3 == 0 ? mail::v1::Outcome::ACTION_DEFERRED : mail::v1::Outcome::ACTION_SENT);
    }
  }
  void Check() {
    uint64_t findings = 0;
    const absl::Status checked = VerifyStore(*store_, [&](const v1::VerifyProgress& progress) {
      findings = progress.findings_total();
      for (const std::string& finding : progress.findings()) std::printf("%s\n", finding.c_str());
      return true;
    });
    if (!checked.ok() || findings > 0) std::exit(1);
  }
  size_t waiting() const { return waiting_.size(); }

 private:
  void Enqueue() {
    state::Command command;
    std::vector<std::string_view> payload;
    now_ms_ += 1;
    command.set_now_ms(now_ms_);
    for (int i = 0; i < kBatch; ++i) {
      AddSubmission(command.add_submissions());
      payload.push_back(contents_);
    }
    Apply(command, payload);
  }
  void AddSubmission(v1::Submission* submission) {
    submission->mutable_id()->set_incarnation(1);
    submission->mutable_id()->set_sequence(++sequence_);
    open_.push_back(FormatQueueId(now_ms_ / 1'000, static_cast<int32_t>(now_ms_ % 1'000) * 1'000,
                                  sequence_ << 32));
    submission->set_queue_id(open_.back());
    submission->set_payload_bytes(kContentBytes);
    submission->set_payload_crc32c(crc32c_);
    v1::NewMessage* message = submission->mutable_message();
    message->set_content_bytes(kContentBytes);
    message->mutable_envelope()->set_sender("some.sender@sender.example.org");
    message->mutable_envelope()->mutable_origin()->set_client_name("mail.example.org");
    message->mutable_envelope()->mutable_origin()->set_client_address("192.0.2.77");
    message->mutable_envelope()->mutable_origin()->set_helo("mail.example.org");
    message->mutable_envelope()->mutable_origin()->set_protocol("ESMTP");
    message->mutable_envelope()->set_arrival_ms(now_ms_);
    message->add_recipients()->set_address("some.recipient@recipient.example.com");
  }
  void Apply(const state::Command& command, absl::Span<const std::string_view> payload = {}) {
    const auto effects = machine_->Apply(++index_, {command, payload, nullptr});
    if (!effects.ok()) Die(effects.status());
    if (!(*effects)->refused.empty()) Die(absl::InternalError((*effects)->refused));
  }

  std::string folder_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<StateMachine> machine_;
  const std::string contents_ = std::string(kContentBytes, 'x');
  const uint32_t crc32c_ = Crc32c(contents_);
  std::deque<std::string> open_;
  std::deque<std::string> waiting_;
  int64_t now_ms_ = 1'800'000'000'000;
  uint64_t index_ = 0;
  uint64_t sequence_ = 0;
  uint64_t written_ = 0;
  double cpu_ = 0;
  std::chrono::steady_clock::time_point start_;
};

void Measure(size_t messages, uint64_t blob_bytes_min) {
  Bench bench(blob_bytes_min);
  std::printf("blobs from %llu bytes on\n", static_cast<unsigned long long>(blob_bytes_min));
  bench.Start();
  bench.Run(messages, mail::v1::Outcome::ACTION_SENT);
  bench.Tell("at once", messages);
  bench.Start();
  bench.Run(messages, mail::v1::Outcome::ACTION_DEFERRED);
  bench.Tell("deferred", messages);
  bench.Start();
  bench.Run(messages / 4, mail::v1::Outcome::ACTION_SENT);
  bench.Tell("at once, beside them", messages / 4);
  bench.Start();
  bench.Check();
  bench.Tell("checked", messages);
  const size_t waiting = bench.waiting();
  bench.Start();
  bench.RunAgain(waiting);
  bench.Tell("delivered later", waiting);
}

}  // namespace
}  // namespace postfleet::queue

int main(int argc, char** argv) {
  const size_t messages = argc > 1 ? static_cast<size_t>(std::atoll(argv[1])) : 200'000;
  const uint64_t blob_bytes_min = argc > 2 ? static_cast<uint64_t>(std::atoll(argv[2])) : 1'024;
  postfleet::queue::Measure(messages, blob_bytes_min);
  return 0;
}
