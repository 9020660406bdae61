#include "services/queue/verify/store_check.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/message_queue.h"

namespace postfleet::queue {
namespace {

// As state_machine.h has it.
constexpr uint64_t kSubmissionWindow = 65'536;

absl::Status Cancelled() { return absl::CancelledError("the listener wants no more"); }

// Whose row it is. Of intake, the value says it. False: it is no key of that family.
bool ParseIndexRow(Family family, std::string_view key, std::string_view value, std::string* id) {
  std::string_view view;
  uint32_t number = 0;
  if (family == Family::kIntake) {
    IntakeKey intake;
    *id = value;
    return ParseIntakeKey(key, &intake);
  }
  if (family == Family::kDue) {
    DueKey due;
    if (!ParseDueKey(key, &due)) return false;
    *id = due.queue_id;
    return true;
  }
  if (family == Family::kQueue) {
    int queue = 0;
    if (!ParseQueueKey(key, &queue, &view)) return false;
  } else if (family == Family::kSite) {
    std::string_view site;
    if (!ParseSiteKey(key, &site, &view, &number)) return false;
  } else {
    view = key;
  }
  *id = view;
  return true;
}

std::string TextOfBody(const std::string& key, const RowSet::Row& row) {
  const std::string chunks = Concat("chunks of ", Printable(key));
  if (row.expected > 1) {
    return Concat(chunks, " are shared by ", row.expected, " messages, one is ",
                  Printable(row.owner));
  }
  if (row.found > row.expected) return Concat(chunks, " belong to no message");
  if (row.found < row.expected) {
    return Concat("message ", Printable(row.owner), ": its ", chunks,
                  " are missing or are another message's");
  }
  return Concat("message ", Printable(row.owner), ": it has ", row.expected_value,
                "; there are, under ", Printable(key), ", ", row.found_value);
}

std::string TextOf(Family family, const std::string& key, const std::string& id,
                   const RowSet::Row& row) {
  if (family == Family::kBody) return TextOfBody(key, row);
  const std::string what = Concat(NameOf(family), " row ", Printable(key));
  if (row.found < row.expected) {
    return Concat("message ", Printable(row.owner), ": its ", what, " is missing");
  }
  if (row.found > row.expected) {
    return Concat("message ", Printable(id), ": its ", what, " should not be there");
  }
  return Concat("message ", Printable(row.owner), ": its ", what, " has a wrong value");
}

}  // namespace

RowSet& StoreCheck::set(Family family) {
  return std::find_if(indexes_.begin(), indexes_.end(),
                      [family](const Index& index) { return index.family == family; })
      ->rows;
}

absl::Status StoreCheck::Run() {
  CheckDefault();
  if (!CheckMessages(true)) return Cancelled();
  for (Index& index : indexes_) {
    if (index.family != Family::kBody && !CheckIndex(&index)) return Cancelled();
  }
  if (!CheckSubmissions()) return Cancelled();
  CheckCounts();
  return NameDifferences() ? absl::OkStatus() : Cancelled();
}

void StoreCheck::CheckDefault() {
  state_known_ = true;
  for (RowCursor rows = Rows(Family::kDefault); rows.Valid(); rows.Next()) {
    if (rows.key() == kFormatKey) continue;
    if (rows.key() != kStateKey) {
      findings_->Add(Concat("state row ", Printable(rows.key()), " is unknown"));
    } else if (!state_.ParseFromArray(rows.value().data(), static_cast<int>(rows.value().size()))) {
      findings_->Add("the state row is damaged: nothing starts with it");
      state_known_ = false;
    }
  }
  if (!gaps(Family::kDefault).empty()) state_known_ = false;
}

bool StoreCheck::CheckIndex(Index* index) {
  std::string id;
  for (RowCursor rows = Rows(index->family); rows.Valid(); rows.Next()) {
    if (ParseIndexRow(index->family, rows.key(), rows.value(), &id)) {
      index->rows.Find(rows.key(), rows.value());
    } else {
      findings_->Add(Concat(NameOf(index->family), " row ", Printable(rows.key()), " is damaged"));
    }
    if (!findings_->Step()) return false;
  }
  return true;
}

bool StoreCheck::CheckSubmissions() {
  uint64_t incarnation = 0;
  uint64_t first = 0;
  for (RowCursor rows = Rows(Family::kSubmission); rows.Valid(); rows.Next()) {
    uint64_t found = 0;
    uint64_t sequence = 0;
    state::SubmissionRow row;
    if (!ParseSubmissionKey(rows.key(), &found, &sequence) ||
        !row.ParseFromArray(rows.value().data(), static_cast<int>(rows.value().size()))) {
      findings_->Add(Concat("submission row ", Printable(rows.key()), " is damaged"));
      continue;
    }
    if (found != incarnation) {
      incarnation = found;
      first = sequence;
      if (state_known_ && incarnation > state_.incarnation()) {
        findings_->Add(Concat("submissions of incarnation ", incarnation, ", which was not given"));
      }
    }
    if (sequence - first == kSubmissionWindow) {
      findings_->Add(Concat("submissions of incarnation ", incarnation, ": more than ",
                            kSubmissionWindow, " are kept"));
    }
    if (!findings_->Step()) return false;
  }
  return true;
}

void StoreCheck::CheckCounts() {
  if (!state_known_) return;
  const auto compare = [this](std::string_view what, uint64_t kept, uint64_t counted) {
    if (kept == counted) return;
    findings_->Add(Concat("the count of ", what, " is ", kept, "; there are ", counted));
  };
  const state::Counts& kept = state_.counts();
  compare("incoming messages", kept.incoming_messages(), counted_.incoming_messages());
  compare("deferred messages", kept.deferred_messages(), counted_.deferred_messages());
  compare("held messages", kept.hold_messages(), counted_.hold_messages());
  compare("corrupt messages", kept.corrupt_messages(), counted_.corrupt_messages());
  compare("bytes", kept.bytes(), counted_.bytes());
  compare("deferred bytes", kept.deferred_bytes(), counted_.deferred_bytes());
  compare("held bytes", kept.hold_bytes(), counted_.hold_bytes());
  compare("corrupt bytes", kept.corrupt_bytes(), counted_.corrupt_bytes());
  compare("uploads", kept.uploads(), counted_.uploads());
  compare("requeued messages' bodies", kept.borrowed_bodies(), counted_.borrowed_bodies());
}

bool StoreCheck::NameDifferences() {
  if (std::none_of(indexes_.begin(), indexes_.end(),
                   [](const Index& index) { return index.rows.Differs(); })) {
    return true;
  }
  const bool with_bodies = set(Family::kBody).Differs();
  for (Index& index : indexes_) index.rows.BeginNaming();
  findings_->Mute(true);
  if (!CheckMessages(with_bodies)) return false;
  for (Index& index : indexes_) {
    const bool wanted = index.family != Family::kBody && index.rows.Differs();
    if (wanted && !CheckIndex(&index)) return false;
  }
  findings_->Mute(false);
  for (const Index& index : indexes_) {
    index.rows.ForEachDifference(
        [&](const std::string& key, const RowSet::Row& row) { NameRow(index.family, key, row); });
    if (index.rows.overflowed()) {
      findings_->Add(Concat("more ", NameOf(index.family), " rows are missing or wrong"));
    }
  }
  return true;
}

void StoreCheck::NameRow(Family family, const std::string& key, const RowSet::Row& row) {
  std::string id;
  ParseIndexRow(family, key, row.found > 0 ? row.found_value : row.expected_value, &id);
  // One side could not be read: that has been said.
  if (row.found < row.expected && gaps(family).Touch(key, key + '\0')) return;
  if (family == Family::kBody && gaps(family).TouchMessage(key)) return;
  if (row.found > row.expected && MayBeLost(family, id)) return;
  findings_->Add(TextOf(family, key, id, row));
}

bool StoreCheck::MayBeLost(Family family, const std::string& queue_id) const {
  // Who borrows a body has any id.
  const Gaps& messages = gaps_[static_cast<size_t>(Family::kMessage)];
  if (family == Family::kBody) return !messages.empty();
  return messages.Touch(queue_id, queue_id + '\0') ||
         gaps_[static_cast<size_t>(Family::kRecipient)].TouchMessage(queue_id) ||
         gaps_[static_cast<size_t>(Family::kJob)].TouchMessage(queue_id);
}

}  // namespace postfleet::queue
