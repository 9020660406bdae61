#include "services/queue/dispatch/dispatcher.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace postfleet::queue {
namespace {

// Rows read from an index at once: an iterator costs as much as some ten rows.
constexpr size_t kPageRows = 256;

constexpr size_t kFlushedIdsMax = 20'000;

constexpr RecipientsCursor kNothingBehind = {.next_number = std::numeric_limits<uint32_t>::max()};

// Debian's abseil looks strings up by a string_view of its own.
absl::string_view Lookup(std::string_view key) { return {key.data(), key.size()}; }

bool Before(const DueKey& a, const DueKey& b) {
  return std::tie(a.due_ms, a.queue_id, a.job) < std::tie(b.due_ms, b.queue_id, b.job);
}

// The least key above.
IntakeKey After(const IntakeKey& key) { return {key.partition, key.index, key.ordinal + 1}; }
DueKey After(const DueKey& key) { return {key.partition, key.due_ms, key.queue_id, key.job + 1}; }

void FillActivation(std::string_view queue_id, const state::MessageRow& row,
                    v1::Activation* activation) {
  activation->set_queue_id(std::string(queue_id));
  *activation->mutable_envelope() = row.envelope();
  activation->set_content_bytes(row.content_bytes());
  activation->set_chunks(row.chunks());
  activation->set_recipients_total(row.recipients_total());
  activation->set_create_ms(row.create_ms());
  activation->set_forced_expire(row.forced_expire());
  activation->set_delay_warned(row.delay_warned());
}

int64_t ArrivalMs(const state::MessageRow& row) {
  return row.envelope().arrival_ms() > 0 ? row.envelope().arrival_ms() : row.create_ms();
}

void FillRecipients(OpenRecipients* recipients, v1::Activation* activation) {
  activation->set_source(recipients->any_untried ? v1::Activation::SOURCE_INCOMING
                                                 : v1::Activation::SOURCE_DEFERRED);
  activation->set_recipients_left(recipients->cursor.left);
  for (state::RecipientRow& row : recipients->open) {
    // Its notice says why it waited last.
    if (activation->forced_expire() && row.state() == state::RecipientRow::STATE_DEFERRED &&
        row.has_last()) {
      row.mutable_last()->set_recipient_number(row.recipient().number());
      activation->add_last()->Swap(row.mutable_last());
    }
    activation->add_recipients()->Swap(row.mutable_recipient());
  }
  const auto tell = [](state::RecipientRow* row, v1::BouncedRecipient* told) {
    told->mutable_recipient()->Swap(row->mutable_recipient());
    told->mutable_outcome()->Swap(row->mutable_last());
  };
  for (state::RecipientRow& row : recipients->bounced) tell(&row, activation->add_bounced());
  for (state::RecipientRow& row : recipients->waiting) {
    v1::BouncedRecipient* waiting = activation->add_waiting();
    tell(&row, waiting);
    waiting->mutable_outcome()->set_recipient_number(waiting->recipient().number());
  }
}

void AttachCopy(std::string bytes, uint32_t crc32c, Activated* activated) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  activated->payload = {*owner};
  activated->activation.set_payload_bytes(static_cast<uint32_t>(owner->size()));
  activated->activation.set_payload_crc32c(crc32c);
  activated->payload_owner = std::move(owner);
}

void Attach(const Effects& effects, const NewMessageEffect& message, Activated* activated) {
  if (effects.payload_owner == nullptr) {
    std::string bytes;
    bytes.reserve(message.row.content_bytes());
    for (std::string_view piece : message.payload) bytes.append(piece);
    AttachCopy(std::move(bytes), message.payload_crc32c, activated);
    return;
  }
  activated->payload = message.payload;
  activated->payload_owner = effects.payload_owner;
  activated->activation.set_payload_bytes(static_cast<uint32_t>(message.row.content_bytes()));
  activated->activation.set_payload_crc32c(message.payload_crc32c);
}

}  // namespace

struct Dispatcher::TakeState {
  int64_t now_ms;
  size_t budget_bytes;
  size_t rows_left;
  size_t bytes = 0;
  DispatchBatch batch;

  bool Full() const { return bytes >= budget_bytes || rows_left == 0; }
  void Add(Activated activated) {
    bytes += activated.activation.ByteSizeLong() + activated.activation.payload_bytes();
    batch.activations.push_back(std::move(activated));
  }
};

Dispatcher::Dispatcher(const Reader* reader, uint32_t partition, const DispatchLimits& limits)
    : reader_(reader), partition_(partition), limits_(limits) {}

void Dispatcher::Close() {
  open_ = false;
  credit_ = 0;
  attached_bytes_ = 0;
  messages_.clear();
  recipients_out_ = 0;
  inactive_ = 0;
  fresh_.clear();
  revisit_.clear();
  resting_.clear();
  more_.clear();
  deleted_.clear();
  recalled_.clear();
  for (auto& [queue_id, withheld] : withheld_) {
    if (std::exchange(withheld.out, false)) settled_.push_back(queue_id);
  }
  flushed_ = false;
  ForgetIndexes();
  salvage_at_ms_.reset();
  salvage_cursor_.clear();
  salvage_page_.clear();
  salvage_end_ = false;
  index_damage_.clear();
}

void Dispatcher::ForgetIndexes() {
  intake_page_.clear();
  due_page_.clear();
  flush_page_.clear();
  flushed_ids_.clear();
  next_due_ms_.reset();
  backlog_ = flush_pass_ = false;
}

void Dispatcher::Open(uint64_t epoch, uint64_t flush_index, bool with_waiting) {
  Close();
  with_waiting_ = with_waiting;
  open_ = true;
  intake_tokens_ = kIntakeTokensMax;
  epoch_ = epoch;
  flush_index_ = flush_index;
  Rescan();
}

void Dispatcher::Rescan() {
  backlog_ = true;
  intake_cursor_ = {partition_, 0, 0};
  intake_page_.clear();
  due_cursor_ = {partition_, 0, "", 0};
  due_page_.clear();
  next_due_ms_ = 0;
  flush_pass_ = flush_index_ > 0;
  flush_cursor_ = due_cursor_;
  flush_page_.clear();
}

std::optional<int64_t> Dispatcher::NextDueMs() const {
  if (credit_ == 0) return std::nullopt;
  std::optional<int64_t> earliest = next_due_ms_;
  const auto lower = [&earliest](int64_t at_ms) {
    earliest = std::min(earliest.value_or(at_ms), at_ms);
  };
  if (salvage_at_ms_.has_value()) lower(*salvage_at_ms_);
  if (!resting_.empty()) lower(resting_.begin()->first);
  return earliest;
}

bool Dispatcher::IsActive(std::string_view queue_id) const {
  const auto entry = messages_.find(Lookup(queue_id));
  return entry != messages_.end() && entry->second.active();
}

std::vector<std::string> Dispatcher::ActiveIds() const {
  std::vector<std::string> ids;
  ids.reserve(active_messages());
  for (const auto& [queue_id, entry] : messages_) {
    if (entry.active()) ids.push_back(queue_id);
  }
  return ids;
}

int64_t Dispatcher::OldestActiveMs() const {
  int64_t oldest_ms = 0;
  for (const auto& [queue_id, entry] : messages_) {
    if (!entry.active() || entry.arrival_ms == 0) continue;
    if (oldest_ms == 0 || entry.arrival_ms < oldest_ms) oldest_ms = entry.arrival_ms;
  }
  return oldest_ms;
}

void Dispatcher::OnEffects(const Effects& effects) {
  if (!open_) {
    intake_tokens_ -=
        static_cast<uint32_t>(std::min<size_t>(intake_tokens_, effects.new_messages.size()));
    return;
  }
  for (const OutcomeEffect& outcome : effects.outcomes) {
    if (outcome.removed) OnEnded(outcome.queue_id, End::kOutcome);
  }
  for (const OutcomeEffect& notify : effects.notifies) {
    if (notify.removed) OnEnded(notify.queue_id, End::kOutcome);
  }
  for (const std::string& queue_id : effects.deleted) OnEnded(queue_id, End::kDeleted);
  for (const std::string& queue_id : effects.parked) OnEnded(queue_id, End::kParked);
  if (effects.purged) OnPurged();
  for (const DueEffect& due : effects.due) {
    Unpark(due.queue_id);
    LowerDueCursor(due);
  }
  for (const NewMessageEffect& message : effects.new_messages) {
    if (message.row.partition() != partition_) continue;
    OnNewMessage(effects, message);
    if (!backlog_) {
      intake_tokens_ = kIntakeTokensMax;
    } else if (intake_tokens_ > 0) {
      --intake_tokens_;
    }
  }
  for (const IntakeEffect& intake : effects.intake_again) {
    Unpark(intake.queue_id);
    // Out: its release looks at it. Else the outcome came after the release.
    if (!messages_.contains(intake.queue_id)) StartBacklogAt(intake.key);
  }
  if (effects.flushed_all) {
    flush_index_ = effects.index;
    flush_pass_ = true;
    flush_cursor_ = {partition_, 0, "", 0};
    flush_page_.clear();
    Wake(std::numeric_limits<int64_t>::max());
  }
  for (const std::string& queue_id : effects.flushed) {
    if (const auto found = messages_.find(queue_id); found != messages_.end()) Wake(found);
    if (flushed_ids_.size() < kFlushedIdsMax) flushed_ids_.insert(queue_id);
  }
  // Of single messages the activation says it: other destinations stay as they are.
  flushed_ = flushed_ || effects.flushed_all;
}

void Dispatcher::OnNewMessage(const Effects& effects, const NewMessageEffect& message) {
  // Restore gives a withheld one its turn.
  if (backlog_ || withheld_.contains(Lookup(message.queue_id))) return;
  if (credit_ == 0) {
    StartBacklogAt({partition_, message.row.intake_index(), message.row.intake_ordinal()});
    return;
  }
  if (auto gone = messages_.find(Lookup(message.queue_id)); gone != messages_.end()) {
    // The id of a message that is gone but not released yet: its release finds the new one.
    SetPhase(&gone->second, Phase::kOut, /*parked=*/false);
    gone->second.cursor = kNothingBehind;
    return;
  }
  --credit_;
  Message& entry = messages_[std::string(message.queue_id)];
  entry.phase = Phase::kFresh;
  entry.arrival_ms = ArrivalMs(message.row);
  entry.fresh_ticket = ++fresh_tickets_;
  fresh_.push_back(
      {std::string(message.queue_id), entry.fresh_ticket, ActivateFresh(effects, message, &entry)});
  attached_bytes_ += entry.attached_bytes;
  CountGiven(entry.cursor.next_number, &entry);
}

size_t Dispatcher::PageSize() const {
  return recipients_out_ < limits_.recipients_out_max ? limits_.activation_recipients_max
                                                      : limits_.activation_recipients_min;
}

void Dispatcher::CountGiven(size_t recipients, Message* entry) {
  entry->recipients += recipients;
  recipients_out_ += recipients;
}

uint64_t Dispatcher::Attachable(const state::MessageRow& row) const {
  const uint64_t bytes = row.content_bytes();
  const bool fits = row.chunks() == 1 && bytes <= limits_.attached_message_bytes_max &&
                    attached_bytes_ + bytes <= limits_.attached_body_bytes_max;
  return fits ? bytes : 0;
}

Activated Dispatcher::ActivateFresh(const Effects& effects, const NewMessageEffect& message,
                                    Message* entry) const {
  Activated activated;
  v1::Activation& activation = activated.activation;
  FillActivation(message.queue_id, message.row, &activation);
  activation.set_source(v1::Activation::SOURCE_INCOMING);
  const size_t count = std::min(static_cast<size_t>(message.recipients->size()), PageSize());
  for (size_t number = 0; number < count; ++number) {
    mail::v1::Recipient* recipient = activation.add_recipients();
    *recipient = (*message.recipients)[static_cast<int>(number)];
    recipient->set_number(static_cast<uint32_t>(number));
  }
  entry->cursor.next_number = static_cast<uint32_t>(count);
  entry->cursor.left = message.row.recipients_total() - entry->cursor.next_number;
  activation.set_recipients_left(entry->cursor.left);
  entry->attached_bytes = Attachable(message.row);
  if (entry->attached_bytes > 0) Attach(effects, message, &activated);
  return activated;
}

void Dispatcher::OnEnded(const std::string& queue_id, End how) {
  if (how != End::kParked) flushed_ids_.erase(queue_id);
  if (how != End::kParked && !withheld_.empty()) {
    Settle(queue_id);
    withheld_.erase(queue_id);
  }
  const auto found = messages_.find(queue_id);
  if (found == messages_.end()) return;
  Message& entry = found->second;
  if (entry.phase == Phase::kRemoved) return;
  if (entry.phase != Phase::kOut) return Forget(found);
  if (how == End::kParked) {
    SetPhase(&entry, Phase::kOut, /*parked=*/true);
    return Recall(queue_id, &entry);
  }
  SetPhase(&entry, Phase::kRemoved, /*parked=*/false);
  if (how == End::kDeleted) deleted_.push_back(queue_id);
}

void Dispatcher::OnPurged() {
  for (auto next = messages_.begin(); next != messages_.end();) {
    const auto found = next++;
    Message& entry = found->second;
    if (entry.phase == Phase::kRemoved) continue;
    if (entry.phase != Phase::kOut) {
      Forget(found);
      continue;
    }
    SetPhase(&entry, Phase::kRemoved, /*parked=*/false);
    deleted_.push_back(found->first);
  }
  for (const auto& [queue_id, withheld] : withheld_) {
    if (withheld.out) settled_.push_back(queue_id);
  }
  withheld_.clear();
  fresh_.clear();
  revisit_.clear();
  more_.clear();
  // Nothing lies behind the cursors; what comes now is told by its effects.
  ForgetIndexes();
}

void Dispatcher::Forget(Messages::iterator found) {
  const Message& entry = found->second;
  if (entry.phase == Phase::kFresh) {
    ++credit_;
    attached_bytes_ -= entry.attached_bytes;
  }
  if (entry.phase == Phase::kResting) resting_.erase({entry.rests_until_ms, found->first});
  if (!entry.active()) --inactive_;
  recipients_out_ -= entry.recipients;
  messages_.erase(found);
}

void Dispatcher::SetPhase(Message* entry, Phase phase, bool parked) {
  if (!entry->active()) --inactive_;
  entry->phase = phase;
  entry->parked = parked;
  if (!entry->active()) ++inactive_;
}

void Dispatcher::Recall(const std::string& queue_id, Message* entry) {
  if (std::exchange(entry->recalled, true)) return;
  recalled_.push_back(queue_id);
}

void Dispatcher::Unpark(const std::string& queue_id) {
  if (inactive_ == 0) return;
  const auto found = messages_.find(queue_id);
  if (found != messages_.end() && found->second.parked) {
    SetPhase(&found->second, found->second.phase, /*parked=*/false);
  }
}

void Dispatcher::Settle(std::string_view queue_id) {
  const auto found = withheld_.find(Lookup(queue_id));
  if (found == withheld_.end() || !std::exchange(found->second.out, false)) return;
  settled_.emplace_back(queue_id);
}

Dispatcher::Whereabouts Dispatcher::Withhold(std::string_view queue_id) {
  Withheld& withheld = withheld_[std::string(queue_id)];
  ++withheld.times;
  const auto found = messages_.find(Lookup(queue_id));
  if (found == messages_.end()) return Whereabouts::kFree;
  if (found->second.phase == Phase::kOut) {
    withheld.out = true;
    Recall(found->first, &found->second);
    return Whereabouts::kOut;
  }
  // kRevisit: its turn finds it withheld.
  if (found->second.phase == Phase::kFresh) Forget(found);
  return Whereabouts::kFree;
}

void Dispatcher::Restore(std::string_view queue_id) {
  const auto found = withheld_.find(Lookup(queue_id));
  if (found == withheld_.end() || --found->second.times > 0) return;
  withheld_.erase(found);
  // Out: its release looks at it.
  if (!open_ || messages_.contains(Lookup(queue_id))) return;
  if (revisit_.size() < limits_.restored_max) {
    revisit_.emplace_back(queue_id);
  } else {
    Rescan();
  }
}

void Dispatcher::OnReleased(std::string_view queue_id) {
  const auto found = messages_.find(Lookup(queue_id));
  if (found == messages_.end()) return;
  Message& entry = found->second;
  if (entry.phase != Phase::kOut && entry.phase != Phase::kRemoved) return;
  ++credit_;
  attached_bytes_ -= entry.attached_bytes;
  entry.attached_bytes = 0;
  if (entry.phase == Phase::kRemoved) return Forget(found);
  SetPhase(&entry, Phase::kRevisit, /*parked=*/false);
  entry.recalled = entry.more_wanted = false;
  if (!withheld_.empty()) Settle(queue_id);
  revisit_.emplace_back(queue_id);
}

void Dispatcher::OnResting(std::string_view queue_id, int64_t until_ms) {
  OnReleased(queue_id);
  const auto found = messages_.find(Lookup(queue_id));
  // Its place in revisit_ is dead until it wakes.
  if (found == messages_.end() || found->second.phase != Phase::kRevisit) return;
  SetPhase(&found->second, Phase::kResting, /*parked=*/false);
  found->second.rests_until_ms = until_ms;
  resting_.emplace(until_ms, queue_id);
  if (resting_.size() > limits_.resting_max) {
    Wake(messages_.find(resting_.begin()->second));
  }
}

void Dispatcher::Wake(int64_t until_ms) {
  while (!resting_.empty() && resting_.begin()->first <= until_ms) {
    Wake(messages_.find(resting_.begin()->second));
  }
}

void Dispatcher::Wake(Messages::iterator found) {
  if (found->second.phase != Phase::kResting) return;
  resting_.erase({found->second.rests_until_ms, found->first});
  SetPhase(&found->second, Phase::kRevisit, /*parked=*/false);
  revisit_.push_back(found->first);
}

void Dispatcher::OnMoreWanted(std::string_view queue_id) {
  const auto found = messages_.find(Lookup(queue_id));
  if (found == messages_.end() || found->second.phase != Phase::kOut) return;
  if (!std::exchange(found->second.more_wanted, true)) more_.emplace_back(queue_id);
}

void Dispatcher::StartBacklogAt(const IntakeKey& key) {
  // With a backlog the cursor is before every new key.
  if (backlog_) return;
  backlog_ = true;
  intake_cursor_ = key;
  intake_page_.clear();
}

void Dispatcher::LowerDueCursor(const DueEffect& due) {
  next_due_ms_ = std::min(next_due_ms_.value_or(due.due_ms), due.due_ms);
  DueKey key = {partition_, due.due_ms, due.queue_id, due.job};
  if (!Before(key, due_cursor_)) return;
  // The rest of the page is read again.
  if (!due_page_.empty()) due_cursor_ = due_page_.front().key;
  due_page_.clear();
  if (Before(key, due_cursor_)) due_cursor_ = std::move(key);
}

absl::StatusOr<DispatchBatch> Dispatcher::Take(int64_t now_ms, size_t budget_bytes) {
  TakeState take = {now_ms, budget_bytes, limits_.rows_scanned_max};
  if (!open_) return std::move(take.batch);
  Wake(now_ms);
  take.batch.deleted.swap(deleted_);
  // Not those that were released since: they may go out in this very batch.
  for (std::string& queue_id : std::exchange(recalled_, {})) {
    const auto found = messages_.find(queue_id);
    if (found != messages_.end() && found->second.phase == Phase::kOut && found->second.recalled) {
      take.batch.recalled.push_back(std::move(queue_id));
    }
  }
  take.batch.flushed = std::exchange(flushed_, false);
  while (!take.Full()) {
    absl::StatusOr<bool> gave = TakeMore(&take);
    if (gave.ok() && !*gave) gave = TakeRevisit(&take);
    if (!gave.ok()) return gave.status();
    if (*gave) continue;
    // In turn; who has nothing lets the other go.
    for (int i = 0; i < 2 && !*gave; ++i) {
      deferred_turn_ = !deferred_turn_;
      gave = deferred_turn_ ? TakeDeferred(&take) : TakeNew(&take);
      if (!gave.ok()) return gave.status();
    }
    // The damage may have been found by the last of them.
    if (!*gave) gave = TakeSalvaged(&take);
    if (!gave.ok()) return gave.status();
    if (!*gave) break;
  }
  take.batch.more = take.Full();
  take.batch.index_damage = std::exchange(index_damage_, {});
  return std::move(take.batch);
}

absl::StatusOr<bool> Dispatcher::TakeMore(TakeState* take) {
  while (!more_.empty() && !take->Full()) {
    const std::string queue_id = std::move(more_.front());
    more_.pop_front();
    --take->rows_left;
    const auto found = messages_.find(queue_id);
    if (found == messages_.end() || !std::exchange(found->second.more_wanted, false)) continue;
    if (found->second.phase != Phase::kOut || found->second.recalled) continue;
    Activated activated;
    const absl::StatusOr<bool> gave = ReadMore(queue_id, take->now_ms, &activated, &found->second);
    if (absl::IsDataLoss(gave.status())) {
      take->batch.damaged.push_back({queue_id, std::string(gave.status().message())});
      continue;
    }
    if (gave.ok() && *gave) take->Add(std::move(activated));
    if (!gave.ok() || *gave) return gave;
  }
  return false;
}

absl::StatusOr<bool> Dispatcher::TakeRevisit(TakeState* take) {
  while (credit_ > 0 && !revisit_.empty() && !take->Full()) {
    const std::string queue_id = std::move(revisit_.front());
    revisit_.pop_front();
    --take->rows_left;
    const auto found = messages_.find(queue_id);
    uint32_t next_number = 0;
    if (found != messages_.end()) {
      if (found->second.phase != Phase::kRevisit) continue;
      next_number = found->second.cursor.next_number;
      Forget(found);
    }
    const absl::StatusOr<bool> gave = GiveOut(queue_id, next_number, take);
    if (!gave.ok() || *gave) return gave;
  }
  return false;
}

absl::StatusOr<bool> Dispatcher::TakeNew(TakeState* take) {
  if (TakeFresh(take)) return true;
  return TakeIntake(take);
}

absl::StatusOr<bool> Dispatcher::TakeDeferred(TakeState* take) {
  absl::StatusOr<bool> gave = TakeDue(take);
  if (!gave.ok() || *gave) return gave;
  gave = TakeFlushed(take);
  if (!gave.ok() || *gave) return gave;
  return TakeSalvaged(take);
}

bool Dispatcher::TakeFresh(TakeState* take) {
  bool gave = false;
  while (!gave && !fresh_.empty()) {
    Fresh& fresh = fresh_.front();
    const auto found = messages_.find(fresh.queue_id);
    if (found != messages_.end() && found->second.phase == Phase::kFresh &&
        found->second.fresh_ticket == fresh.ticket) {
      found->second.phase = Phase::kOut;
      take->Add(std::move(fresh.activated));
      gave = true;
    }
    fresh_.pop_front();
  }
  return gave;
}

absl::StatusOr<bool> Dispatcher::TakeIntake(TakeState* take) {
  while (credit_ > 0 && backlog_ && !take->Full()) {
    if (intake_page_.empty()) {
      absl::StatusOr<std::vector<IntakeEntry>> page =
          reader_->ScanIntake(intake_cursor_, kPageRows);
      --take->rows_left;
      if (!page.ok()) {
        if (!BeginSalvage(page.status(), take->now_ms)) return page.status();
        backlog_ = false;
        break;
      }
      if (page->empty()) {
        backlog_ = false;
        break;
      }
      intake_cursor_ = After(page->back().key);
      intake_page_.assign(page->begin(), page->end());
      continue;
    }
    const std::string queue_id = std::move(intake_page_.front().queue_id);
    intake_page_.pop_front();
    --take->rows_left;
    const absl::StatusOr<bool> gave = GiveOut(queue_id, 0, take);
    if (gave.ok() && *gave) intake_tokens_ = std::min(intake_tokens_ + 1, kIntakeTokensMax);
    if (!gave.ok() || *gave) return gave;
  }
  return false;
}

absl::StatusOr<bool> Dispatcher::TakeDue(TakeState* take) {
  while (credit_ > 0 && !take->Full()) {
    if (due_page_.empty()) {
      const absl::StatusOr<bool> found = ReadDuePage(take);
      if (!found.ok() || !*found) return found;
    }
    const std::string queue_id = std::move(due_page_.front().key.queue_id);
    due_page_.pop_front();
    --take->rows_left;
    const absl::StatusOr<bool> gave = GiveOut(queue_id, 0, take);
    if (!gave.ok() || *gave) return gave;
  }
  return false;
}

absl::StatusOr<bool> Dispatcher::ReadDuePage(TakeState* take) {
  if (!next_due_ms_.has_value() || *next_due_ms_ > take->now_ms) return false;
  absl::StatusOr<std::vector<DueEntry>> page = reader_->ScanDue(due_cursor_, kPageRows);
  --take->rows_left;
  if (!page.ok()) {
    if (!BeginSalvage(page.status(), take->now_ms)) return page.status();
    next_due_ms_.reset();
    return false;
  }
  const auto future = std::find_if(page->begin(), page->end(), [&](const DueEntry& entry) {
    return entry.key.due_ms > take->now_ms;
  });
  if (future != page->end()) {
    next_due_ms_ = future->key.due_ms;
    due_cursor_ = future->key;
  } else if (!page->empty()) {
    due_cursor_ = After(page->back().key);
  } else {
    next_due_ms_.reset();
  }
  due_page_.assign(page->begin(), future);
  return !due_page_.empty();
}

absl::StatusOr<bool> Dispatcher::TakeFlushed(TakeState* take) {
  while (credit_ > 0 && flush_pass_ && !take->Full()) {
    if (flush_page_.empty()) {
      absl::StatusOr<std::vector<DueEntry>> page = reader_->ScanDue(flush_cursor_, kPageRows);
      --take->rows_left;
      if (!page.ok()) {
        if (!BeginSalvage(page.status(), take->now_ms)) return page.status();
        flush_pass_ = false;
        break;
      }
      if (page->empty()) {
        flush_pass_ = false;
        break;
      }
      flush_cursor_ = After(page->back().key);
      flush_page_.assign(page->begin(), page->end());
      continue;
    }
    const DueEntry entry = std::move(flush_page_.front());
    flush_page_.pop_front();
    --take->rows_left;
    if (entry.index >= flush_index_) continue;
    const absl::StatusOr<bool> gave = GiveOut(entry.key.queue_id, 0, take);
    if (!gave.ok() || *gave) return gave;
  }
  return false;
}

bool Dispatcher::BeginSalvage(const absl::Status& damage, int64_t now_ms) {
  if (!absl::IsDataLoss(damage)) return false;
  if (salvage_at_ms_.has_value()) return true;
  salvage_at_ms_ = now_ms;
  index_damage_ = std::string(damage.message());
  return true;
}

absl::StatusOr<bool> Dispatcher::TakeSalvaged(TakeState* take) {
  if (!salvage_at_ms_.has_value() || *salvage_at_ms_ > take->now_ms) return false;
  while (credit_ > 0 && !take->Full()) {
    if (salvage_page_.empty()) {
      if (std::exchange(salvage_end_, false)) {
        EndSalvage(take->now_ms);
        break;
      }
      absl::StatusOr<IdPage> page =
          reader_->ScanQueues({.queues = {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_DEFERRED},
                               .after = salvage_cursor_,
                               .ids_max = kPageRows,
                               .rows_max = limits_.rows_scanned_max});
      --take->rows_left;
      // What lies behind it cannot be seen now; mail that is found otherwise goes on.
      if (absl::IsDataLoss(page.status())) {
        index_damage_ = std::string(page.status().message());
        EndSalvage(take->now_ms);
        break;
      }
      if (!page.ok()) return page.status();
      salvage_cursor_ = std::move(page->cursor);
      salvage_end_ = page->end;
      salvage_page_.assign(page->queue_ids.begin(), page->queue_ids.end());
      continue;
    }
    const std::string queue_id = std::move(salvage_page_.front());
    salvage_page_.pop_front();
    --take->rows_left;
    const absl::StatusOr<bool> gave = GiveOut(queue_id, 0, take);
    if (!gave.ok() || *gave) return gave;
  }
  return false;
}

// The next pass begins later.
void Dispatcher::EndSalvage(int64_t now_ms) {
  salvage_cursor_.clear();
  salvage_at_ms_ = now_ms + kSalvageIntervalMs;
}

absl::StatusOr<bool> Dispatcher::GiveOut(const std::string& queue_id, uint32_t from_number,
                                         TakeState* take) {
  // Out already: its release looks at it again. Withheld: its Restore does.
  if (messages_.contains(queue_id) || withheld_.contains(queue_id)) return false;
  Activated activated;
  Message entry;
  const absl::StatusOr<bool> found = Read(queue_id, from_number, take->now_ms, &activated, &entry);
  if (absl::IsDataLoss(found.status())) {
    take->batch.damaged.push_back({queue_id, std::string(found.status().message())});
    return false;
  }
  if (!found.ok() || !*found) return found;
  attached_bytes_ += entry.attached_bytes;
  messages_.emplace(queue_id, entry);
  --credit_;
  take->Add(std::move(activated));
  return true;
}

absl::StatusOr<bool> Dispatcher::Read(const std::string& queue_id, uint32_t from_number,
                                      int64_t now_ms, Activated* activated, Message* entry) {
  const absl::StatusOr<std::optional<state::MessageRow>> row = reader_->ReadMessage(queue_id);
  if (!row.ok()) return row.status();
  if (!row->has_value() || IsParked(**row)) return false;
  OpenRecipientsQuery query;
  query.queue_id = queue_id;
  query.from_number = from_number;
  query.now_ms = now_ms;
  query.flush_index = flush_index_;
  query.recipients_max = PageSize();
  if (with_waiting_ && !(*row)->delay_warned()) {
    query.waiting_max = limits_.waiting_recipients_max;
  }
  absl::StatusOr<OpenRecipients> recipients = reader_->ReadOpenRecipients(**row, query);
  if (!recipients.ok()) return recipients.status();
  if (recipients->open.empty() && recipients->bounced.empty()) return false;

  FillActivation(queue_id, **row, &activated->activation);
  entry->cursor = recipients->cursor;
  entry->given_ms = now_ms;
  CountGiven(recipients->open.size() + recipients->bounced.size(), entry);
  entry->arrival_ms = ArrivalMs(**row);
  // Deferred mail often waits on for its destination: its contents would lie in memory for nothing.
  const uint64_t attachable = recipients->any_pending ? Attachable(**row) : 0;
  if (attachable > 0) {
    absl::StatusOr<Chunk> chunk = reader_->ReadChunk(queue_id, 0);
    if (!chunk.ok()) return chunk.status();
    if (!chunk->found) return absl::DataLossError("chunk 0 is missing");
    if (chunk->corrupt) return absl::DataLossError("chunk 0 does not match its checksum");
    entry->attached_bytes = chunk->bytes.size();
    AttachCopy(std::move(chunk->bytes), chunk->crc32c, activated);
  }
  FillRecipients(&*recipients, &activated->activation);
  activated->activation.set_flushed(flushed_ids_.erase(queue_id) > 0 || recipients->flushed);
  return true;
}

absl::StatusOr<bool> Dispatcher::ReadMore(const std::string& queue_id, int64_t now_ms,
                                          Activated* activated, Message* entry) {
  const absl::StatusOr<std::optional<state::MessageRow>> row = reader_->ReadMessage(queue_id);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return false;
  OpenRecipientsQuery query;
  query.queue_id = queue_id;
  query.now_ms = std::max(now_ms, entry->given_ms);
  query.flush_index = flush_index_;
  query.recipients_max = limits_.activation_recipients_max;
  query.behind = entry->cursor;
  absl::StatusOr<OpenRecipients> recipients = reader_->ReadOpenRecipients(**row, query);
  if (!recipients.ok()) return recipients.status();
  if (recipients->open.empty()) return false;
  entry->cursor = recipients->cursor;
  entry->given_ms = query.now_ms;
  CountGiven(recipients->open.size(), entry);
  FillActivation(queue_id, **row, &activated->activation);
  FillRecipients(&*recipients, &activated->activation);
  // Those that are due by the same flush go out after the release too.
  activated->activation.set_flushed(flushed_ids_.contains(queue_id) || recipients->flushed);
  return true;
}

}  // namespace postfleet::queue
