// The administrator's actions on mail, one run of postsuper: named ids in batches, or all of some
// queues, and how many messages each was done to.
//
// Steps are done in their order. The first error ends the run. Says what was done to each named id
// as it is done; totals are for the caller to say.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "commands/console.h"
#include "commands/progress_line.h"
#include "commands/queue_client.h"
#include "commands/waiting_mail.h"

namespace postfleet::commands {

struct ActionWords {
  char letter;
  queue::v1::Action action;
  std::string_view done;     // "ID: removed"
  std::string_view counted;  // "Deleted: 2 messages"
  std::string_view would;    // "Would be deleted: 2 messages"
  std::string_view wish;     // "Cannot delete mail"
};

// In the order of Postfix's totals. -f is -e and -H in one.
inline constexpr std::array<ActionWords, 5> kActions = {{
    {'r', queue::v1::ACTION_REQUEUE, "requeued", "Requeued", "requeued", "requeue"},
    {'d', queue::v1::ACTION_DELETE, "removed", "Deleted", "deleted", "delete"},
    {'e', queue::v1::ACTION_EXPIRE, "expired", "Force-expired", "force-expired", "expire"},
    {'h', queue::v1::ACTION_HOLD, "placed on hold", "Placed on hold", "placed on hold", "hold"},
    {'H', queue::v1::ACTION_RELEASE, "released from hold", "Released from hold",
     "released from hold", "release"},
}};

// Where the actions look: nullopt is each action's default, an empty set is nowhere.
using WantedQueues = std::optional<std::set<queue::v1::QueueName>>;

class Administration {
 public:
  Administration(QueueClient client, Console& console, ProgressLine& progress, WantedQueues wanted,
                 bool dry_run, bool verbose, WaitingMail* maildrop);

  // Does what the option `letter` ("rdefhH") asks for to `target`: an id, "ALL", or "-", ids of
  // `in`. Named ids may wait for more of the same option: end with Finish.
  bool Step(char letter, const std::string& target, FILE* in);
  bool Finish();

  // Of a row of kActions; nullopt: it was not asked for.
  std::optional<uint64_t> CountOfAction(size_t row) const { return counts_[row]; }
  uint64_t freed_bytes() const { return freed_bytes_; }
  // After a function returned false: which row of kActions failed, and why.
  size_t failed_row() const { return failed_row_; }
  const absl::Status& status() const { return status_; }

 private:
  bool Fail(size_t row, const absl::Status& status);
  bool Queue(const std::string& queue_id);
  bool QueueRead(FILE* in);
  bool DoNamed();
  void SayInOrder(const std::vector<std::string>& said);
  bool DoAll(size_t row);
  // Fills `said` with what is to be said of each id.
  bool AdministerNamed(size_t row, std::vector<std::string>* said);
  bool CountNamed(size_t row);
  void DeleteWaiting(std::vector<std::string>* said);
  WantedQueues QueuesOf(size_t row, bool named) const;

  QueueClient client_;
  Console& console_;
  ProgressLine& progress_;
  const WantedQueues wanted_;
  const bool dry_run_;
  const bool verbose_;
  WaitingMail* const maildrop_;  // which -d deletes, too; null: it does not
  // Ids that wait, all of one option, each once.
  char letter_ = 0;
  std::vector<std::string> queue_ids_;
  std::set<std::string> waiting_;
  // What is said of them while they wait: (how many ids come before it, warning).
  std::vector<std::pair<size_t, std::string>> warnings_;
  std::array<std::optional<uint64_t>, kActions.size()> counts_;
  uint64_t freed_bytes_ = 0;
  size_t failed_row_ = 0;
  absl::Status status_;
};

}  // namespace postfleet::commands
