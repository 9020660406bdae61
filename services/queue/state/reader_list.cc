// Reader: what people look at, listings and single messages.
#include <algorithm>
#include <utility>

#include "services/queue/state/message_cursor.h"
#include "services/queue/state/reader.h"
#include "services/queue/state/reader_rows.h"

namespace postfleet::queue {
namespace {

constexpr uint32_t kListedMax = 1'000;
constexpr int kListedRecipientsMax = 1'000;
// A page of the listing ends past this, so that it fits into a frame.
constexpr size_t kListedBytesMax = 1u << 20;
// And once it has looked at so many messages.
constexpr size_t kListedRowsMax = 100'000;

constexpr std::string_view kDamagedMessage = "its row cannot be read";
constexpr std::string_view kDamagedRecipients = "its recipients cannot be read";

v1::QueueName ShownQueue(std::string_view queue_id, const state::MessageRow& row,
                         const Reader::IsActive& is_active) {
  const v1::QueueName queue = DurableQueueOf(row);
  return !IsParked(row) && is_active(queue_id) ? v1::QUEUE_NAME_ACTIVE : queue;
}

// One listing in the making.
class Listing {
 public:
  Listing(const Store& store, const Snapshot& snapshot, const v1::ListRequest& request,
          const Reader::IsActive& is_active)
      : request_(request),
        is_active_(is_active),
        limit_(request.limit() == 0 ? kListedMax : std::min(request.limit(), kListedMax)),
        // One iterator for the whole page: messages and recipients come in the same order.
        recipients_(store, Family::kRecipient, "", snapshot.get()) {}

  // Before each message: whether the page ends here.
  bool Full() {
    const bool full = static_cast<uint32_t>(response_.messages_size()) >= limit_ ||
                      bytes_ >= kListedBytesMax || rows_ >= kListedRowsMax;
    if (full) response_.set_more(true);
    return full;
  }

  absl::Status Look(const std::string& queue_id, const state::MessageRow& row, bool damaged) {
    ++rows_;
    response_.set_next_queue_id(queue_id);
    const v1::QueueName queue =
        damaged ? v1::QUEUE_NAME_CORRUPT : ShownQueue(queue_id, row, is_active_);
    if (!Wanted(queue)) return absl::OkStatus();
    v1::ListedMessage* listed = response_.add_messages();
    listed->set_queue_id(queue_id);
    listed->set_queue(queue);
    if (damaged) {
      listed->set_corrupt_reason(std::string(kDamagedMessage));
      return absl::OkStatus();
    }
    listed->set_arrival_ms(row.envelope().arrival_ms());
    listed->set_message_bytes(row.content_bytes());
    listed->set_sender(row.envelope().sender());
    listed->set_forced_expire(row.forced_expire());
    listed->set_corrupt_reason(row.corrupt_reason());
    absl::Status added = AddRecipients(row, listed);
    bytes_ += listed->ByteSizeLong();
    return added;
  }

  v1::ListResponse Take() { return std::move(response_); }

 private:
  bool Wanted(v1::QueueName queue) const {
    return request_.queues().empty() ||
           std::find(request_.queues().begin(), request_.queues().end(), queue) !=
               request_.queues().end();
  }

  absl::Status AddRecipients(const state::MessageRow& row, v1::ListedMessage* listed) {
    const uint32_t rows = RowsOf(row);
    const std::string prefix = MessagePrefix(listed->queue_id());
    if (rows > 0) recipients_.Approach(prefix);
    // Counted, so that no step leads into the rows of others: they may be damaged.
    for (uint32_t seen = 1; seen <= rows; ++seen) {
      if (!recipients_.Valid()) {
        const absl::Status status = recipients_.status();
        return status.ok() || absl::IsDataLoss(status) ? MarkDamaged(listed) : status;
      }
      if (!recipients_.key().starts_with(prefix) || !recipients_.Parse(&recipient_)) {
        return MarkDamaged(listed);
      }
      // One that bounced is done with, but for the notice.
      if (recipient_.state() != state::RecipientRow::STATE_BOUNCED) {
        if (listed->recipients_size() == kListedRecipientsMax) {
          listed->set_recipients_more(true);
          break;
        }
        AddRecipient(listed);
      }
      if (seen < rows) recipients_.Next();
    }
    return absl::OkStatus();
  }

  // Without blanks at the end, of which a command's output may have one.
  static std::string ReasonOf(const std::string& text) {
    return text.substr(0, text.find_last_not_of(" \t") + 1);
  }

  // As Postfix shows it: what waits of an alias is named in its place, and the alias itself without
  // a reason.
  void AddRecipient(v1::ListedMessage* listed) {
    mail::v1::Outcome& last = *recipient_.mutable_last();
    std::string& address = *recipient_.mutable_recipient()->mutable_address();
    bool has_part = false;
    bool is_named = false;
    for (mail::v1::OutcomePart& part : *last.mutable_parts()) {
      if (part.action() != mail::v1::Outcome::ACTION_DEFERRED) continue;
      if (listed->recipients_size() == kListedRecipientsMax)
        return listed->set_recipients_more(true);
      has_part = true;
      is_named = is_named || part.address() == address;
      v1::ListedRecipient* recipient = listed->add_recipients();
      recipient->set_address(std::move(*part.mutable_address()));
      recipient->set_reason(ReasonOf(part.text()));
    }
    if (is_named) return;
    if (listed->recipients_size() == kListedRecipientsMax) return listed->set_recipients_more(true);
    v1::ListedRecipient* recipient = listed->add_recipients();
    recipient->set_address(std::move(address));
    if (!has_part) recipient->set_reason(ReasonOf(last.text()));
  }

  absl::Status MarkDamaged(v1::ListedMessage* listed) {
    listed->set_queue(v1::QUEUE_NAME_CORRUPT);
    if (listed->corrupt_reason().empty()) {
      listed->set_corrupt_reason(std::string(kDamagedRecipients));
    }
    return absl::OkStatus();
  }

  const v1::ListRequest& request_;
  const Reader::IsActive& is_active_;
  const uint32_t limit_;
  Rows recipients_;
  state::RecipientRow recipient_;
  v1::ListResponse response_;
  size_t bytes_ = 0;
  size_t rows_ = 0;
};

// The queues asked for when all of them have an index; else none.
std::vector<v1::QueueName> IndexesOf(const v1::ListRequest& request) {
  std::vector<v1::QueueName> indexed;
  for (int number : request.queues()) {
    const auto queue = static_cast<v1::QueueName>(number);
    if (!IsIndexed(queue)) return {};
    if (std::find(indexed.begin(), indexed.end(), queue) == indexed.end()) {
      indexed.push_back(queue);
    }
  }
  return indexed;
}

absl::Status ListAll(const Store& store, const Snapshot& snapshot,
                     const std::vector<v1::QueueName>& indexes, const std::string& after,
                     Listing* listing) {
  MessageCursor cursor(store, snapshot.get(), indexes, after);
  for (;;) {
    const absl::StatusOr<bool> next = cursor.Next();
    if (!next.ok()) return next.status();
    if (!*next || listing->Full()) return absl::OkStatus();
    absl::Status looked = listing->Look(cursor.queue_id(), cursor.row(), cursor.damaged());
    if (!looked.ok()) return looked;
  }
}

absl::Status ListSome(const Store& store, const Snapshot& snapshot, const v1::ListRequest& request,
                      Listing* listing) {
  std::vector<std::string> ids(request.queue_ids().begin(), request.queue_ids().end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const std::string& queue_id : ids) {
    if (queue_id <= request.after_queue_id()) continue;
    state::MessageRow row;
    const auto found = GetMessage(store, snapshot.get(), queue_id, &row);
    const bool damaged = absl::IsDataLoss(found.status());
    if (!found.ok() && !damaged) return found.status();
    if (!damaged && !*found) continue;
    if (listing->Full()) return absl::OkStatus();
    absl::Status looked = listing->Look(queue_id, row, damaged);
    if (!looked.ok()) return looked;
  }
  return absl::OkStatus();
}

v1::InspectedRecipient::State InspectedState(state::RecipientRow::State recipient_state) {
  switch (recipient_state) {
    case state::RecipientRow::STATE_PENDING:
      return v1::InspectedRecipient::PENDING;
    case state::RecipientRow::STATE_DEFERRED:
      return v1::InspectedRecipient::DEFERRED;
    case state::RecipientRow::STATE_BOUNCED:
      return v1::InspectedRecipient::BOUNCED;
    default:
      return v1::InspectedRecipient::STATE_UNSPECIFIED;
  }
}

void CallCorrupt(std::string_view reason, v1::InspectResponse* response) {
  response->set_queue(v1::QUEUE_NAME_CORRUPT);
  if (response->corrupt_reason().empty()) response->set_corrupt_reason(std::string(reason));
}

absl::Status InspectRecipients(const Store& store, const Snapshot& snapshot,
                               const v1::InspectRequest& request, v1::InspectResponse* response) {
  Rows rows(store, Family::kRecipient, MessagePrefix(request.queue_id()),
            NumberedKey(request.queue_id(), request.from_recipient()), snapshot.get());
  for (; rows.Valid(); rows.Next()) {
    if (response->recipients_size() == kListedRecipientsMax) {
      response->set_more(true);
      return absl::OkStatus();
    }
    state::RecipientRow row;
    if (!rows.Parse(&row)) {
      CallCorrupt(kDamagedRecipients, response);
      continue;
    }
    v1::InspectedRecipient* recipient = response->add_recipients();
    *recipient->mutable_recipient() = std::move(*row.mutable_recipient());
    recipient->set_state(InspectedState(row.state()));
    if (row.has_last()) *recipient->mutable_last() = std::move(*row.mutable_last());
  }
  const absl::Status status = rows.status();
  if (!absl::IsDataLoss(status)) return status;
  CallCorrupt(kDamagedRecipients, response);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::ListResponse> Reader::List(const v1::ListRequest& request,
                                              const IsActive& is_active) const {
  const Snapshot snapshot(store_->db());
  Listing listing(*store_, snapshot, request, is_active);
  const std::vector<v1::QueueName> indexes = IndexesOf(request);
  const std::string& after = request.after_queue_id();
  absl::Status listed = request.queue_ids().empty()
                            ? ListAll(*store_, snapshot, indexes, after, &listing)
                            : ListSome(*store_, snapshot, request, &listing);
  if (absl::IsDataLoss(listed) && !indexes.empty()) {
    // The index is damaged: the page is made from all messages.
    Listing by_row(*store_, snapshot, request, is_active);
    listed = ListAll(*store_, snapshot, {}, after, &by_row);
    if (listed.ok()) return by_row.Take();
  }
  if (!listed.ok()) return listed;
  return listing.Take();
}

bool IsFoundDamaged(std::string_view reason) {
  return reason == kDamagedMessage || reason == kDamagedRecipients;
}

absl::StatusOr<v1::InspectResponse> Reader::Inspect(const v1::InspectRequest& request,
                                                    const IsActive& is_active) const {
  const Snapshot snapshot(store_->db());
  v1::InspectResponse response;
  state::MessageRow row;
  const auto found = GetMessage(*store_, snapshot.get(), request.queue_id(), &row);
  const bool damaged = absl::IsDataLoss(found.status());
  if (!found.ok() && !damaged) return found.status();
  if (!damaged && !*found) return response;
  response.set_found(true);
  if (damaged) {
    CallCorrupt(kDamagedMessage, &response);
  } else {
    response.set_queue(ShownQueue(request.queue_id(), row, is_active));
    response.set_corrupt_reason(row.corrupt_reason());
  }
  response.set_content_bytes(row.content_bytes());
  response.set_chunks(row.chunks());
  response.set_recipients_total(row.recipients_total());
  response.set_create_ms(row.create_ms());
  response.set_forced_expire(row.forced_expire());
  *response.mutable_envelope() = std::move(*row.mutable_envelope());
  absl::Status read = InspectRecipients(*store_, snapshot, request, &response);
  if (!read.ok()) return read;
  return response;
}

}  // namespace postfleet::queue
