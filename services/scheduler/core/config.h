// What an administrator sets about scheduling, as values. Times are milliseconds, counts are
// counts; the defaults are Postfix 3.9's (POSTFIX qmgr(8)). Another one takes its place by the
// event Configured.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace postfleet::scheduler {

// *_destination_concurrency_{positive,negative}_feedback: "1", "1/2", "1/concurrency",
// "0.5/sqrt_concurrency".
struct Feedback {
  enum class Scale { kConstant, kPerConcurrency, kPerSqrtConcurrency };
  double value = 1;  // 0 to 1
  Scale scale = Scale::kConstant;

  // The feedback of one delivery while the window is `window`.
  double For(int window) const;
  // nullopt: not one of the forms above, or out of [0, 1].
  static std::optional<Feedback> Parse(std::string_view text);
};

// The parameters <transport>_* (default_* when a transport has none of its own).
struct TransportLimits {
  // <transport>_initial_destination_concurrency; lowered to destination_concurrency_limit.
  int initial_destination_concurrency = 5;
  // <transport>_destination_concurrency_limit; 0: no limit.
  int destination_concurrency_limit = 20;
  // <transport>_destination_recipient_limit; 0: no limit. 1 makes a destination of each recipient.
  int destination_recipient_limit = 50;
  Feedback positive_feedback;
  Feedback negative_feedback;
  // <transport>_destination_concurrency_failed_cohort_limit; 0: never dead.
  double failed_cohort_limit = 1;
  // maxproc of master.cf: deliveries at once over all workers; 0: what the workers announce is the
  // only bound.
  int deliveries_max = 0;

  // <transport>_destination_rate_delay: between the end of a delivery and the start of the next at
  // the same destination, one at a time; 0: none.
  int64_t destination_rate_delay_ms = 0;
  // <transport>_transport_rate_delay: the same whatever the destination; 0: none.
  int64_t transport_rate_delay_ms = 0;

  // Preemption (step.h). <transport>_delivery_slot_cost: deliveries that earn a slot; below 2: no
  // preemption.
  int slot_cost = 5;
  // <transport>_delivery_slot_loan: slots that are lent.
  int slot_loan = 3;
  // <transport>_delivery_slot_discount: percent of the slots needed that may still lack.
  int slot_discount_percent = 50;
  // <transport>_minimum_delivery_slots: who cannot earn as many is not preempted.
  int slots_min = 3;
};

struct Config {
  // qmgr_message_active_limit: messages in memory, granted to the queue as credit.
  uint32_t active_messages_max = 20'000;
  // qmgr_message_recipient_limit: recipients in memory above which only messages that have none
  // there get more; the first `activation_recipients_max` (queue.proto) come unasked.
  uint64_t recipients_max = 20'000;
  int64_t minimal_backoff_ms = 300'000;
  int64_t maximal_backoff_ms = 4'000'000;
  int64_t maximal_queue_lifetime_ms = 5 * 86'400'000LL;
  // bounce_queue_lifetime: of mail from the null sender.
  int64_t bounce_queue_lifetime_ms = 5 * 86'400'000LL;
  // delay_warning_time: the sender is told once that mail of this age was deferred; 0: never.
  int64_t delay_warning_ms = 0;
  // confirm_delay_cleared: who was warned is told when it has gone out.
  bool confirm_delay_cleared = false;
  // A non-delivery notice for each recipient of VERP mail, to its own sender; else one for all, to
  // the sender as it came (disable_verp_bounces).
  bool verp_bounces = true;
  // The local part of what nobody is to answer; mail to it that is for this system is discarded.
  std::string double_bounce_sender = "double-bounce";
  // transport_retry_time: how long mail waits for the first worker of its transport.
  int64_t transport_retry_ms = 60'000;
  // notify_classes has bounce, or delay: the postmaster is told of what the sender wants to know
  // nothing of.
  bool postmaster_gets_bounces = false;
  bool postmaster_gets_delays = false;
  // soft_bounce: what would bounce is deferred; expiry still bounces.
  bool soft_bounce = false;
  std::string recipient_delimiter;
  // defer_transports: their mail is deferred at once, unless an administrator flushed it.
  std::set<std::string, std::less<>> deferred_transports;
  // Bodies that came along with messages which wait; past it the oldest are let go and the worker
  // fetches them.
  uint64_t attached_body_bytes_max = 32 << 20;
  // Dead destinations that are remembered; past it the one that is next to revive does so early.
  size_t dead_destinations_max = 20'000;
  // Destinations whose rate delay runs; past it the one that is next has its delay cut short.
  size_t delayed_destinations_max = 20'000;
  // Recipients that one notice tells of; of more there are several, one after the other.
  size_t notice_recipients_max = 10'000;
  // An attempt that was not answered for so long is given up, its recipients are deferred; 0:
  // never.
  int64_t attempt_max_ms = 0;
  // Attempts at one message that may be lost with their worker; past it, its recipients are
  // deferred.
  int lost_attempts_max = 3;

  TransportLimits defaults;
  std::map<std::string, TransportLimits, std::less<>> transports = {
      {"local", {.destination_concurrency_limit = 2, .destination_recipient_limit = 1}},
      // Notices are bounded by the workers' slots only: they all have the same destination.
      {"bounce", {.initial_destination_concurrency = 1'000, .destination_concurrency_limit = 0}},
  };

  // Those of `transport`, or the defaults; with a rate delay the concurrency is 1, and the initial
  // one is already lowered to the limit.
  TransportLimits LimitsOf(std::string_view transport) const;
};

}  // namespace postfleet::scheduler
