// The part of the pass that walks the families in the order of queue ids side by side.
#include <algorithm>
#include <iterator>
#include <optional>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/message_queue.h"
#include "services/queue/verify/store_check.h"

namespace postfleet::queue {
namespace {

constexpr int kJobRecipientsMax = 1'000;

std::string_view IdOf(std::string_view numbered_key) {
  return numbered_key.substr(0, numbered_key.find('\0'));
}

std::string BodyText(uint32_t chunks, uint64_t bytes) {
  return Concat(chunks, " chunks of ", bytes, " bytes");
}

bool NeedsIntake(const state::MessageRow& row) {
  return row.pending() + row.bounced() > 0 && !IsParked(row);
}

void Count(v1::QueueName queue, uint64_t bytes, state::Counts* counts) {
  switch (queue) {
    case v1::QUEUE_NAME_INCOMING:
      return counts->set_incoming_messages(counts->incoming_messages() + 1);
    case v1::QUEUE_NAME_DEFERRED:
      counts->set_deferred_bytes(counts->deferred_bytes() + bytes);
      return counts->set_deferred_messages(counts->deferred_messages() + 1);
    case v1::QUEUE_NAME_HOLD:
      counts->set_hold_bytes(counts->hold_bytes() + bytes);
      return counts->set_hold_messages(counts->hold_messages() + 1);
    case v1::QUEUE_NAME_CORRUPT:
      counts->set_corrupt_bytes(counts->corrupt_bytes() + bytes);
      return counts->set_corrupt_messages(counts->corrupt_messages() + 1);
    default:
      return;
  }
}

// What a recipient's row has to say that waits for a notice about it.
bool OwesNotice(const mail::v1::Outcome& last) {
  return last.action() == mail::v1::Outcome::ACTION_BOUNCED ||
         (last.action() == mail::v1::Outcome::ACTION_SENT && last.notice_owed());
}

template <typename Row>
bool Parse(std::string_view value, Row* row) {
  return row->ParseFromArray(value.data(), static_cast<int>(value.size()));
}

}  // namespace

struct StoreCheck::Walk {
  RowCursor messages;
  RowCursor recipients;
  RowCursor jobs;
  RowCursor uploads;
  std::optional<RowCursor> bodies;

  // The lowest id that has a row. False: all ends are reached.
  bool Next(std::string* id) const {
    bool any = false;
    const auto offer = [&](std::string_view candidate) {
      if (any && candidate >= *id) return;
      any = true;
      *id = candidate;
    };
    if (messages.Valid()) offer(messages.key());
    if (uploads.Valid()) offer(uploads.key());
    if (recipients.Valid()) offer(IdOf(recipients.key()));
    if (jobs.Valid()) offer(IdOf(jobs.key()));
    if (bodies.has_value() && bodies->Valid()) offer(IdOf(bodies->key()));
    return any;
  }
};

void StoreCheck::Say(const Message& message, std::string_view what) {
  findings_->Add(Concat("message ", Printable(message.id), ": ", what,
                        message.row.corrupt_reason().empty() ? "" : " (it is in corrupt)"));
}

bool StoreCheck::CheckMessages(bool with_bodies) {
  Walk walk{Rows(Family::kMessage), Rows(Family::kRecipient), Rows(Family::kJob),
            Rows(Family::kUpload), std::nullopt};
  if (with_bodies) walk.bodies.emplace(Rows(Family::kBody));
  std::string id;
  while (walk.Next(&id)) {
    CheckOne(&walk, id);
    if (!findings_->Step()) return false;
  }
  return true;
}

void StoreCheck::CheckOne(Walk* walk, std::string_view id) {
  Message message;
  message.id = id;
  ReadMessage(walk, &message);
  ReadRecipients(walk, &message);
  ReadJobs(walk, &message);
  std::optional<state::UploadRow> upload;
  if (walk->uploads.Valid() && walk->uploads.key() == id) {
    upload.emplace();
    counted_.set_uploads(counted_.uploads() + 1);
    if (!Parse(walk->uploads.value(), &*upload)) Say(message, "its upload row is damaged");
    walk->uploads.Next();
  }
  if (walk->bodies.has_value()) {
    ReadBody(walk, &message);
    JudgeBody(message, upload.has_value() ? &*upload : nullptr);
  }
  if (upload.has_value() && message.exists) Say(message, "it is there, and it is being sent in");
  if (message.exists) {
    if (!message.unknown) JudgeMessage(message);
  } else if (!message.unknown && message.rows > 0) {
    Say(message, "it has recipients or jobs, and there is no such message");
  }
}

void StoreCheck::ReadMessage(Walk* walk, Message* message) {
  RowCursor& rows = walk->messages;
  if (!rows.Valid() || rows.key() != message->id) {
    message->unknown = gaps(Family::kMessage).Touch(message->id, std::string(message->id) + '\0');
    return;
  }
  message->exists = true;
  message->unknown = !Parse(rows.value(), &message->row);
  if (message->unknown) {
    message->row.Clear();
    gaps(Family::kMessage).AddRow(message->id);
    Say(*message, "its row is damaged");
  }
  // Of one that was made from what was left, indexes are as they were left.
  if (message->row.salvaged()) gaps(Family::kMessage).AddRow(message->id);
  if (!findings_->muted()) {
    findings_->progress()->set_messages(findings_->progress()->messages() + 1);
  }
  rows.Next();
}

// ---- Recipients and jobs

void StoreCheck::ReadRecipients(Walk* walk, Message* message) {
  waiting_.clear();
  for (RowCursor& rows = walk->recipients; rows.Valid() && IdOf(rows.key()) == message->id;
       rows.Next()) {
    ++message->rows;
    ReadRecipient(rows.key(), rows.value(), message);
    if (findings_->muted()) continue;
    findings_->progress()->set_recipients(findings_->progress()->recipients() + 1);
  }
}

void StoreCheck::ReadRecipient(std::string_view key, std::string_view value, Message* message) {
  std::string_view id;
  uint32_t number = 0;
  state::RecipientRow row;
  if (!ParseNumberedKey(key, &id, &number) || !Parse(value, &row) ||
      row.recipient().number() != number) {
    message->recipients.damaged = true;
    gaps(Family::kRecipient).AddRow(key);
    return Say(*message, Concat("recipient row ", Printable(key), " is damaged"));
  }
  const bool known = message->exists && !message->unknown;
  if (known && number >= message->row.recipients_total()) {
    Say(*message, Concat("recipient ", number, " is past its ", message->row.recipients_total()));
  }
  Recipients& counts = message->recipients;
  switch (row.state()) {
    case state::RecipientRow::STATE_PENDING:
      ++counts.pending;
      return;
    case state::RecipientRow::STATE_BOUNCED:
      ++counts.bounced;
      if (OwesNotice(row.last())) return;
      return Say(*message, Concat("recipient ", number, " waits for a notice about nothing"));
    case state::RecipientRow::STATE_DEFERRED:
      ++counts.deferred;
      waiting_.emplace_back(number, row.job());
      if (!known || message->row.salvaged()) return;
      return set(Family::kSite)
          .Expect(SiteKey(SiteOf(row.recipient().address()), id, number),
                  EncodeTime(message->row.envelope().arrival_ms()), id);
    default:
      counts.damaged = true;
      Say(*message, Concat("recipient ", number, " is in no state"));
  }
}

void StoreCheck::ReadJobs(Walk* walk, Message* message) {
  listed_.clear();
  for (RowCursor& rows = walk->jobs; rows.Valid() && IdOf(rows.key()) == message->id; rows.Next()) {
    ++message->rows;
    ReadJob(rows.key(), rows.value(), message);
  }
}

void StoreCheck::ReadJob(std::string_view key, std::string_view value, Message* message) {
  std::string_view id;
  uint32_t number = 0;
  state::JobRow row;
  if (!ParseNumberedKey(key, &id, &number) || !Parse(value, &row)) {
    message->jobs_damaged = true;
    gaps(Family::kJob).AddRow(key);
    return Say(*message, Concat("job row ", Printable(key), " is damaged"));
  }
  for (uint32_t recipient : row.recipient_numbers()) listed_.emplace_back(recipient, number);
  if (row.recipient_numbers_size() == 0 || row.recipient_numbers_size() > kJobRecipientsMax) {
    Say(*message, Concat("job ", number, " has ", row.recipient_numbers_size(), " recipients"));
  }
  if (!message->exists || message->unknown) return;
  if (number >= message->row.next_job()) {
    Say(*message, Concat("job ", number, " is past its ", message->row.next_job()));
  }
  if (state_known_ && row.index() > state_.applied_index()) {
    Say(*message, Concat("job ", number, " is of a command that was not applied, ", row.index()));
  }
  if (IsParked(message->row)) return;
  set(Family::kDue)
      .Expect(EncodeDueKey({message->row.partition(), row.due_ms(), std::string(id), number}),
              EncodeIndex(row.index()), id);
}

// ---- What is said of a message

void StoreCheck::JudgeMessage(const Message& message) {
  const state::MessageRow& row = message.row;
  const v1::QueueName queue = DurableQueueOf(row);
  if (queue == v1::QUEUE_NAME_UNSPECIFIED) Say(message, "it has no recipients left");
  Count(queue, row.content_bytes(), &counted_);
  counted_.set_bytes(counted_.bytes() + row.content_bytes());
  if (IsIndexed(queue)) {
    set(Family::kQueue).Expect(QueueKey(queue, message.id), {}, message.id);
  }
  if (!row.body_id().empty()) {
    counted_.set_borrowed_bodies(counted_.borrowed_bodies() + 1);
    set(Family::kBody)
        .Expect(row.body_id(), BodyText(row.chunks(), row.content_bytes()), message.id);
  }
  JudgeIntake(message);
  JudgeRecipients(message);
  JudgeJobs(message);
}

void StoreCheck::JudgeIntake(const Message& message) {
  const state::MessageRow& row = message.row;
  const bool needs = NeedsIntake(row);
  if (needs != (row.intake_index() != 0)) {
    return Say(message, needs ? "it has no place in the intake index"
                              : "it has a place in the intake index, and should have none");
  }
  if (!needs) return;
  if (state_known_ && row.intake_index() > state_.applied_index()) {
    Say(message, Concat("it is of a command that was not applied, ", row.intake_index()));
  }
  set(Family::kIntake)
      .Expect(EncodeIntakeKey({row.partition(), row.intake_index(), row.intake_ordinal()}),
              message.id, message.id);
}

void StoreCheck::JudgeRecipients(const Message& message) {
  const state::MessageRow& row = message.row;
  const Recipients& found = message.recipients;
  if (found.damaged) return;
  if (found.pending == row.pending() && found.deferred == row.deferred() &&
      found.bounced == row.bounced()) {
    return;
  }
  if (gaps(Family::kRecipient).TouchMessage(message.id)) {
    return Say(message, "recipients of it cannot be read");
  }
  Say(message, Concat("it counts ", row.pending(), " pending, ", row.deferred(), " deferred and ",
                      row.bounced(), " bounced recipients; there are ", found.pending, ", ",
                      found.deferred, " and ", found.bounced));
}

void StoreCheck::JudgeJobs(const Message& message) {
  std::sort(waiting_.begin(), waiting_.end());
  std::sort(listed_.begin(), listed_.end());
  if (waiting_ == listed_ || message.row.salvaged()) return;
  if (message.jobs_damaged || message.recipients.damaged) return;
  if (gaps(Family::kJob).TouchMessage(message.id)) return Say(message, "jobs of it cannot be read");
  if (gaps(Family::kRecipient).TouchMessage(message.id)) return;
  for (size_t i = 1; i < listed_.size(); ++i) {
    if (listed_[i] != listed_[i - 1]) continue;
    Say(message, Concat("job ", listed_[i].second, " has recipient ", listed_[i].first, " twice"));
  }
  std::vector<std::pair<uint32_t, uint32_t>> one_sided;
  std::set_difference(waiting_.begin(), waiting_.end(), listed_.begin(), listed_.end(),
                      std::back_inserter(one_sided));
  for (const auto& [recipient, job] : one_sided) {
    Say(message,
        Concat("recipient ", recipient, " waits in job ", job, ", which does not have it"));
  }
  one_sided.clear();
  listed_.erase(std::unique(listed_.begin(), listed_.end()), listed_.end());
  std::set_difference(listed_.begin(), listed_.end(), waiting_.begin(), waiting_.end(),
                      std::back_inserter(one_sided));
  for (const auto& [recipient, job] : one_sided) {
    Say(message, Concat("job ", job, " has recipient ", recipient, ", which does not wait in it"));
  }
}

// ---- Chunks

void StoreCheck::ReadBody(Walk* walk, Message* message) {
  for (RowCursor& rows = *walk->bodies; rows.Valid() && IdOf(rows.key()) == message->id;
       rows.Next()) {
    ReadChunk(rows.key(), rows.value(), message);
  }
}

void StoreCheck::ReadChunk(std::string_view key, std::string_view value, Message* message) {
  std::string_view id;
  uint32_t number = 0;
  Body& body = message->body;
  if (!ParseNumberedKey(key, &id, &number) || value.size() < kChunkHeaderBytes) {
    body.damaged = true;
    return Say(*message, Concat("chunk row ", Printable(key), " is damaged"));
  }
  const std::string_view contents = value.substr(kChunkHeaderBytes);
  if (ParseChunkHeader(value.substr(0, kChunkHeaderBytes)) != Crc32c(contents)) {
    Say(*message, Concat("chunk ", number, " does not match its checksum"));
  }
  if (number != body.chunks && !gaps(Family::kBody).TouchMessage(message->id)) {
    body.damaged = true;
    Say(*message, Concat("chunk ", body.chunks, " is missing"));
  }
  body.chunks = number + 1;
  body.bytes += contents.size();
  if (findings_->muted()) return;
  v1::VerifyProgress* progress = findings_->progress();
  progress->set_chunks(progress->chunks() + 1);
  progress->set_bytes(progress->bytes() + contents.size());
}

void StoreCheck::JudgeBody(const Message& message, const state::UploadRow* upload) {
  const Body& body = message.body;
  const bool owned = message.exists && !message.unknown && message.row.body_id().empty();
  if (!owned && upload == nullptr) {
    // Another message's, or nobody's. Of a message whose own row is unknown, no one can tell.
    if (body.chunks > 0 && !message.unknown) {
      set(Family::kBody).Find(message.id, BodyText(body.chunks, body.bytes));
    }
    return;
  }
  const uint32_t chunks = owned ? message.row.chunks() : upload->chunks();
  const uint64_t bytes = owned ? message.row.content_bytes() : upload->bytes();
  if (body.chunks == chunks && body.bytes == bytes) return;
  if (gaps(Family::kBody).TouchMessage(message.id))
    return Say(message, "chunks of it cannot be read");
  if (body.damaged) return;
  Say(message, Concat("it has ", BodyText(chunks, bytes), "; there are ",
                      BodyText(body.chunks, body.bytes)));
}

}  // namespace postfleet::queue
