#include <algorithm>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/apply.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

uint64_t MessagesIn(v1::QueueName queue, const state::Counts& counts) {
  switch (queue) {
    case v1::QUEUE_NAME_INCOMING:
      return counts.incoming_messages();
    case v1::QUEUE_NAME_DEFERRED:
      return counts.deferred_messages();
    case v1::QUEUE_NAME_HOLD:
      return counts.hold_messages();
    case v1::QUEUE_NAME_CORRUPT:
      return counts.corrupt_messages();
    default:
      return 0;
  }
}

// Of these queues; empty: all.
uint64_t TotalOf(const google::protobuf::RepeatedField<int>& queues, const state::Counts& counts) {
  uint64_t total = 0;
  for (v1::QueueName queue : {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_DEFERRED, v1::QUEUE_NAME_HOLD,
                              v1::QUEUE_NAME_CORRUPT}) {
    if (queues.empty() || std::find(queues.begin(), queues.end(), queue) != queues.end()) {
      total += MessagesIn(queue, counts);
    }
  }
  return total;
}

std::string RefusalOf(const state::StartBulk& request, const state::StateRow& state) {
  if (!v1::Action_IsValid(request.action()) || request.action() == v1::ACTION_UNSPECIFIED) {
    return "no such action";
  }
  if (!IsQueueId(request.last_queue_id())) return "the last queue id is none";
  if (state.bulks_size() >= kBulksMax) return Concat("there are ", kBulksMax, " jobs already");
  return {};
}

// Below every id of that millisecond.
std::string IdOf(int64_t time_ms) {
  return FormatQueueId(time_ms / 1'000, static_cast<int32_t>(time_ms % 1'000) * 1'000,
                       /*unique=*/0);
}

// A requeue must not come to what it makes: ids of now and later.
std::string LastIdOf(const state::StartBulk& request, const state::StateRow& state) {
  if (request.action() != v1::ACTION_REQUEUE) return request.last_queue_id();
  return std::min(request.last_queue_id(), IdOf(state.now_ms()));
}

}  // namespace

absl::Status ApplyStartBulk(Application& application) {
  const state::StartBulk& request = application.command.header.start_bulk();
  state::StateRow& state = application.state;
  application.effects.refused = RefusalOf(request, state);
  if (!application.effects.refused.empty()) return absl::OkStatus();
  state.set_last_bulk_id(state.last_bulk_id() + 1);
  state::Bulk& bulk = *state.add_bulks();
  bulk.set_id(state.last_bulk_id());
  bulk.set_action(request.action());
  *bulk.mutable_queues() = request.queues();
  bulk.set_last_queue_id(LastIdOf(request, state));
  bulk.set_asked_ms(state.now_ms());
  bulk.set_total(TotalOf(request.queues(), state.counts()));
  application.effects.action = request.action();
  application.effects.bulk_started = bulk.id();
  return absl::OkStatus();
}

void EndBulk(int position, state::StateRow& state) {
  const bool made_ids = position == 0 && state.bulks(0).action() == v1::ACTION_REQUEUE;
  state.mutable_bulks()->DeleteSubrange(position, 1);
  if (!made_ids) return;
  for (state::Bulk& waiting : *state.mutable_bulks()) {
    if (waiting.action() == v1::ACTION_REQUEUE) continue;
    const std::string raised = IdOf(state.now_ms() + 1);
    if (raised <= waiting.last_queue_id()) continue;
    if (waiting.asked_last_queue_id().empty()) {
      waiting.set_asked_last_queue_id(waiting.last_queue_id());
    }
    waiting.set_last_queue_id(raised);
  }
}

absl::Status ApplyStopBulk(Application& application) {
  auto& bulks = *application.state.mutable_bulks();
  const uint64_t id = application.command.header.stop_bulk().id();
  const auto found = std::find_if(bulks.begin(), bulks.end(),
                                  [id](const state::Bulk& bulk) { return bulk.id() == id; });
  if (found == bulks.end()) return absl::OkStatus();
  EndBulk(static_cast<int>(found - bulks.begin()), application.state);
  application.effects.bulk_stopped = id;
  return absl::OkStatus();
}

absl::Status ApplyPurge(Application& application) {
  const state::Counts& counts = application.state.counts();
  if (counts.uploads() > kPurgeUploadsMax) {
    application.effects.refused =
        Concat(counts.uploads(), " messages are being sent in, more than ", kPurgeUploadsMax);
    return absl::OkStatus();
  }
  if (application.command.header.purge().unless_corrupt() && counts.corrupt_messages() > 0) {
    application.effects.refused = "there is corrupt mail";
    return absl::OkStatus();
  }
  const uint64_t messages = TotalOf({}, counts);
  absl::Status purged = application.draft.Purge();
  if (absl::IsDataLoss(purged)) {
    application.effects.refused = "the messages that are being sent in cannot be read";
    return absl::OkStatus();
  }
  application.effects.purged = purged.ok();
  application.effects.purged_messages = messages;
  return purged;
}

}  // namespace postfleet::queue
