// The scheduler's state and its transitions. Internal to core: others include step.h.
//
// A transition is spread over files by what it is about; each says which members it changes:
//   intake.cc    activations, answers; where a recipient goes
//   jobs.cc      jobs and peers, preemption
//   placing.cc   destinations, ready sets, starting deliveries
//   crowding.cc  more recipients of a message, mail that is put off
//   results.cc   deliveries that end, workers that come and go
//   outcomes.cc  outcomes, expiry, deletion
//   notices.cc   who is told of what, the end of a round, release
//   changes.cc   new parameters, new routes, new offers of workers
//   deadlines.cc dead destinations, throttled transports, timers, flush, forgetting
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "services/scheduler/core/model.h"
#include "services/scheduler/core/step.h"

namespace postfleet::scheduler {

inline constexpr std::string_view kErrorTransport = "error";
inline constexpr std::string_view kRetryTransport = "retry";
inline constexpr std::string_view kDiscardTransport = "discard";
inline constexpr std::string_view kBounceTransport = "bounce";

inline constexpr std::string_view kUnavailableStatus = "4.3.0";
inline constexpr std::string_view kUnavailableText = "mail transport unavailable";
inline constexpr std::string_view kForceExpiredStatus = "4.7.0";
inline constexpr std::string_view kForceExpiredText = "message is administratively expired";

// What the scheduler itself says about recipients, without a worker.
struct Verdict {
  mail::v1::Outcome::Action action = mail::v1::Outcome::ACTION_DEFERRED;
  std::string_view status;
  std::string_view text;
  std::string_view program = "error";
};

struct State {
  struct Query {
    Message* message = nullptr;
    uint32_t target = 0;
  };

  State(Config configuration, std::function<std::string()> mint)
      : config(std::move(configuration)), mint_queue_id(std::move(mint)) {}

  Config config;
  const std::function<std::string()> mint_queue_id;
  Counters counters;

  // Of the Step that runs: wall time, and a time that never goes back, in which all deadlines are.
  // It is `set_back_ms` ahead: what the clock was set back all in all.
  int64_t now_ms = 0;
  int64_t steady_ms = 0;
  int64_t set_back_ms = 0;
  Actions* actions = nullptr;

  // Between Opened and QueueLost.
  bool session_open = false;
  // Credit that the queue was given in this session; what it released comes back by itself.
  uint32_t granted = 0;

  uint64_t last_serial = 0;  // messages and destinations
  uint64_t last_query = 0;
  uint64_t last_delivery = 0;
  uint64_t losses = 0;  // workers that left with deliveries
  absl::flat_hash_map<std::string, std::unique_ptr<Message>> messages;
  absl::btree_map<uint64_t, Query> queries;
  absl::btree_map<uint64_t, std::unique_ptr<Attempt>> attempts;
  // Attempts that were given up without an answer: their slots are taken until one comes.
  absl::btree_map<uint64_t, Slots*> stuck;
  std::map<std::string, std::unique_ptr<Transport>, std::less<>> transports;
  // The same, in the order of turns.
  std::vector<Transport*> ring;
  size_t ring_next = 0;
  std::map<uint64_t, std::unique_ptr<Worker>> workers;
  absl::btree_map<Deadline, Destination*> dead;
  // Destinations whose rate delay runs.
  absl::btree_map<Deadline, Destination*> delayed;
  // Messages that hold a body, oldest first.
  absl::btree_map<uint64_t, Message*> body_holders;
  uint64_t body_bytes = 0;
  // Recipients that wait where the window has room.
  uint64_t runnable = 0;
  // Targets that are not done, and those that were asked for and have not come.
  uint64_t recipients = 0;
  uint64_t recipients_promised = 0;
  // By serial: messages that want more recipients, and destinations that hold much.
  absl::btree_map<uint64_t, Message*> hungry;
  absl::btree_map<uint64_t, Destination*> crowded;
  // When `crowded` is looked at again, if nothing else happens.
  int64_t crowded_at_ms = kNoTimer;
  int64_t timer_at_ms = kNoTimer;

  // intake.cc
  void On(Activated& event);
  void On(Resolved& event);
  void On(LookupFailed& event);
  Message* NewMessage(queue::v1::Activation& activation);
  Message* TakeUp(Message* message, queue::v1::Activation& activation);
  void AddTargets(Message* message, queue::v1::Activation& activation);
  void ReturnUntried(Message* message, std::span<const uint32_t> targets,
                     queue::v1::Activation& activation);
  void Ask(Message* message, uint32_t target);
  void Answer(uint64_t query, lookup::v1::Answer answer);
  void Route(Message* message);
  bool IsDoubleBounce(const lookup::v1::Answer& answer, std::string_view recipient) const;
  void RouteGroup(Message* message, std::string_view transport, std::string_view nexthop,
                  const std::string& name, std::span<const uint32_t> targets);

  // jobs.cc
  Job* JobOf(Message* message, Transport* transport);
  Peer* PeerOf(Message* message, Destination* destination);
  void ErasePeer(Destination* destination, absl::btree_map<Rank, Peer>::iterator at);
  void Detach(const Peer& peer);
  // How many deliveries its targets are.
  int64_t Deliveries(const Peer& peer) const;
  bool EndIfEmpty(Job* job);
  void EndEmptyJobs(Message* message);
  void LeaveStack(Job* job);
  void Preempt(Transport* transport);
  Job* Candidate(Job* current);
  using JobAt = absl::btree_map<Rank, std::unique_ptr<Job>>::iterator;
  JobAt LookForCandidate(Transport* transport, JobAt at, size_t count, int64_t slots, double* best);
  void Move(Job* job, Rank rank);

  // crowding.cc
  void MoreIfWanted(Message* message);
  void AskForMore(Message* message);
  void MoreIsSettled(Message* message);
  void AskForMoreInBounds();
  void NoteCrowd(Destination* destination);
  size_t CrowdedAbove() const;
  bool MemoryIsScarce() const;
  void RelieveCrowded();
  void Relieve(Destination* destination);
  void PutOff(Destination* destination, Rank rank, int64_t apart_ms);
  void Rest(Message* message, int64_t until_ms);

  // placing.cc
  Transport* TransportOf(std::string_view name);
  Destination* DestinationOf(Transport* transport, const std::string& name,
                             std::string_view nexthop);
  void ForgetIfIdle(Transport* transport);
  void ForgetIfIdle(Destination* destination);
  void Wait(Message* message, Destination* destination, std::span<const uint32_t> targets,
            bool first);
  void WaitForNotice(Message* message);
  void UpdateReady(Destination* destination);
  void StartDeliveries();
  bool StartOne(Transport* transport);
  void FillRecipients(Peer* peer, Attempt* attempt, scheduler::v1::Delivery* delivery);
  void FillNotice(Peer* peer, Attempt* attempt, scheduler::v1::Delivery* delivery);
  void AttachBody(Message* message, StartDelivery* start);
  void LetGoOfBody(Message* message);
  void LetGoOfBodiesPastBound();
  void DropWaiting(Message* message);
  void DropNotice(Message* message);

  // results.cc
  void On(DeliveryDone& event);
  void On(WorkerJoined& event);
  void Announce(Worker* worker, const scheduler::v1::TransportSlots& announced);
  void On(WorkerDraining& event);
  void On(WorkerLeft& event);
  void Conclude(const Attempt& attempt, DeliveryDone& event);
  void Freed(Destination* destination);
  using AttemptAt = absl::btree_map<uint64_t, std::unique_ptr<Attempt>>::iterator;
  std::unique_ptr<Attempt> TakeOut(AttemptAt at);
  std::unique_ptr<Attempt> End(AttemptAt at);
  void FreeSlot(Slots* slots);
  void GiveUpStuck();
  void Judge(const Attempt& attempt, scheduler::v1::DeliveryResult& result);
  void Feedback(const Attempt& attempt, const scheduler::v1::DeliveryResult& result);
  void NoticeDone(Message* message, DeliveryDone& event);
  void Lost(const Attempt& attempt, std::string_view why);
  int CountLoss(Message* message) const;
  void TryAgain(const Attempt& attempt);

  // outcomes.cc
  void On(Committed& event);
  void On(Deleted& event);
  void On(Recalled& event);
  // One verdict for all of `targets`, logged and committed; transport and nexthop name the job if
  // it is to wait.
  void Settle(Message* message, std::span<const uint32_t> targets, const Verdict& verdict,
              std::string_view transport, std::string_view nexthop);
  void Say(Message* message, uint32_t target, const Verdict& verdict,
           queue::v1::MessageOutcome* outcomes);
  void EndTarget(Target* target);
  void Add(Message* message, uint32_t target, mail::v1::Outcome outcome,
           queue::v1::MessageOutcome* outcomes);
  void Commit(Message* message, queue::v1::MessageOutcome outcomes, std::string_view transport,
              std::string_view nexthop);
  static void NoteDeferring(Message* message, const queue::v1::MessageOutcome& outcomes);
  // It is awaited until Committed says that it is durable.
  static void Await(Message* message, queue::v1::MessageOutcome said = {});
  bool Expired(const Message& message) const;
  void LogExpiry(Message* message);
  void Remove(Message* message);
  void CancelAttempts(Message* message);

  // notices.cc
  bool SuccessIsOwed(const Message& message, const Target& target,
                     mail::v1::Outcome* outcome) const;
  static bool IsReported(const Message& message);
  static void GatherReport(Message* message);
  bool TellsOfCleared(const Message& message, const mail::v1::Recipient& recipient) const;
  // What is owed was asked for, if only by confirm_delay_cleared: so it is told to who makes
  // notices.
  static void AskForSuccess(mail::v1::Recipient* recipient);
  bool MayWarn(const Message& message) const;
  bool TellsOfDelay(const Message& message, const mail::v1::Recipient& recipient) const;
  bool WarningIsDue(const Message& message) const;
  // Ends the round if nothing is left to do: a notice, or release. The message may be gone
  // afterwards.
  void FinishRound(Message* message);
  // Closes those failures of which nobody is to be told.
  void CloseUntold(Message* message);
  // The sender is told of `recipients`, or as many of them as one notice holds, by a delivery on
  // transport "bounce".
  void BeginNotice(Message* message, std::vector<queue::v1::BouncedRecipient>* recipients,
                   NoticeKind kind);
  void Notify(Message* message, DeliveryDone* made);
  void Release(Message* message);

  // changes.cc
  void On(Configured& event);
  void On(RoutesChanged& event);
  void On(WorkerOffers& event);
  void AskAgain(Message* message);
  void AskAllAgain();
  void ShortenDelays(Transport* transport);
  void SetTotal(Slots* slots, uint32_t total);

  // deadlines.cc
  void On(Opened& event);
  void On(QueueLost& event);
  void On(Flushed& event);
  void On(Timer& event);
  void Kill(Destination* destination, const scheduler::v1::DeliveryResult& result);
  void DeferWaiting(Destination* destination, const Verdict& verdict);
  void Revive(Destination* destination);
  void Delay(Destination* destination);
  void EndDelay(Destination* destination);
  void AwaitWorker(Transport* transport);
  void Throttle(Transport* transport);
  void Serve(Transport* transport);
  void ForgetSession();
  void ForgetWaiting();
  bool Keep(Message* message);
  void SayAgain();
  int64_t StuckAt() const;
  void SetTimer();
};

}  // namespace postfleet::scheduler
