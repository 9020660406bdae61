// Activations and answers: `messages` and `queries`, and where a recipient goes.
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "services/scheduler/core/destination.h"
#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {
namespace {

using Phase = Target::Phase;

constexpr Verdict kDiscarded = {.action = mail::v1::Outcome::ACTION_SENT,
                                .status = "2.0.0",
                                .text = "undeliverable postmaster notification discarded",
                                .program = "qmgr"};

struct Placed {
  uint32_t target = 0;
  const lookup::v1::Answer* answer = nullptr;
  std::string name;
  std::string_view address;
};

// Transports whose outcome is known without an agent.
bool IsAnsweredHere(std::string_view transport) {
  return transport == kErrorTransport || transport == kRetryTransport ||
         transport == kDiscardTransport;
}

// What error(8), retry(8) and discard(8) say: the nexthop is the text, maybe with a status in
// front.
Verdict VerdictOf(std::string_view transport, const StatusText& said) {
  Verdict verdict{.status = said.status, .text = said.text};
  if (transport == kErrorTransport) {
    verdict.action = mail::v1::Outcome::ACTION_BOUNCED;
  } else if (transport == kDiscardTransport) {
    verdict.action = mail::v1::Outcome::ACTION_SENT;
    verdict.program = kDiscardTransport;
  }
  return verdict;
}

char ClassOf(std::string_view transport) {
  return transport == kErrorTransport ? '5' : transport == kDiscardTransport ? '2' : '4';
}

bool SameGroup(const Placed& a, const Placed& b) {
  return a.answer->transport() == b.answer->transport() && a.name == b.name;
}

bool Before(const Placed& a, const Placed& b) {
  if (const int order = a.answer->transport().compare(b.answer->transport())) return order < 0;
  if (const int order = a.name.compare(b.name)) return order < 0;
  return RecipientBefore(a.address, b.address);
}

}  // namespace

Message* State::NewMessage(queue::v1::Activation& activation) {
  auto made = std::make_unique<Message>();
  Message* message = made.get();
  message->serial = ++last_serial;
  message->queue_id = activation.queue_id();
  messages.emplace(message->queue_id, std::move(made));
  return TakeUp(message, activation);
}

// What an earlier session left of it goes on.
Message* State::TakeUp(Message* message, queue::v1::Activation& activation) {
  message->kept = false;
  message->envelope = std::move(*activation.mutable_envelope());
  message->content_bytes = activation.content_bytes();
  message->chunks = activation.chunks();
  message->create_ms = activation.create_ms();
  message->active_ms = now_ms;
  message->since_ms = steady_ms;
  LogLine& line = actions->log.emplace_back();
  line.kind = LogLine::Kind::kQueueActive;
  line.queue_id = message->queue_id;
  line.sender = message->envelope.sender();
  line.size = message->content_bytes;
  line.recipients = activation.recipients_total();
  return message;
}

void State::On(Activated& event) {
  queue::v1::Activation& activation = event.activation;
  const auto known = messages.find(activation.queue_id());
  Message* message = known == messages.end() ? NewMessage(activation)
                     : known->second->kept   ? TakeUp(known->second.get(), activation)
                                             : known->second.get();
  // What is given out was not deleted: the id is in memory for what still runs of it. A message
  // that was recalled is about to be released, with this.
  if (message->deleted || message->recalled) return;
  message->flushed = activation.flushed();
  message->incoming = activation.source() == queue::v1::Activation::SOURCE_INCOMING;
  message->forced_expire = activation.forced_expire();
  message->delay_warned = message->delay_warned || activation.delay_warned();
  MoreIsSettled(message);
  message->left = activation.recipients_left();
  if (event.body != nullptr && message->body == nullptr && activation.payload_bytes() > 0) {
    message->body = std::move(event.body);
    message->body_bytes = activation.payload_bytes();
    message->body_crc32c = activation.payload_crc32c();
    body_bytes += message->body_bytes;
    body_holders.emplace(message->serial, message);
  }
  if (MayWarn(*message)) {
    for (queue::v1::BouncedRecipient& waiting : *activation.mutable_waiting()) {
      if (TellsOfDelay(*message, waiting.recipient()))
        message->delayed.push_back(std::move(waiting));
    }
  }
  AddTargets(message, activation);
  EndEmptyJobs(message);
  FinishRound(message);
}

void State::AddTargets(Message* message, queue::v1::Activation& activation) {
  absl::flat_hash_set<uint32_t> open;
  // Places of those that are done are used again: a big message comes page by page.
  std::vector<uint32_t> places;
  for (uint32_t i = 0; i < message->targets.size(); ++i) {
    if (message->targets[i].phase == Phase::kDone) {
      places.push_back(i);
    } else {
      open.insert(message->targets[i].recipient.number());
    }
  }
  std::reverse(places.begin(), places.end());
  for (const auto* list : {&message->bounced, &message->succeeded, &message->in_notice}) {
    // Whom a warning names may be tried again meanwhile.
    if (list == &message->in_notice &&
        message->notice_kind == scheduler::v1::Delivery::NOTICE_KIND_DELAY) {
      continue;
    }
    for (const auto& bounced : *list) open.insert(bounced.recipient().number());
  }
  // Their outcome is on its way.
  absl::flat_hash_set<uint32_t> said;
  for (const queue::v1::MessageOutcome& outcomes : message->said) {
    for (const mail::v1::Outcome& outcome : outcomes.outcomes()) {
      said.insert(outcome.recipient_number());
    }
  }
  std::vector<uint32_t> untried;
  if (message->targets.empty()) message->targets.reserve(activation.recipients_size());
  for (mail::v1::Recipient& recipient : *activation.mutable_recipients()) {
    if (!open.empty() && open.contains(recipient.number())) continue;
    if (!said.empty() && said.contains(recipient.number())) continue;
    uint32_t target = message->targets.size();
    if (places.empty()) {
      message->targets.push_back({.recipient = std::move(recipient)});
    } else {
      target = places.back();
      places.pop_back();
      message->targets[target] = {.recipient = std::move(recipient)};
    }
    ++recipients;
    if (message->forced_expire) {
      untried.push_back(target);
    } else {
      Ask(message, target);
    }
  }
  for (queue::v1::BouncedRecipient& bounced : *activation.mutable_bounced()) {
    if (!open.empty() && open.contains(bounced.recipient().number())) continue;
    const bool sent = bounced.outcome().action() == mail::v1::Outcome::ACTION_SENT;
    if (sent) AskForSuccess(bounced.mutable_recipient());
    (sent ? message->succeeded : message->bounced).push_back(std::move(bounced));
  }
  if (!untried.empty()) ReturnUntried(message, untried, activation);
}

// POSTFIX postsuper(1) -e: no attempt is made; who was deferred before returns with that reason.
void State::ReturnUntried(Message* message, std::span<const uint32_t> targets,
                          queue::v1::Activation& activation) {
  absl::flat_hash_map<uint32_t, mail::v1::Outcome*> last;
  for (mail::v1::Outcome& outcome : *activation.mutable_last()) {
    last.emplace(outcome.recipient_number(), &outcome);
  }
  queue::v1::MessageOutcome outcomes;
  for (const uint32_t target : targets) {
    const auto known = last.find(message->targets[target].recipient.number());
    if (known == last.end()) {
      Say(message, target, {.status = kForceExpiredStatus, .text = kForceExpiredText}, &outcomes);
      continue;
    }
    known->second->set_action(mail::v1::Outcome::ACTION_DEFERRED);
    Add(message, target, std::move(*known->second), &outcomes);
  }
  Commit(message, std::move(outcomes), kRetryTransport, {});
}

void State::Ask(Message* message, uint32_t target) {
  ++message->resolving;
  message->targets[target].query = last_query + 1;
  queries.emplace_hint(queries.end(), ++last_query, Query{message, target});
  lookup::v1::Query& query = actions->resolve.emplace_back();
  query.set_id(last_query);
  query.set_recipient(message->targets[target].recipient.address());
  query.set_sender(message->envelope.sender());
}

void State::On(Resolved& event) {
  for (lookup::v1::Answer& answer : *event.response.mutable_answers()) {
    const uint64_t id = answer.id();
    Answer(id, std::move(answer));
  }
}

void State::On(LookupFailed& event) {
  std::vector<uint64_t> ids = std::move(event.query_ids);
  if (ids.empty()) {
    for (const auto& [id, query] : queries) ids.push_back(id);
  }
  lookup::v1::Answer answer;
  answer.set_failure(event.text.empty() ? "address resolver failure" : event.text);
  for (const uint64_t id : ids) Answer(id, answer);
}

void State::Answer(uint64_t query, lookup::v1::Answer answer) {
  const auto found = queries.find(query);
  if (found == queries.end()) return;
  const auto [message, target] = found->second;
  queries.erase(found);
  message->targets[target].phase = Phase::kResolved;
  message->answered.push_back({target, std::move(answer)});
  if (--message->resolving > 0) return;
  Route(message);
  EndEmptyJobs(message);
  FinishRound(message);
}

// All answers of the message are there: recipients are sorted by destination, and each group goes
// where it belongs.
void State::Route(Message* message) {
  const std::vector<Answered> answered = std::move(message->answered);
  message->answered.clear();
  std::vector<Placed> placed;
  placed.reserve(answered.size());
  queue::v1::MessageOutcome failures;
  for (const auto& [target, answer] : answered) {
    if (!answer.failure().empty()) {
      Say(message, target, {.status = "4.3.0", .text = answer.failure()}, &failures);
      continue;
    }
    mail::v1::Recipient& recipient = message->targets[target].recipient;
    if (!answer.recipient().empty() && answer.recipient() != recipient.address()) {
      // orig_to= and notices name what the sender said.
      if (recipient.original_address().empty()) {
        recipient.set_original_address(recipient.address());
      }
      recipient.set_address(answer.recipient());
    }
    if (IsDoubleBounce(answer, recipient.address())) {
      Settle(message, std::span(&target, 1), kDiscarded, kDiscardTransport, "");
      continue;
    }
    const bool one = !IsAnsweredHere(answer.transport()) &&
                     TransportOf(answer.transport())->limits.destination_recipient_limit == 1;
    placed.push_back(
        {target, &answer,
         DestinationName(answer.nexthop(), recipient.address(), one, config.recipient_delimiter),
         recipient.address()});
  }
  Commit(message, std::move(failures), kRetryTransport, {});
  if (placed.size() > 1) std::stable_sort(placed.begin(), placed.end(), Before);
  std::vector<uint32_t> group;
  for (size_t i = 0; i < placed.size(); ++i) {
    group.push_back(placed[i].target);
    if (i + 1 < placed.size() && SameGroup(placed[i], placed[i + 1])) continue;
    RouteGroup(message, placed[i].answer->transport(), placed[i].answer->nexthop(), placed[i].name,
               group);
    group.clear();
  }
}

// POSTFIX qmgr_message: what such mail says was said where it could be.
bool State::IsDoubleBounce(const lookup::v1::Answer& answer, std::string_view recipient) const {
  if (answer.address_class() != lookup::v1::ADDRESS_CLASS_LOCAL) return false;
  const std::string_view local = recipient.substr(0, recipient.rfind('@'));
  return absl::EqualsIgnoreCase({local.data(), local.size()}, config.double_bounce_sender);
}

void State::RouteGroup(Message* message, std::string_view transport_name, std::string_view nexthop,
                       const std::string& name, std::span<const uint32_t> targets) {
  if (IsAnsweredHere(transport_name)) {
    const StatusText said = SplitStatus(nexthop, ClassOf(transport_name));
    Settle(message, targets, VerdictOf(transport_name, said), transport_name, nexthop);
    return;
  }
  if (!message->flushed && config.deferred_transports.contains(transport_name)) {
    Settle(message, targets, {.status = "4.3.2", .text = "deferred transport"}, transport_name,
           nexthop);
    return;
  }
  Transport* transport = TransportOf(transport_name);
  // POSTFIX qmgr_message: who flushed it wants to know whether it can go now.
  if (message->flushed && transport->phase == Transport::Phase::kThrottled) Serve(transport);
  // Transport "bounce" speaks of notices only; mail cannot be routed there.
  if (transport->phase == Transport::Phase::kThrottled || transport_name == kBounceTransport) {
    Settle(message, targets, {.status = kUnavailableStatus, .text = kUnavailableText},
           transport_name, nexthop);
    ForgetIfIdle(transport);
    return;
  }
  Destination* destination = DestinationOf(transport, name, nexthop);
  if (destination->window.dead() && message->flushed) {
    Revive(destination);
    // An idle one is forgotten with its death, maybe its transport too.
    destination = DestinationOf(TransportOf(transport_name), name, nexthop);
  }
  if (destination->window.dead()) {
    Settle(message, targets, {.status = destination->dead_status, .text = destination->dead_text},
           transport_name, nexthop);
    return;
  }
  Wait(message, destination, targets, /*first=*/false);
}

}  // namespace postfleet::scheduler
