#include "services/delivery/bounce/bounce_agent.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"
#include "libs/message/header.h"

namespace postfleet::delivery {
namespace {

// Where the header ends, or nullopt while that is still to come.
bool HasWholeHeader(std::string_view contents, size_t* header_bytes) {
  message::HeaderReader fields(contents);
  while (fields.Next()) {
  }
  *header_bytes = fields.offset();
  // A line that is no field, complete, ends it.
  return contents.find('\n', fields.offset()) != std::string_view::npos;
}

// As the log names them.
std::string_view KindOf(const scheduler::v1::Delivery& delivery) {
  return delivery.notice_kind() == scheduler::v1::Delivery::NOTICE_KIND_DELAY ? "delay"
                                                                              : "non-delivery";
}

bool HasEightBit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

}  // namespace

BounceOptions BounceOptions::FromConfig(const config::Config& config) {
  return {
      .names = {.myhostname = config.GetString("myhostname"),
                .myorigin = config.GetString("myorigin"),
                .mail_name = config.GetString("mail_name"),
                .delay_warning_ms = absl::ToInt64Milliseconds(config.GetTime("delay_warning_time")),
                .maximal_queue_lifetime_ms =
                    absl::ToInt64Milliseconds(config.GetTime("maximal_queue_lifetime"))},
      .size_limit = static_cast<uint64_t>(config.GetSize("bounce_size_limit")),
      .double_bounce_sender = config.GetString("double_bounce_sender")};
}

BounceAgent::BounceAgent(BounceOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {}

void BounceAgent::Start(std::unique_ptr<Attempt> attempt) {
  const scheduler::v1::Delivery& delivery = attempt->delivery;
  const uint64_t id = delivery.id();
  const bool notified = IsNotified(delivery);
  const bool whole =
      delivery.notice_kind() == scheduler::v1::Delivery::NOTICE_KIND_FAILURE &&
      delivery.content_bytes() <= std::min<uint64_t>(options_.size_limit, kNoticeBytesMax);
  running_[id] = {.attempt = std::move(attempt), .whole = whole};
  if (!notified) return Finish(id, {});
  Read(id);
}

bool BounceAgent::IsNotified(const scheduler::v1::Delivery& delivery) const {
  const std::string& sender = delivery.envelope().sender();
  if (sender.empty() || delivery.envelope().is_notice() || delivery.bounced().empty()) return false;
  const std::string double_bounce =
      Concat(options_.double_bounce_sender, "@", options_.names.myorigin);
  return !message::EqualsIgnoreCase(sender, double_bounce) &&
         !message::EqualsIgnoreCase(sender, options_.double_bounce_sender);
}

void BounceAgent::Read(uint64_t delivery_id) {
  // The reader ends with the attempt, and its calls with it.
  running_.at(delivery_id)
      .attempt->contents->Next(
          [this, delivery_id](const absl::Status& status, rpc::Payload payload) {
            OnContents(delivery_id, status, payload);
          });
}

void BounceAgent::OnContents(uint64_t delivery_id, const absl::Status& status,
                             const rpc::Payload& payload) {
  if (!status.ok()) return Fail(delivery_id, std::string(status.message()));
  Running& running = running_.at(delivery_id);
  const uint64_t bytes_max = running.attempt->delivery.content_bytes();
  for (const grpc::Slice& slice : payload) running.contents += rpc::AsView(slice);
  if (running.contents.size() > bytes_max ||
      (payload.empty() && running.contents.size() < bytes_max)) {
    return Fail(delivery_id, "message contents are not as long as they should be");
  }
  size_t header_bytes = 0;
  if (!payload.empty() && (running.whole || (!HasWholeHeader(running.contents, &header_bytes) &&
                                             running.contents.size() < kNoticeBytesMax))) {
    return Read(delivery_id);
  }
  if (!running.whole) {
    HasWholeHeader(running.contents, &header_bytes);
    running.contents.resize(header_bytes);
  }
  Compose(delivery_id);
}

void BounceAgent::Compose(uint64_t delivery_id) {
  Running& running = running_.at(delivery_id);
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  const int64_t now_ms = clock_.WallMillis();
  const ReturnedMessage returned = {
      .contents = running.contents,
      .part = running.whole ? ReturnedMessage::Part::kWhole : ReturnedMessage::Part::kHeaders};
  std::string text = ComposeNotice(delivery, returned, options_.names, now_ms);

  AttemptResult result;
  queue::v1::Submission* notice = result.result.mutable_notice();
  notice->set_queue_id(delivery.notice_queue_id());
  notice->set_payload_bytes(static_cast<uint32_t>(text.size()));
  notice->set_payload_crc32c(Crc32c(text));
  queue::v1::NewMessage* message = notice->mutable_message();
  message->set_content_bytes(text.size());
  message->mutable_envelope()->set_arrival_ms(now_ms);
  message->mutable_envelope()->set_is_notice(true);
  message->mutable_envelope()->set_body_8bitmime(HasEightBit(text));
  message->add_recipients()->set_address(delivery.envelope().sender());

  maillog::Info("cleanup", delivery.notice_queue_id(),
                ": message-id=", NoticeMessageId(delivery.notice_queue_id(), options_.names));
  maillog::Info("bounce", delivery.queue_id(), ": sender ", KindOf(delivery),
                " notification: ", delivery.notice_queue_id());
  result.notice_contents.push_back(rpc::OwningSlice(std::move(text)));
  Finish(delivery_id, std::move(result));
}

void BounceAgent::Fail(uint64_t delivery_id, std::string_view why) {
  const scheduler::v1::Delivery& delivery = running_.at(delivery_id).attempt->delivery;
  maillog::Warning("bounce", delivery.queue_id(), ": cannot make the ", KindOf(delivery),
                   " notification now: ", why);
  AttemptResult result;
  result.result.set_notice_failed(true);
  Finish(delivery_id, std::move(result));
}

void BounceAgent::Finish(uint64_t delivery_id, AttemptResult result) {
  auto node = running_.extract(delivery_id);
  result.result.set_id(delivery_id);
  // The answer may end this agent.
  node.mapped().attempt->done(std::move(result));
}

void BounceAgent::Cancel(uint64_t delivery_id) {
  if (running_.contains(delivery_id)) Fail(delivery_id, "called off");
}

}  // namespace postfleet::delivery
