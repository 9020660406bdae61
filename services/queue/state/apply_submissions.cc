#include <utility>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/apply.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

// Or its rows cannot be read.
constexpr std::string_view kInUse = "the queue id is in use";

// One submission with its contents.
struct Item {
  const v1::Submission& submission;
  std::vector<std::string_view> pieces;
};

void Refuse(std::string text, SubmissionResult* result) {
  result->code = v1::EnqueueResult::REFUSED;
  result->text = std::move(text);
}

absl::Status AbandonUpload(const v1::Submission& submission, Application& application) {
  const auto upload = application.draft.FindUpload(submission.queue_id());
  if (absl::IsDataLoss(upload.status())) return absl::OkStatus();
  if (!upload.ok()) return upload.status();
  if (!(*upload)->exists || (*upload)->row.incarnation() != submission.id().incarnation()) {
    return absl::OkStatus();
  }
  application.draft.DropChunks(submission.queue_id(), (*upload)->row.chunks());
  (*upload)->exists = false;
  ++application.effects.uploads_abandoned;
  return absl::OkStatus();
}

// What is wrong with the position of a chunk; empty: nothing. `upload` has what came before it.
std::string RefusalOfChunk(const v1::Submission& submission, const Draft::Upload& upload) {
  const uint32_t expected = upload.exists ? upload.row.chunks() : 0;
  if (submission.chunk() != expected) {
    return Concat("chunk ", submission.chunk(), " where chunk ", expected, " is next");
  }
  if (upload.exists && upload.row.incarnation() != submission.id().incarnation()) {
    return "chunks of another incarnation have this queue id";
  }
  return {};
}

void AddChunk(const Item& item, Application& application, Draft::Upload* upload) {
  const v1::Submission& submission = item.submission;
  application.draft.PutChunk(submission.queue_id(), submission.chunk(), submission.payload_crc32c(),
                             item.pieces);
  if (!upload->exists) upload->row.Clear();
  upload->exists = true;
  upload->row.set_chunks(submission.chunk() + 1);
  upload->row.set_bytes(upload->row.bytes() + submission.payload_bytes());
  upload->row.set_last_ms(application.state.now_ms());
  upload->row.set_incarnation(submission.id().incarnation());
}

void MakeVisible(Item* item, Draft::Message* message, Application& application) {
  const v1::Submission& submission = item->submission;
  application.draft.PutChunk(submission.queue_id(), submission.chunk(), submission.payload_crc32c(),
                             item->pieces);
  NewMessageEffect& effect = application.effects.new_messages.emplace_back();
  application.draft.Create(
      message, {submission.queue_id(), &submission.message(), submission.chunk() + 1}, &effect);
  if (submission.chunk() > 0) return;
  effect.payload = std::move(item->pieces);
  effect.payload_crc32c = submission.payload_crc32c();
}

// A chunk or a message, not seen before.
absl::Status Accept(Item* item, Application& application, SubmissionResult* result) {
  const v1::Submission& submission = item->submission;
  Draft::Upload none;
  Draft::Upload* upload = &none;
  if (!submission.has_message() || submission.chunk() > 0 || application.draft.AnyUploads()) {
    const auto found = application.draft.FindUpload(submission.queue_id());
    if (absl::IsDataLoss(found.status())) {
      Refuse(std::string(kInUse), result);
      return absl::OkStatus();
    }
    if (!found.ok()) return found.status();
    upload = *found;
  }
  if (std::string text = RefusalOfChunk(submission, *upload); !text.empty()) {
    Refuse(std::move(text), result);
    return absl::OkStatus();
  }
  const auto message = application.draft.Find(submission.queue_id());
  bool used = absl::IsDataLoss(message.status());
  if (!message.ok() && !used) return message.status();
  used = used || (*message)->exists;
  if (!used && submission.chunk() == 0) {
    const auto borrowed = application.draft.BodyIsBorrowed(submission.queue_id());
    if (!borrowed.ok()) return borrowed.status();
    used = *borrowed;
  }
  if (used) {
    Refuse(std::string(kInUse), result);
    return absl::OkStatus();
  }
  if (!submission.has_message()) {
    AddChunk(*item, application, upload);
    return absl::OkStatus();
  }
  const uint64_t before_bytes = upload->exists ? upload->row.bytes() : 0;
  if (std::string text = RefusalOf(submission, before_bytes + submission.payload_bytes());
      !text.empty()) {
    Refuse(std::move(text), result);
    return absl::OkStatus();
  }
  MakeVisible(item, *message, application);
  upload->exists = false;
  return absl::OkStatus();
}

absl::Status ApplyNew(Item* item, Application& application, SubmissionResult* result) {
  const v1::Submission& submission = item->submission;
  result->code = v1::EnqueueResult::COMMITTED;
  if (!IsQueueId(submission.queue_id())) {
    Refuse("not a queue id", result);
    return absl::OkStatus();
  }
  if (submission.payload_bytes() > kChunkBytesMax) {
    Refuse(Concat("a chunk of more than ", kChunkBytesMax, " bytes"), result);
    return absl::OkStatus();
  }
  if (submission.abandon()) return AbandonUpload(submission, application);
  return Accept(item, application, result);
}

absl::Status ApplyOne(Item* item, Application& application, SubmissionResult* result) {
  const v1::SubmissionId& id = item->submission.id();
  if (id.sequence() == 0) {
    Refuse("sequences start at 1", result);
    return absl::OkStatus();
  }
  state::SubmissionRow row;
  const auto standing = application.window.Look(id, &row);
  if (!standing.ok()) return standing.status();
  if (*standing == SubmissionWindow::Standing::kExpired) {
    result->code = v1::EnqueueResult::EXPIRED;
    return absl::OkStatus();
  }
  if (*standing == SubmissionWindow::Standing::kKnown) {
    result->code = row.code();
    result->text = row.text();
    result->duplicate = true;
    return absl::OkStatus();
  }
  if (absl::Status applied = ApplyNew(item, application, result); !applied.ok()) return applied;
  row.set_code(result->code);
  row.set_text(result->text);
  row.set_at_ms(application.state.now_ms());
  application.window.Remember(id, row, application.draft.batch());
  return absl::OkStatus();
}

std::string RefusalOfRecipients(const v1::NewMessage& message) {
  if (message.recipients().empty()) return "no recipients";
  if (message.recipients_size() > kMessageRecipientsMax) {
    return Concat("more than ", kMessageRecipientsMax, " recipients");
  }
  for (const mail::v1::Recipient& recipient : message.recipients()) {
    if (recipient.address().empty()) return "a recipient without address";
    if (recipient.address().size() > kAddressBytesMax ||
        recipient.original_address().size() > kAddressBytesMax ||
        recipient.dsn_orcpt().size() > kAddressBytesMax) {
      return Concat("a recipient of more than ", kAddressBytesMax, " bytes");
    }
  }
  return {};
}

}  // namespace

std::vector<std::string_view> PayloadCutter::Take(size_t bytes) {
  std::vector<std::string_view> taken;
  while (bytes > 0 && !pieces_.empty()) {
    const std::string_view part = pieces_.front().substr(offset_, bytes);
    if (!part.empty()) taken.push_back(part);
    bytes -= part.size();
    offset_ += part.size();
    if (offset_ < pieces_.front().size()) break;
    pieces_.remove_prefix(1);
    offset_ = 0;
  }
  return taken;
}

size_t PayloadBytes(absl::Span<const std::string_view> pieces) {
  size_t bytes = 0;
  for (std::string_view piece : pieces) bytes += piece.size();
  return bytes;
}

std::string RefusalOf(const v1::Submission& submission, uint64_t content_bytes) {
  const v1::NewMessage& message = submission.message();
  if (message.content_bytes() != content_bytes) {
    return Concat(content_bytes, " bytes of contents came, ", message.content_bytes(),
                  " were announced");
  }
  if (message.envelope().sender().size() > kAddressBytesMax) {
    return Concat("a sender of more than ", kAddressBytesMax, " bytes");
  }
  if (message.envelope().dsn_envid().size() > kAddressBytesMax) {
    return Concat("an envelope id of more than ", kAddressBytesMax, " bytes");
  }
  return RefusalOfRecipients(message);
}

absl::Status ApplySubmissions(Application& application) {
  const auto& submissions = application.command.header.submissions();
  application.effects.submissions.resize(static_cast<size_t>(submissions.size()));
  PayloadCutter cutter(application.command.payload);
  for (int i = 0; i < submissions.size(); ++i) {
    Item item = {submissions[i], cutter.Take(submissions[i].payload_bytes())};
    absl::Status applied =
        ApplyOne(&item, application, &application.effects.submissions[static_cast<size_t>(i)]);
    if (!applied.ok()) return applied;
  }
  return absl::OkStatus();
}

}  // namespace postfleet::queue
