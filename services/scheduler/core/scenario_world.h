// For tests: what is around the scheduler, in the words of a scenario script. The queue keeps each
// recipient's state and answers Committed; the lookup answers from a route table; workers do what
// the script says. Time stands still until a script moves it.
//
// Commands (durations as 300s, 5d; ids, queue ids and addresses also as ranges 1..9, Q1..Q9,
// u1..u9@d):
//   config [TRANSPORT] key=value...      keys: see ConfigureTransport, ConfigureAll; once something
//                                        has happened it is a change
//   open | queue-lost | flush | timer | routes-changed
//   join WORKER transport=slots... | offer WORKER transport=slots... | leave WORKER | drain WORKER
//   route ADDRESS|DOMAIN|* TRANSPORT:NEXTHOP, or fail TEXT     (else smtp:<domain>)
//   activate QID from=A to=A,A [bounced=A,A] [age=T] [size=N] [body=N] [flushed=yes]
//            [forced=yes] [last=A,A] [warned=yes]    last: deferred before, 4.2.0 "earlier"
//            [left=N] [is-notice=yes] [owed=A,A]     left: more to come; owed: sent before, untold
//            [waiting=A,A]      deferred before, not due yet
//            [notify=never|success|failure|delay,...]        of each recipient
//            [trace=yes] [verp=+=]               of the envelope
//   done ID|all sent | passed | bounced STATUS TEXT | deferred STATUS TEXT | failed STATUS TEXT |
//        silent | damaged STATUS TEXT | each RESULT; RESULT... | notice | no-notice |
//        notice-failed | notice-and-copy | copy      sent: relayed; passed: passed on
//   delete QID | erase QID               erase: the scheduler is not told yet
//   recall QID
//   hold resolve|commit                  stop answering by itself; then:
//   answer [ADDRESS] | lookup-failed TEXT | committed
//   tick T                               fires the timer on the way
//   set-back T                           the clock; timers go on
//   only KIND... | only all              which actions are printed
//   show | counters | runnable | jobs
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "services/scheduler/core/step.h"

namespace postfleet::scheduler {

struct Body {
  std::string text;
};

class ScenarioWorld {
 public:
  // Runs one command and returns what it made the scheduler do, a line for each action.
  std::string Run(std::string_view command);

 private:
  using Words = std::vector<std::string>;
  struct StoredRecipient {
    std::string address;
    bool open = false;
    uint32_t notify = 0;
  };
  struct StoredMessage {
    std::string sender;
    int64_t arrival_ms = 0;
    uint32_t left = 0;
    std::vector<StoredRecipient> recipients;
  };

  void Configure(const Words& words);
  void ConfigureAll(const std::string& key, const std::string& value);
  static void ConfigureTransport(const std::string& key, const std::string& value,
                                 TransportLimits* limits);
  void Join(const Words& words);
  void Offer(const Words& words);
  void Route(const Words& words);
  void Activate(const Words& words);
  void ActivateOne(const std::string& queue_id, const std::map<std::string, std::string>& options);
  void Done(const Words& words);
  void DoneOne(uint64_t id, const Words& words);
  void Answer(const Words& words);
  void Committed();
  void Tick(int64_t ms);
  void Show();
  void ShowCounters();

  Scheduler& scheduler();
  void Step(Event event);
  void Drain();
  void Print(const char* kind, const std::string& line);
  void PrintActions(const Actions& actions);
  void PrintDelivery(const StartDelivery& start);
  void Take(Actions actions);
  lookup::v1::Answer Lookup(const lookup::v1::Query& query) const;
  queue::v1::Committed Apply(const queue::v1::MessageOutcome& outcome);
  queue::v1::Committed Apply(const queue::v1::Notify& notify);
  void PrintNotify(const SendNotify& send);
  queue::v1::Committed State(const std::string& queue_id);
  std::string Address(const std::string& queue_id, uint32_t number) const;

  Config config_;
  std::unique_ptr<Scheduler> scheduler_;
  int64_t now_ms_ = 1'800'000'000'000;
  int64_t timer_at_ms_ = kNoTimer;
  std::string output_;
  std::set<std::string> only_;
  std::map<std::string, std::string> routes_;
  std::map<std::string, StoredMessage> stored_;
  std::map<std::string, uint64_t> workers_;
  std::map<uint64_t, StartDelivery> running_;
  bool hold_resolve_ = false;
  bool hold_commit_ = false;
  std::deque<lookup::v1::Query> queries_;
  std::deque<queue::v1::Committed> committed_;
  std::deque<Event> events_;
  int notices_ = 0;
};

}  // namespace postfleet::scheduler
