#include "services/delivery/pipe/pipe_agent.h"

#include <cstring>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"
#include "services/delivery/core/command_outcome.h"
#include "services/delivery/core/mailbox_fields.h"
#include "services/delivery/core/mbox_contents.h"
#include "services/delivery/pipe/command_words.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;
using maillog::Event;
using maillog::Fact;

// Of a command's output, in the words of a delivery.
constexpr size_t kSaidBytesMax = 100;

Outcome MakeOutcome(Outcome::Action action, std::string_view status, std::string text) {
  Outcome outcome;
  outcome.set_action(action);
  outcome.set_status(std::string(status));
  outcome.set_text(std::move(text));
  return outcome;
}

// As Postfix counts: lines end with CRLF.
uint64_t MessageBytes(const scheduler::v1::Delivery& delivery) {
  return delivery.content_bytes() + delivery.envelope().content_lines();
}

Outcome Misconfigured() {
  return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.5", "mail system configuration error");
}

// What speaks of one recipient, and so cannot be done for several.
char FlagOfOne(const config::PipeService& service) {
  if (service.delivered_to) return 'D';
  return service.original_to ? 'O' : '\0';
}

Outcome ContentsFailed(const absl::Status& status) {
  return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.0",
                     Concat("mail system error: ", std::string(status.message())));
}

const std::string& OriginalOf(const mail::v1::Recipient& recipient) {
  return recipient.original_address().empty() ? recipient.address() : recipient.original_address();
}

}  // namespace

PipeAgent::PipeAgent(PipeOptions options, std::shared_ptr<UserActions> actions, const Clock& clock)
    : options_(std::move(options)), actions_(std::move(actions)), clock_(clock) {
  status_filter_ = StatusFilter::OpenOrWarn(options_.status_filter);
}

void PipeAgent::Start(std::unique_ptr<Attempt> attempt) {
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
  if (!FindRights()) return FinishUnavailable(id, no_rights_);
  if (const char flag = FlagOfOne(options_.service);
      flag != '\0' && delivery.recipients_size() > 1) {
    maillog::Warning(options_.program, "pipe flag `", std::string(1, flag), "' requires ",
                     options_.name, "_destination_recipient_limit = 1");
    return Finish(id, Misconfigured());
  }
  const uint64_t limit = options_.service.message_bytes_max;
  if (limit != 0 && MessageBytes(delivery) > limit) {
    return Finish(id, MakeOutcome(Outcome::ACTION_BOUNCED, "5.2.3", "message too large"));
  }
  if (options_.service.delivered_to) return ReadHeader(id);
  Run(id);
}

// A name service that did not answer is asked again by the next mail.
bool PipeAgent::FindRights() {
  if (rights_) return true;
  no_rights_ = options_.misconfigured;
  if (!no_rights_.empty()) return false;
  const absl::StatusOr<UserIds> found = FindPipeRights(options_);
  if (found.ok()) {
    rights_ = *found;
    return true;
  }
  no_rights_ = std::string(found.status().message());
  return false;
}

void PipeAgent::ReadHeader(uint64_t delivery_id) {
  // The reader ends with the attempt, and its open call with it.
  running_.at(delivery_id)
      .attempt->contents->Next(
          [this, delivery_id](const absl::Status& status, const rpc::Payload& piece) {
            OnHeader(delivery_id, status, piece);
          });
}

void PipeAgent::OnHeader(uint64_t delivery_id, const absl::Status& status,
                         const rpc::Payload& piece) {
  if (!status.ok()) return Finish(delivery_id, ContentsFailed(status), absl::IsDataLoss(status));
  Running& running = running_.at(delivery_id);
  for (const grpc::Slice& slice : piece) {
    if (running.delivered_to.Take(rpc::AsView(slice))) return CheckLoop(delivery_id);
  }
  if (!piece.empty()) return ReadHeader(delivery_id);
  running.delivered_to.End();
  CheckLoop(delivery_id);
}

void PipeAgent::CheckLoop(uint64_t delivery_id) {
  Running& running = running_.at(delivery_id);
  for (const mail::v1::Recipient& recipient : running.attempt->delivery.recipients()) {
    if (!running.delivered_to.addresses().contains(mail::LowerCasedAscii(recipient.address()))) {
      continue;
    }
    return Finish(delivery_id,
                  MakeOutcome(Outcome::ACTION_BOUNCED, "5.4.6",
                              Concat("mail forwarding loop for ", recipient.address())));
  }
  if (!running.attempt->contents->Restart()) {
    return Finish(delivery_id, ContentsFailed(absl::InternalError("contents cannot be reread")));
  }
  Run(delivery_id);
}

std::string PipeAgent::SenderOf(const scheduler::v1::Delivery& delivery) const {
  const std::string& sender = delivery.envelope().sender();
  return sender.empty() ? options_.service.null_sender : sender;
}

// In front of the message, in mail_copy's order.
std::string PipeAgent::Header(const scheduler::v1::Delivery& delivery) const {
  const config::PipeService& service = options_.service;
  const std::string sender = AddressInHeader(SenderOf(delivery));
  std::string header;
  if (service.from_line) {
    header = MboxFromLine(SenderOf(delivery), clock_.WallMillis());
    header.replace(header.size() - 1, 1, service.eol);
  }
  if (service.return_path) ConcatTo(&header, "Return-Path: <", sender, ">", service.eol);
  if (delivery.recipients().empty()) return header;
  const mail::v1::Recipient& recipient = delivery.recipients(0);
  if (service.original_to) {
    ConcatTo(&header, "X-Original-To: ", AddressInHeader(OriginalOf(recipient)), service.eol);
  }
  if (service.delivered_to) {
    ConcatTo(&header, "Delivered-To: ", AddressInHeader(recipient.address()), service.eol);
  }
  return header;
}

Outcome PipeAgent::Deliverable(const std::string& command) const {
  Outcome outcome =
      MakeOutcome(Outcome::ACTION_SENT, "2.0.0", Concat("delivers to command: ", command));
  outcome.set_success(options_.service.final_delivery ? Outcome::SUCCESS_DELIVERED
                                                      : Outcome::SUCCESS_RELAYED);
  return outcome;
}

void PipeAgent::Run(uint64_t delivery_id) {
  Running& running = running_.at(delivery_id);
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  const config::PipeService& service = options_.service;
  const std::string sender = SenderOf(delivery);
  WordFacts facts = {.envelope = delivery.envelope(),
                     .sender = sender,
                     .nexthop = delivery.nexthop(),
                     .queue_id = delivery.queue_id(),
                     .message_bytes = MessageBytes(delivery)};
  for (const mail::v1::Recipient& recipient : delivery.recipients()) {
    facts.recipients.push_back(&recipient);
  }
  absl::StatusOr<std::vector<std::string>> argv =
      ExpandWords(service.argv,
                  {.quote_local_part = service.quote_local_part,
                   .fold_user = service.fold_user,
                   .fold_host = service.fold_host,
                   .recipient_delimiter = options_.recipient_delimiter},
                  facts);
  if (!argv.ok() || argv->empty()) {
    maillog::Warning(options_.program, "file ", options_.master_cf, ": service ", options_.name,
                     ": ", argv.ok() ? "empty command" : std::string(argv.status().message()));
    return Finish(delivery_id, Misconfigured());
  }
  if (delivery.envelope().probe()) return Finish(delivery_id, Deliverable(argv->front()));
  Command command = {.user = *rights_,
                     .directory = service.directory,
                     .chroot = service.chroot,
                     .argv = *std::move(argv),
                     .environment = options_.environment,
                     .header = Header(delivery),
                     .time_limit = options_.time_limit,
                     .output_bytes_max = kCommandOutputBytesMax};
  if (command.directory.empty() && command.chroot.empty()) command.directory = options_.directory;
  running.command = command.argv[0];
  running.action = actions_->Run(
      std::move(command),
      ChangeLines(std::move(running.attempt->contents), {.quote_from = service.quote_from,
                                                         .quote_dot = service.double_dots,
                                                         .eol = service.eol,
                                                         .blank_line = service.blank_line}),
      [this, delivery_id, alive = std::weak_ptr(alive_)](const CommandEnd& end) {
        if (!alive.expired()) OnEnd(delivery_id, end);
      });
}

void PipeAgent::OnEnd(uint64_t delivery_id, const CommandEnd& end) {
  const std::string& command = running_.at(delivery_id).command;
  if (end.how == CommandEnd::How::kNotRun && end.failure.kind == ActionFailure::Kind::kFailed) {
    SayWhyNotRun(end.failure, command);
  }
  Finish(delivery_id, OutcomeOf(end, command), end.failure.contents_damaged);
}

// As what Postfix makes for the command says it before it ends.
void PipeAgent::SayWhyNotRun(const ActionFailure& failure, const std::string& command) const {
  const config::PipeService& service = options_.service;
  const std::string_view why = strerror(failure.error_number);
  const Fact text("text", why);
  const Event event("command_not_run");
  if (failure.text == "execvp") {
    maillog::Info(options_.program, "fatal: pipe_command: execvp ", Fact("command", command), ": ",
                  text, event);
  } else if (failure.text == "chroot") {
    maillog::Info(options_.program, "fatal: chroot(", Fact("chroot", service.chroot), "): ", text,
                  event);
  } else if (failure.text == "chdir") {
    maillog::Info(options_.program, "fatal: cannot change directory to \"",
                  Fact("directory", service.directory), "\" for uid=", Fact("uid", rights_->uid),
                  " gid=", Fact("gid", rights_->gid), ": ", text, event);
  } else {
    maillog::Warning(options_.program, failure.text, ": ", text, event);
  }
}

Outcome PipeAgent::OutcomeOf(const CommandEnd& end, const std::string& command) const {
  Outcome outcome = OutcomeOfCommand(end, command, command, "pipe", "pipe_command: execvp");
  if (outcome.action() != Outcome::ACTION_SENT) return outcome;
  const std::string said = outcome.text().substr(0, kSaidBytesMax);
  outcome.set_text(Concat("delivered via ", options_.name, " service",
                          said.empty() ? "" : Concat(" (", said, ")")));
  outcome.set_success(options_.service.final_delivery ? Outcome::SUCCESS_DELIVERED
                                                      : Outcome::SUCCESS_RELAYED);
  return outcome;
}

void PipeAgent::Finish(uint64_t delivery_id, const Outcome& outcome, bool contents_damaged) {
  Finish(delivery_id, options_.program, options_.name, outcome, contents_damaged);
}

// As Postfix: its pipe ends with the fatal error, and qmgr defers.
void PipeAgent::FinishUnavailable(uint64_t delivery_id, const std::string& why) {
  maillog::Info(options_.program, "fatal: ", why);
  Finish(delivery_id, "error", "none",
         MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.0", "mail transport unavailable"), false);
}

void PipeAgent::Finish(uint64_t delivery_id, const std::string& program, const std::string& relay,
                       const Outcome& outcome, bool contents_damaged) {
  auto node = running_.extract(delivery_id);
  Running& running = node.mapped();
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  running.times.end_ms = clock_.WallMillis();
  AttemptResult result;
  result.result.set_id(delivery_id);
  result.result.set_contents_damaged(contents_damaged);
  for (const mail::v1::Recipient& recipient : delivery.recipients()) {
    Outcome own = outcome;
    own.set_recipient_number(recipient.number());
    if (status_filter_ != nullptr) status_filter_->Apply(&own);
    maillog::Write(program, LineAndFinalOutcome(delivery.queue_id(), recipient, relay,
                                                running.times, options_.soft_bounce, &own));
    *result.result.add_outcomes() = std::move(own);
  }
  // The answer may end this agent.
  running.attempt->done(std::move(result));
}

void PipeAgent::Cancel(uint64_t delivery_id) {
  const auto running = running_.find(delivery_id);
  if (running == running_.end()) return;
  if (running->second.action != 0) return actions_->Cancel(running->second.action);
  Finish(delivery_id, MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.2", "delivery was called off"));
}

}  // namespace postfleet::delivery
