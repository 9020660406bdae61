// For tests: a store in memory with its state machine, commands in a line each, and a dump of every
// row.
#pragma once

#include <rocksdb/env.h>

#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/queue/state/reader.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

// A command of the log: what replay needs.
struct LoggedCommand {
  uint64_t index = 0;
  state::Command header;
  std::string payload;
};

class QueueUnderTest {
 public:
  explicit QueueUnderTest(const StoreOptions& options = {});
  ~QueueUnderTest();

  // Logs and applies. Aborts on a storage error.
  const Effects& Apply(state::Command header, std::string payload = {});
  // Applies a logged command.
  const Effects& Replay(const LoggedCommand& command);

  // As after a crash: what was not flushed is gone. Replays nothing.
  void Crash();

  // The next command gets an index above this one. For a store that was there before.
  void ContinueAt(uint64_t index) { last_index_ = index; }

  // All rows: family/key in hex -> value in hex.
  std::map<std::string, std::string> Dump() const;

  // Of messages: all but the state row, the format and submissions.
  size_t MessageRows() const;
  // As a listing has it while nothing is active; without id: there is none.
  v1::ListedMessage Listed(const std::string& queue_id) const;

  StateMachine& machine() { return *machine_; }
  Store& store() { return *store_; }
  Reader& reader() { return *reader_; }
  const std::vector<LoggedCommand>& log() const { return log_; }

  // Registers an incarnation on first use and sends under it.
  uint64_t incarnation();
  uint64_t NextSequence() { return ++sequence_; }

  int64_t now_ms = 1'800'000'000'000;

 private:
  void OpenStore();

  std::unique_ptr<rocksdb::Env> env_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<StateMachine> machine_;
  std::unique_ptr<Reader> reader_;
  std::vector<LoggedCommand> log_;
  uint64_t incarnation_ = 0;
  uint64_t sequence_ = 0;
  uint64_t last_index_ = 0;
};

inline bool NotActive(std::string_view) { return false; }

// A message of one chunk to r0@example.com, r1@..., added to `command`; its contents to `payload`.
v1::Submission* AddMessage(QueueUnderTest& queue, const std::string& queue_id, int recipients,
                           const std::string& contents, state::Command* command,
                           std::string* payload);
const Effects& Enqueue(QueueUnderTest& queue, const std::string& queue_id, int recipients = 1,
                       const std::string& contents = "contents");

std::string PayloadText(const std::vector<std::string_view>& pieces);

uint64_t Open(QueueUnderTest& queue);

using Action = mail::v1::Outcome::Action;
inline constexpr std::string_view kNotice = "the notice";
inline constexpr std::string_view kCopy = "its copy";

inline constexpr Action kSent = mail::v1::Outcome::ACTION_SENT;
inline constexpr Action kDeferred = mail::v1::Outcome::ACTION_DEFERRED;
inline constexpr Action kBounced = mail::v1::Outcome::ACTION_BOUNCED;

// One outcome for each recipient number, in a command of the current epoch.
state::Command OutcomeCommand(QueueUnderTest& queue, const std::string& queue_id,
                              const std::vector<std::pair<uint32_t, Action>>& outcomes,
                              int64_t retry_at_ms = 0);
const Effects& Report(QueueUnderTest& queue, const std::string& queue_id,
                      const std::vector<std::pair<uint32_t, Action>>& outcomes,
                      int64_t retry_at_ms = 0);
// A notice is owed about each that was sent.
state::Command OweNotices(state::Command command);
const Effects& PutOff(QueueUnderTest& queue, const std::string& queue_id,
                      const std::vector<uint32_t>& numbers, int64_t retry_at_ms);
// An id that is empty: no such message is enqueued.
const Effects& Notify(QueueUnderTest& queue, const std::string& queue_id,
                      const std::vector<uint32_t>& numbers, const std::string& notice_id,
                      const std::string& copy_id = "");
// Marks a message as warned of.
const Effects& WarnOfDelay(QueueUnderTest& queue, const std::string& queue_id,
                           const std::string& notice_id);
const Effects& Administer(QueueUnderTest& queue, v1::Action action,
                          const std::vector<std::string>& queue_ids,
                          const std::vector<v1::QueueName>& queues = {});
const Effects& Delete(QueueUnderTest& queue, const std::vector<std::string>& queue_ids);
const Effects& MarkCorrupt(QueueUnderTest& queue, const std::string& queue_id,
                           const std::string& reason);
const Effects& StartBulk(QueueUnderTest& queue, v1::Action action,
                         const std::vector<v1::QueueName>& queues,
                         const std::string& last_queue_id);
// One page of the job that runs, as the queue's service does it.
const Effects& StepBulk(QueueUnderTest& queue, size_t ids_max);
const Effects& Purge(QueueUnderTest& queue);
const Effects& Flush(QueueUnderTest& queue, const std::vector<std::string>& queue_ids);

}  // namespace postfleet::queue
