// What keeps memory in its bounds: recipients of a message that come later, and mail that is put
// off. `hungry`, `crowded`.
#include <algorithm>
#include <vector>

#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {
namespace {

// Below so many recipients that wait, more of the message are asked for: the rest keeps its windows
// busy until they come.
constexpr uint32_t kRefillBelow = 500;
// What may come at once: activation_recipients_max (queue.proto).
constexpr uint64_t kPageRecipients = 1'000;

// Messages that one step puts off at one destination.
constexpr size_t kPutOffAtOnce = 100;
constexpr int64_t kPutOffLogMs = 60'000;

// The youngest of the last ones, the oldest of them first, which is to come back first. By their
// arrival: what was put off before came late into memory, and would not get on any more.
std::vector<Rank> ToPutOff(const Destination& destination, size_t count) {
  std::vector<std::pair<int64_t, Rank>> last;
  for (auto at = destination.peers.end();
       at != destination.peers.begin() && last.size() < count + kPutOffAtOnce;) {
    --at;
    if (at->second.job->level > 0) continue;  // it went before another, which paid for it
    last.emplace_back(at->second.job->message->create_ms, at->first);
  }
  std::sort(last.begin(), last.end());
  std::vector<Rank> chosen;
  for (auto at = last.end() - static_cast<std::ptrdiff_t>(std::min(count, last.size()));
       at != last.end(); ++at) {
    chosen.push_back(at->second);
  }
  return chosen;
}

}  // namespace

void State::MoreIfWanted(Message* message) {
  if (message->left == 0 || message->more_asked) return;
  if (message->waiting + message->resolving >= kRefillBelow) return;
  if (message->waiting + message->resolving == 0 && message->attempts.empty()) {
    // Whatever else is in memory: a message always gets on.
    return AskForMore(message);
  }
  hungry.emplace(message->serial, message);
}

void State::AskForMore(Message* message) {
  hungry.erase(message->serial);
  message->more_asked = true;
  recipients_promised += kPageRecipients;
  actions->more.push_back(message->queue_id);
}

// It came, or will not come.
void State::MoreIsSettled(Message* message) {
  hungry.erase(message->serial);
  if (std::exchange(message->more_asked, false)) recipients_promised -= kPageRecipients;
}

void State::AskForMoreInBounds() {
  while (!hungry.empty() &&
         recipients + recipients_promised + kPageRecipients <= config.recipients_max) {
    AskForMore(hungry.begin()->second);
  }
}

// ---- Mail that is put off ----

void State::NoteCrowd(Destination* destination) {
  if (destination->crowded || destination->peers.size() <= CrowdedAbove()) return;
  destination->crowded = true;
  crowded.emplace(destination->serial, destination);
}

size_t State::CrowdedAbove() const { return config.active_messages_max / 10; }

bool State::MemoryIsScarce() const { return messages.size() * 2 >= config.active_messages_max; }

void State::RelieveCrowded() {
  if (crowded.empty()) return;
  std::vector<Destination*> all;
  for (const auto& [serial, destination] : crowded) all.push_back(destination);
  for (Destination* destination : all) {
    if (destination->peers.size() <= CrowdedAbove()) {
      destination->crowded = false;
      destination->put_off_until_ms = 0;
      crowded.erase(destination->serial);
    } else if (MemoryIsScarce() && destination->pace.known(steady_ms)) {
      Relieve(destination);
    }
  }
}

void State::Relieve(Destination* destination) {
  const double minute_rate = destination->pace.PerMinute(steady_ms);
  const double in_time =
      minute_rate * static_cast<double>(config.minimal_backoff_ms) / Pace::kMinuteMs;
  const size_t kept = std::max(CrowdedAbove(), static_cast<size_t>(in_time));
  const size_t before = destination->peers.size();
  if (before <= kept) return;
  if (steady_ms - destination->put_off_logged_ms >= kPutOffLogMs) {
    destination->put_off_logged_ms = steady_ms;
    LogLine& line = actions->log.emplace_back();
    line.kind = LogLine::Kind::kPutOff;
    line.transport = destination->transport->name;
    line.nexthop = destination->nexthop;
    line.messages = before;
    line.per_minute = static_cast<uint64_t>(minute_rate);
  }
  const auto apart_ms = static_cast<int64_t>(Pace::kMinuteMs / minute_rate);
  for (const Rank& rank : ToPutOff(*destination, std::min(before - kept, kPutOffAtOnce))) {
    PutOff(destination, rank, apart_ms);
  }
  UpdateReady(destination);
  ForgetIfIdle(destination);
}

// The notices that it owes stay owed: they are made when it comes back.
void State::Rest(Message* message, int64_t until_ms) {
  message->bounced.clear();
  message->succeeded.clear();
  message->delayed.clear();
  message->rest_until_ms = until_ms;
}

// It comes back when those that were put off before it had their turns, but no later than after
// maximal_backoff.
void State::PutOff(Destination* destination, Rank rank, int64_t apart_ms) {
  const auto at = destination->peers.find(rank);
  const Peer& peer = at->second;
  Message* message = peer.job->message;
  destination->put_off_until_ms = std::min(
      std::max(destination->put_off_until_ms, steady_ms + config.minimal_backoff_ms) + apart_ms,
      steady_ms + std::max(config.minimal_backoff_ms, config.maximal_backoff_ms));
  if (peer.notice) {
    ++counters.put_off;
    message->in_notice.clear();
    ++peer.job->selected;
    ErasePeer(destination, at);
    Rest(message, destination->put_off_until_ms);
    return FinishRound(message);
  }
  queue::v1::PutOff& put_off = actions->put_off.emplace_back();
  put_off.set_queue_id(message->queue_id);
  put_off.set_retry_at_ms(destination->put_off_until_ms - set_back_ms);
  put_off.set_transport(destination->transport->name);
  put_off.set_nexthop(destination->nexthop);
  for (size_t i = peer.next; i < peer.targets.size(); ++i) {
    Target& target = message->targets[peer.targets[i]];
    put_off.add_recipient_numbers(target.recipient.number());
    EndTarget(&target);
  }
  message->waiting -= peer.waiting();
  destination->waiting -= peer.waiting();
  peer.job->selected += Deliveries(peer);
  Await(message);
  ++counters.put_off;
  ErasePeer(destination, at);
  FinishRound(message);
}

}  // namespace postfleet::scheduler
