// For tests: what the queue should hold, in plain containers, with the rules of ARCHITECTURE.md,
// "The queue's states and commands", written down a second time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {

struct QueueModel {
  using State = state::RecipientRow::State;
  static constexpr State kGone = state::RecipientRow::STATE_UNSPECIFIED;
  static constexpr State kPending = state::RecipientRow::STATE_PENDING;
  static constexpr State kWaiting = state::RecipientRow::STATE_DEFERRED;
  static constexpr State kOwed = state::RecipientRow::STATE_BOUNCED;

  struct Recipient {
    std::string address;
    State state = kPending;
    // Of kOwed: it was sent.
    bool sent = false;
    // Of the last attempt.
    std::string reason;
    int64_t due_ms = 0;
  };
  struct Message {
    std::vector<Recipient> recipients;
    std::vector<std::string> chunks;
    int64_t arrival_ms = 0;
    bool held = false;
    std::string corrupt;
    bool forced = false;
    bool warned = false;
    std::string body_id;

    size_t Count(State wanted) const;
    bool Parked() const { return held || !corrupt.empty(); }
    v1::QueueName Queue() const;
    uint64_t Bytes() const;
  };

  void Report(const v1::MessageOutcome& message_outcome);
  void PutOff(const std::string& queue_id, const std::vector<uint32_t>& numbers,
              int64_t retry_at_ms);
  // Whether the notice is enqueued, and the copy.
  bool Notify(const std::string& queue_id, const std::vector<uint32_t>& numbers);
  bool WarnOfDelay(const std::string& queue_id);
  // What was changed. New ids are made later: Rename.
  std::vector<std::string> Administer(v1::Action action, const std::vector<std::string>& queue_ids,
                                      const std::vector<v1::QueueName>& queues, int64_t now_ms);
  // The requeued messages get their ids.
  void Rename(const std::vector<std::string>& old_ids, const std::vector<std::string>& new_ids);
  void MarkCorrupt(const std::string& queue_id, const std::string& reason);
  void Flush(const std::string& queue_id, int64_t now_ms);

  uint64_t CountIn(const std::vector<v1::QueueName>& queues) const;

  std::map<std::string, Message> messages;
  // Chunks so far.
  std::map<std::string, std::vector<std::string>> uploads;
  uint64_t late = 0;

 private:
  bool Act(v1::Action action, Message* message, int64_t now_ms);
  void Tidy(const std::string& queue_id);
};

}  // namespace postfleet::queue
