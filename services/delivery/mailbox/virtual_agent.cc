#include "services/delivery/mailbox/virtual_agent.h"

#include <cerrno>
#include <cstring>
#include <utility>
#include <variant>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/delivery/core/mailbox_fields.h"
#include "services/delivery/core/mbox_contents.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

// Leaves room in privileged::kRequestBytesMax for one more target.
constexpr size_t kTargetBytesMax = 4 << 20;
constexpr char kNotOwned[] = "is not owned by recipient";

// Of the file system.
Outcome OutcomeOfError(int error_number, const std::string& text) {
  switch (error_number) {
    case EFBIG:
    case EDQUOT:
      return MakeOutcome(Outcome::ACTION_BOUNCED, "5.2.2", text);
    case ENOSPC:
    case EIO:
    case EROFS:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.0", text);
    default:
      return MakeOutcome(Outcome::ACTION_DEFERRED, "4.2.0", text);
  }
}

Outcome Failed(const absl::Status& status) {
  if (absl::IsCancelled(status)) {
    return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.2", "delivery was called off");
  }
  return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.0",
                     Concat("mail system error: ", std::string(status.message())));
}

Outcome Deliverable(const Mailbox& mailbox) {
  Outcome outcome = MakeOutcome(Outcome::ACTION_SENT, "2.0.0",
                                mailbox.is_mbox ? "delivers to mailbox" : "delivers to maildir");
  outcome.set_success(Outcome::SUCCESS_DELIVERED);
  return outcome;
}

}  // namespace

std::string MailboxHeader(const std::string& sender, const mail::v1::Recipient& recipient) {
  const std::string& original =
      recipient.original_address().empty() ? recipient.address() : recipient.original_address();
  return Concat("Return-Path: <", AddressInHeader(sender),
                ">\nX-Original-To: ", AddressInHeader(original),
                "\nDelivered-To: ", AddressInHeader(recipient.address()), "\n");
}

Outcome OutcomeOf(const privileged::TargetResult& result) {
  const std::string text = Concat("maildir delivery failed: ", result.text);
  switch (result.code) {
    case privileged::Code::kDelivered: {
      Outcome delivered = MakeOutcome(Outcome::ACTION_SENT, "2.0.0", "delivered to maildir");
      delivered.set_success(Outcome::SUCCESS_DELIVERED);
      return delivered;
    }
    case privileged::Code::kRefused:
      return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.5", text);
    case privileged::Code::kAbandoned:
      return Failed(absl::CancelledError());
    case privileged::Code::kFailed:
      break;
  }
  return OutcomeOfError(result.error_number, text);
}

Outcome OutcomeOfMbox(const std::string& path, const ActionFailure& failure) {
  using Kind = ActionFailure::Kind;
  switch (failure.kind) {
    case Kind::kNone: {
      Outcome delivered = MakeOutcome(Outcome::ACTION_SENT, "2.0.0", "delivered to mailbox");
      delivered.set_success(Outcome::SUCCESS_DELIVERED);
      return delivered;
    }
    case Kind::kCancelled:
      return Failed(absl::CancelledError());
    case Kind::kUnavailable:
    case Kind::kContents:
      return Failed(absl::UnavailableError(failure.text));
    case Kind::kRefused:
    case Kind::kFailed:
      break;
  }
  std::string text = Concat("delivery failed to mailbox ", path, ": ", failure.text);
  if (failure.kind == Kind::kRefused && !failure.text.ends_with(kNotOwned)) {
    return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.5", text);
  }
  if (failure.error_number != 0) {
    ConcatTo(&text, ": ", std::string_view(strerror(failure.error_number)));
  }
  return OutcomeOfError(failure.error_number, text);
}

VirtualAgent::VirtualAgent(VirtualOptions options,
                           std::shared_ptr<privileged::HelperConnections> connections,
                           std::shared_ptr<UserActions> actions, const Clock& clock)
    : options_(std::move(options)),
      connections_(std::move(connections)),
      actions_(std::move(actions)),
      clock_(clock),
      mailboxes_(options_) {
  status_filter_ = StatusFilter::OpenOrWarn(options_.status_filter);
}

void VirtualAgent::Start(std::unique_ptr<Attempt> attempt) {
  const uint64_t id = attempt->delivery.id();
  Running& running = running_[id];
  running.attempt = std::move(attempt);
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  const int64_t now_ms = clock_.WallMillis();
  running.times = {.arrival_ms = delivery.envelope().arrival_ms(),
                   .active_ms = delivery.active_ms(),
                   .start_ms = now_ms,
                   .connected_ms = now_ms,
                   .end_ms = now_ms};
  running.result.result.set_id(id);
  privileged::Request request = RequestFor(running);
  if (!running.mboxes.empty()) {
    running.shared = std::make_unique<SharedContents>(std::move(running.attempt->contents));
  }
  if (request.targets.empty()) return WriteMbox(id);
  privileged::Handover handover;
  handover.request = std::move(request);
  handover.contents =
      running.shared ? running.shared->Open() : std::move(running.attempt->contents);
  handover.done = [this, alive = std::weak_ptr(alive_), id](
                      const absl::Status& status, std::vector<privileged::TargetResult> results) {
    if (!alive.expired()) OnAnswer(id, status, results);
  };
  running.handover = connections_->Deliver(std::move(handover));
}

privileged::Request VirtualAgent::RequestFor(Running& running) {
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  privileged::Request request;
  request.content_bytes = delivery.content_bytes();
  request.file_bytes_max = options_.file_bytes_max;
  request.seconds = clock_.WallMicros() / 1'000'000;
  request.microseconds = static_cast<uint32_t>(clock_.WallMicros() % 1'000'000);
  request.host = options_.host;
  size_t bytes = 0;
  for (int i = 0; i < delivery.recipients_size(); ++i) {
    const mail::v1::Recipient& recipient = delivery.recipients(i);
    auto found = mailboxes_.Find(recipient.address());
    if (auto* outcome = std::get_if<Outcome>(&found)) {
      Decide(running, i, std::move(*outcome));
      continue;
    }
    Mailbox& mailbox = std::get<Mailbox>(found);
    if (delivery.envelope().probe()) {
      Decide(running, i, Deliverable(mailbox));
      continue;
    }
    if (mailbox.is_mbox) {
      running.mboxes.emplace_back(i, std::move(mailbox));
      continue;
    }
    privileged::Target target = {.uid = mailbox.uid,
                                 .gid = mailbox.gid,
                                 .path = std::move(mailbox.path),
                                 .header = MailboxHeader(delivery.envelope().sender(), recipient)};
    bytes += target.path.size() + target.header.size();
    if (!privileged::FitsRequest(target) || bytes > kTargetBytesMax ||
        request.targets.size() == privileged::kTargetsMax) {
      Decide(running, i, Failed(absl::ResourceExhaustedError("too many recipients at once")));
      continue;
    }
    request.base = mailbox.base;
    request.targets.push_back(std::move(target));
    running.recipients.push_back(i);
  }
  return request;
}

void VirtualAgent::OnAnswer(uint64_t delivery_id, const absl::Status& status,
                            const std::vector<privileged::TargetResult>& results) {
  Running& running = running_.at(delivery_id);
  for (size_t i = 0; i < running.recipients.size(); ++i) {
    if (!status.ok()) {
      Decide(running, running.recipients[i], Failed(status));
      continue;
    }
    if (results[i].code == privileged::Code::kFailed && results[i].error_number == EACCES) {
      maillog::Warning(options_.program, "maildir access problem: ", results[i].text);
      maillog::Warning(options_.program, "perhaps you need to create the maildirs in advance");
    }
    if (results[i].code == privileged::Code::kRefused) {
      maillog::Warning(options_.program, "the delivery helper refused: ", results[i].text);
    }
    Decide(running, running.recipients[i], OutcomeOf(results[i]));
  }
  running.handover = 0;
  WriteMbox(delivery_id);
}

void VirtualAgent::WriteMbox(uint64_t delivery_id) {
  Running& running = running_.at(delivery_id);
  while (running.is_cancelled && !running.mboxes.empty()) {
    Decide(running, running.mboxes.back().first, Failed(absl::CancelledError()));
    running.mboxes.pop_back();
  }
  if (running.mboxes.empty()) return Finish(delivery_id);
  const auto [recipient, mailbox] = std::move(running.mboxes.back());
  running.mboxes.pop_back();
  const scheduler::v1::Delivery& sent = running.attempt->delivery;
  std::vector<std::string> components;
  const std::string refusal = privileged::CheckPath(mailbox.path, &components);
  if (!refusal.empty()) {
    return OnMbox(delivery_id, recipient, Concat(mailbox.base, "/", mailbox.path),
                  {.kind = ActionFailure::Kind::kRefused, .text = refusal});
  }
  MailboxDelivery delivery;
  delivery.kind = MailboxDelivery::Kind::kMbox;
  delivery.user = {.uid = mailbox.uid, .gid = mailbox.gid};
  delivery.path = Concat(mailbox.base, mailbox.base.ends_with('/') ? "" : "/", mailbox.path);
  delivery.header = MboxFromLine(sent.envelope().sender(), clock_.WallMillis()) +
                    MailboxHeader(sent.envelope().sender(), sent.recipients(recipient));
  delivery.file_bytes_max = options_.file_bytes_max;
  delivery.locks = options_.locks;
  delivery.must_be_owned = options_.strict_mailbox_ownership;
  const std::string path = delivery.path;
  running.action = actions_->Deliver(std::move(delivery), MboxContents(running.shared->Open()),
                                     [this, alive = std::weak_ptr(alive_), delivery_id,
                                      recipient = recipient, path](const ActionFailure& failure) {
                                       if (!alive.expired())
                                         OnMbox(delivery_id, recipient, path, failure);
                                     });
}

void VirtualAgent::OnMbox(uint64_t delivery_id, int recipient, const std::string& path,
                          const ActionFailure& failure) {
  Running& running = running_.at(delivery_id);
  running.action = 0;
  if (failure.text.ends_with(kNotOwned)) {
    maillog::Warning(options_.program,
                     "specify \"strict_mailbox_ownership = no\" to ignore mailbox ownership "
                     "mismatch");
  } else if (failure.kind == ActionFailure::Kind::kRefused) {
    maillog::Warning(options_.program, "the delivery helper refused: ", failure.text);
  }
  Decide(running, recipient, OutcomeOfMbox(path, failure));
  WriteMbox(delivery_id);
}

void VirtualAgent::Decide(Running& running, int recipient, Outcome outcome) {
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  outcome.set_recipient_number(delivery.recipients(recipient).number());
  running.times.end_ms = clock_.WallMillis();
  if (status_filter_ != nullptr) status_filter_->Apply(&outcome);
  maillog::Write(
      options_.program,
      LineAndFinalOutcome(delivery.queue_id(), delivery.recipients(recipient), options_.service,
                          running.times, options_.soft_bounce, &outcome));
  *running.result.result.add_outcomes() = std::move(outcome);
}

void VirtualAgent::Finish(uint64_t delivery_id) {
  auto node = running_.extract(delivery_id);
  Running& running = node.mapped();
  // The answer may end this agent.
  running.attempt->done(std::move(running.result));
}

void VirtualAgent::Cancel(uint64_t delivery_id) {
  const auto running = running_.find(delivery_id);
  if (running == running_.end()) return;
  running->second.is_cancelled = true;
  if (running->second.handover != 0) connections_->Cancel(running->second.handover);
  if (running->second.action != 0) actions_->Cancel(running->second.action);
}

}  // namespace postfleet::delivery
