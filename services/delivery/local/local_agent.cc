#include "services/delivery/local/local_agent.h"

#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"
#include "libs/mail/notify.h"
#include "services/delivery/core/mbox_contents.h"
#include "services/delivery/local/command_step.h"
#include "services/delivery/local/mailbox_step.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;
using maillog::Event;
using maillog::Fact;

Outcome Make(Outcome::Action action, const std::string& status, const std::string& text) {
  Outcome outcome;
  outcome.set_action(action);
  outcome.set_status(status);
  outcome.set_text(text);
  return outcome;
}

// The worse of a recipient's parts is what becomes of it.
int Weight(Outcome::Action action) {
  switch (action) {
    case Outcome::ACTION_DEFERRED:
      return 3;
    case Outcome::ACTION_BOUNCED:
      return 2;
    default:
      return 1;
  }
}

// "transport" or "transport:nexthop"; as it was routed where no nexthop is said.
void SetDestination(const std::string& text, scheduler::v1::Delivery* delivery) {
  const size_t colon = text.find(':');
  delivery->set_transport(text.substr(0, colon));
  if (colon != std::string::npos && colon + 1 < text.size()) {
    delivery->set_nexthop(text.substr(colon + 1));
  }
}

}  // namespace

LocalAgent::LocalAgent(LocalOptions options, LocalWorld world)
    : options_(std::move(options)),
      world_(std::move(world)),
      tables_(options_),
      error_(AnsweringAgent::Kind::kError, options_.soft_bounce, *world_.clock),
      discard_(AnsweringAgent::Kind::kDiscard, options_.soft_bounce, *world_.clock) {
  status_filter_ = StatusFilter::OpenOrWarn(options_.status_filter);
}

LocalAgent::Running* LocalAgent::Find(uint64_t id) {
  const auto running = running_.find(id);
  return running == running_.end() ? nullptr : &running->second;
}

void LocalAgent::Start(std::unique_ptr<Attempt> attempt) {
  const uint64_t id = attempt->delivery.id();
  Running& running = running_[id];
  running.attempt = std::move(attempt);
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  const int64_t now_ms = world_.clock->WallMillis();
  running.times = {.arrival_ms = delivery.envelope().arrival_ms(),
                   .active_ms = delivery.active_ms(),
                   .start_ms = now_ms,
                   .connected_ms = now_ms,
                   .end_ms = now_ms};
  running.result.result.set_id(id);
  running.contents = std::make_unique<SharedContents>(std::move(running.attempt->contents));
  if (!options_.fault.empty()) {
    maillog::Warning(options_.program, options_.fault);
    return DeferAll(id, "4.3.5", "mail system configuration error");
  }
  running.header_reader = running.contents->Open();
  ReadHeader(id);
}

void LocalAgent::ReadHeader(uint64_t id) {
  Find(id)->header_reader->Next(
      [this, alive = std::weak_ptr(alive_), id](const absl::Status& status, rpc::Payload payload) {
        if (!alive.expired()) OnHeader(id, status, payload);
      });
}

void LocalAgent::OnHeader(uint64_t id, const absl::Status& status, const rpc::Payload& payload) {
  Running* running = Find(id);
  if (running == nullptr) return;
  if (!status.ok()) {
    return DeferAll(id, "4.3.0", Concat("mail system error: ", std::string(status.message())));
  }
  bool is_over = true;
  for (const grpc::Slice& slice : payload) {
    is_over = running->delivered.Take(rpc::AsView(slice));
    if (is_over) break;
  }
  if (!payload.empty() && !is_over) return ReadHeader(id);
  running->delivered.End();
  running->header_reader.reset();
  BeginRecipient(id);
}

void LocalAgent::BeginRecipient(uint64_t id) {
  Running& running = *Find(id);
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  if (running.recipient == delivery.recipients_size()) return Finish(id);
  running.outcome.reset();
  running.parts.Clear();
  running.parts_more = 0;
  running.passes.clear();
  running.forwards.clear();
  running.forwards_sent = 0;
  running.is_passed = false;
  running.expansion = std::make_unique<Expansion>(
      options_, tables_, *world_.accounts, delivery.queue_id(), delivery.envelope().sender(),
      delivery.recipients(running.recipient), running.delivered.addresses());
  Walk(id);
}

void LocalAgent::Walk(uint64_t id) {
  Running* running = Find(id);
  while (running != nullptr && !running->is_cancelled) {
    Step step = running->expansion->Next();
    if (step.kind == Step::Kind::kFinished) {
      PrepareForwards(*running);
      return Forward(id);
    }
    if (!Take(id, *running, std::move(step))) return;
  }
  if (running != nullptr) DeferAll(id, "4.3.2", "delivery was called off");
}

bool LocalAgent::Take(uint64_t id, Running& running, Step step) {
  switch (step.kind) {
    case Step::Kind::kReadFile:
      Read(id, running, step);
      return false;
    case Step::Kind::kFindRoute:
      if (world_.routes == nullptr) {
        running.expansion->OnRoute(absl::UnavailableError("no lookup service"), {});
        return true;
      }
      FindRoute(id, running, step);
      return false;
    case Step::Kind::kMailbox:
    case Step::Kind::kFile:
    case Step::Kind::kCommand:
      if (running.is_probe()) {
        running.expansion->OnDone(Tell(running, step.party, ProbeOutcome(step)).action());
        return true;
      }
      if (step.kind == Step::Kind::kCommand) {
        RunCommand(id, running, std::move(step));
      } else {
        WriteMailbox(id, running, std::move(step));
      }
      return false;
    case Step::Kind::kPassOn:
      maillog::Info(options_.program, Fact("queue_id", running.attempt->delivery.queue_id()),
                    ": passing <", Fact("to", step.party.recipient.address()),
                    "> to transport=", Fact("transport", step.text.substr(0, step.text.find(':'))),
                    Event("passed_on"));
      running.passes.push_back(std::move(step));
      running.expansion->OnDone(Outcome::ACTION_SENT);
      return true;
    case Step::Kind::kDecided:
      running.expansion->OnDone(Tell(running, step.party, std::move(step.outcome)).action());
      return true;
    case Step::Kind::kFinished:
      return true;
  }
  return true;
}

void LocalAgent::Read(uint64_t id, Running& running, const Step& step) {
  running.action =
      world_.actions->ReadFile(step.rights, step.text, Expansion::kFileBytesMax,
                               [this, alive = std::weak_ptr(alive_), id](const UserFile& file) {
                                 if (alive.expired()) return;
                                 Find(id)->expansion->OnFile(file);
                                 Walk(id);
                               });
}

void LocalAgent::FindRoute(uint64_t id, const Running& running, const Step& step) {
  world_.routes->Find(
      running.attempt->delivery.envelope().sender(), step.text,
      [this, alive = std::weak_ptr(alive_), id](const absl::Status& status, const Route& route) {
        if (alive.expired()) return;
        Find(id)->expansion->OnRoute(status, route);
        Walk(id);
      });
}

void LocalAgent::WriteMailbox(uint64_t id, Running& running, Step step) {
  MailboxDelivery delivery = MailboxFor(step, options_, world_.clock->WallMillis());
  std::unique_ptr<ContentReader> contents = running.contents->Open();
  if (delivery.kind == MailboxDelivery::Kind::kMbox) contents = MboxContents(std::move(contents));
  running.action = world_.actions->Deliver(std::move(delivery), std::move(contents),
                                           [this, alive = std::weak_ptr(alive_), id,
                                            step = std::move(step)](const ActionFailure& failure) {
                                             if (alive.expired()) return;
                                             LogMailboxTrouble(options_, step, failure);
                                             OnPart(id, step.party, MailboxOutcome(step, failure));
                                           });
}

void LocalAgent::RunCommand(uint64_t id, Running& running, Step step) {
  std::optional<Command> command =
      CommandFor(step, options_, running.attempt->delivery.envelope(), world_.clock->WallMillis());
  if (!command) {
    return OnPart(id, step.party,
                  Make(Outcome::ACTION_DEFERRED, "4.3.5", "mail system configuration error"));
  }
  running.action = world_.actions->Run(
      *std::move(command), running.contents->Open(),
      [this, alive = std::weak_ptr(alive_), id, step = std::move(step)](const CommandEnd& end) {
        if (!alive.expired()) OnPart(id, step.party, CommandStepOutcome(step, options_, end));
      });
}

void LocalAgent::OnPart(uint64_t id, const Party& party, Outcome outcome) {
  Running& running = *Find(id);
  running.action = 0;
  running.expansion->OnDone(Tell(running, party, std::move(outcome)).action());
  Walk(id);
}

Outcome LocalAgent::Tell(Running& running, const Party& party, Outcome outcome) {
  running.times.end_ms = world_.clock->WallMillis();
  if (status_filter_ != nullptr) status_filter_->Apply(&outcome);
  mail::v1::Recipient told = party.recipient;
  // Of a probe all parts are told, those of lists too.
  if (running.is_probe()) told.set_dsn_notify(running.recipient_at_work().dsn_notify());
  maillog::Write(options_.program,
                 LineAndFinalOutcome(running.attempt->delivery.queue_id(), told, options_.service,
                                     running.times, options_.soft_bounce, &outcome));
  if (!running.outcome || Weight(outcome.action()) > Weight(running.outcome->action())) {
    running.outcome = outcome;
  }
  KeepPart(running, party.recipient, outcome);
  return outcome;
}

void LocalAgent::KeepPart(Running& running, const mail::v1::Recipient& part,
                          const Outcome& outcome) {
  if (outcome.action() == Outcome::ACTION_SENT && !running.is_probe()) return;
  if (running.parts.size() == kPartsMax) {
    ++running.parts_more;
    return;
  }
  mail::v1::OutcomePart* kept = running.parts.Add();
  kept->set_address(part.address());
  kept->set_original_address(part.original_address());
  kept->set_action(outcome.action());
  kept->set_status(outcome.status());
  const bool is_reported = running.is_probe() && !outcome.success_text().empty();
  kept->set_text(is_reported ? outcome.success_text() : outcome.text());
  kept->set_remote_mta(outcome.remote_mta());
  kept->set_diagnostic(outcome.diagnostic());
}

// What goes to other transports can be passed on once, and where nothing else is to be told of the
// recipient; the rest of it becomes mail of its own.
void LocalAgent::PrepareForwards(Running& running) {
  if (running.expansion->has_deferred()) {
    running.passes.clear();
    return;
  }
  running.forwards = running.expansion->forwards();
  const size_t passes_max = running.parts.empty() ? 1 : 0;
  while (running.passes.size() > passes_max) {
    const Step step = std::move(running.passes.back());
    running.passes.pop_back();
    running.forwards.push_back({.delivered = step.party.delivered,
                                .sender = step.party.sender,
                                .is_list = step.party.is_list,
                                .recipients = {step.party.recipient}});
  }
}

void LocalAgent::Forward(uint64_t id) {
  Running& running = *Find(id);
  if (running.is_probe()) return TellOfForwards(id, running);
  if (running.forwards_sent == running.forwards.size()) return EndRecipient(id);
  const Forwarding& forwarding = running.forwards[running.forwards_sent++];
  if (world_.forwarder == nullptr) {
    return OnForwarded(id, absl::UnavailableError("no queue service"), "");
  }
  ForwardedMail mail;
  mail.envelope = running.attempt->delivery.envelope();
  mail.envelope.set_sender(forwarding.sender);
  mail.envelope.set_arrival_ms(world_.clock->WallMillis());
  mail.envelope.set_content_lines(0);  // it gets a header
  if (forwarding.is_list) {
    mail.envelope.clear_dsn_envid();
    mail.envelope.clear_dsn_return();
  }
  mail.recipients = forwarding.recipients;
  for (size_t i = 0; i < mail.recipients.size(); ++i) {
    mail.recipients[i].set_number(static_cast<uint32_t>(i));
    mail.recipients[i].set_dsn_notify(mail.recipients[i].dsn_notify() & ~mail::kNotifyFlagsWithin);
    if (mail.recipients[i].original_address() == mail.recipients[i].address()) {
      mail.recipients[i].clear_original_address();
    }
  }
  if (options_.delivered_to_forwards) {
    mail.header = Concat(
        "Delivered-To: ", mail::LowerCasedAscii(mail::QuoteAddress(forwarding.delivered)), "\n");
  }
  mail.contents = running.contents->Open();
  world_.forwarder->Submit(std::move(mail),
                           [this, alive = std::weak_ptr(alive_), id](const absl::Status& status,
                                                                     const std::string& queue_id) {
                             if (!alive.expired()) OnForwarded(id, status, queue_id);
                           });
}

// POSTFIX deliver_indirect: a probe follows nobody to another delivery.
void LocalAgent::TellOfForwards(uint64_t id, Running& running) {
  for (const Forwarding& forwarding : running.forwards) {
    for (const mail::v1::Recipient& recipient : forwarding.recipients) {
      Party party;
      party.recipient = recipient;
      Tell(running, party,
           Make(Outcome::ACTION_SENT, "2.0.0", Concat("forwards to ", recipient.address())));
    }
  }
  EndRecipient(id);
}

void LocalAgent::OnForwarded(uint64_t id, const absl::Status& status, const std::string& queue_id) {
  Running& running = *Find(id);
  Party party;
  party.recipient = running.attempt->delivery.recipients(running.recipient);
  if (!status.ok()) {
    maillog::Warning(options_.program, running.attempt->delivery.queue_id(),
                     ": forwarding: ", std::string(status.message()));
    Tell(running, party, Make(Outcome::ACTION_DEFERRED, "4.3.0", "unable to forward message"));
    // What follows would be forwarded again by the next attempt.
    running.passes.clear();
    return EndRecipient(id);
  }
  const std::string& message_id = running.delivered.message_id();
  maillog::Info("cleanup", Fact("queue_id", queue_id),
                ": message-id=", Fact("message_id", message_id.empty() ? "<>" : message_id),
                Event("message_id"));
  Outcome sent = Make(Outcome::ACTION_SENT, "2.0.0", Concat("forwarded as ", queue_id));
  sent.set_success(Outcome::SUCCESS_EXPANDED);
  Tell(running, party, std::move(sent));
  Forward(id);
}

void LocalAgent::EndRecipient(uint64_t id) {
  Running& running = *Find(id);
  const mail::v1::Recipient& recipient = running.attempt->delivery.recipients(running.recipient);
  if (!running.passes.empty()) PassOn(running, running.passes.front());
  if (!running.is_passed) {
    Complete(running, recipient);
    *running.result.result.add_outcomes() = *running.outcome;
  }
  ++running.recipient;
  BeginRecipient(id);
}

void LocalAgent::Complete(Running& running, const mail::v1::Recipient& recipient) {
  // Nothing but what was delivered already: a duplicate, or an empty list.
  if (!running.outcome) running.outcome = Make(Outcome::ACTION_SENT, "2.0.0", "delivered");
  Outcome& outcome = *running.outcome;
  outcome.set_recipient_number(recipient.number());
  const Outcome::Success success = running.expansion->success();
  if (success != Outcome::SUCCESS_UNSPECIFIED && outcome.action() != Outcome::ACTION_DEFERRED &&
      !running.is_probe()) {
    outcome.set_success(success);
    const std::string text = Concat("delivery via ", options_.service, ": alias expanded");
    if (outcome.action() == Outcome::ACTION_SENT) {
      outcome.set_text(text);
    } else {
      outcome.set_success_text(text);
    }
  }
  const bool is_told = outcome.action() != Outcome::ACTION_SENT || running.is_probe();
  const bool is_itself =
      running.parts.size() == 1 && is_told && running.parts[0].address() == recipient.address();
  if (is_itself || !is_told) return;
  *outcome.mutable_parts() = std::move(running.parts);
  outcome.set_parts_more(running.parts_more);
}

// The recipient's outcome is what the other transport says, unless a part of it failed.
void LocalAgent::PassOn(Running& running, const Step& step) {
  auto attempt = std::make_unique<Attempt>();
  attempt->delivery = running.attempt->delivery;
  attempt->delivery.clear_recipients();
  *attempt->delivery.add_recipients() = step.party.recipient;
  attempt->delivery.mutable_envelope()->set_sender(step.party.sender);
  SetDestination(step.text, &attempt->delivery);
  const std::string& transport = attempt->delivery.transport();
  if (transport == "error" || transport == "retry" || transport == "discard") {
    attempt->done = [&running](AttemptResult answer) {
      const Outcome& outcome = answer.result.outcomes(0);
      if (!running.outcome || Weight(outcome.action()) > Weight(running.outcome->action())) {
        running.outcome = outcome;
      }
    };
    return (transport == "discard" ? discard_ : error_).Start(std::move(attempt));
  }
  std::unique_ptr<Attempt>& passed = running.result.passed_on;
  if (passed == nullptr) {
    passed = std::move(attempt);
    running.is_passed = true;
  } else if (passed->delivery.transport() == transport &&
             passed->delivery.nexthop() == attempt->delivery.nexthop() &&
             passed->delivery.envelope().sender() == attempt->delivery.envelope().sender()) {
    *passed->delivery.add_recipients() = step.party.recipient;
    running.is_passed = true;
  } else {
    Tell(running, step.party,
         Make(Outcome::ACTION_DEFERRED, "4.3.0", "another transport has the message"));
  }
}

void LocalAgent::DeferAll(uint64_t id, const std::string& status, const std::string& text) {
  Running& running = *Find(id);
  running.expansion.reset();
  const scheduler::v1::Delivery& delivery = running.attempt->delivery;
  for (; running.recipient < delivery.recipients_size(); ++running.recipient) {
    Party party;
    party.recipient = delivery.recipients(running.recipient);
    running.outcome.reset();
    Outcome outcome = Tell(running, party, Make(Outcome::ACTION_DEFERRED, status, text));
    outcome.set_recipient_number(party.recipient.number());
    *running.result.result.add_outcomes() = std::move(outcome);
  }
  Finish(id);
}

void LocalAgent::Finish(uint64_t id) {
  auto node = running_.extract(id);
  Running& running = node.mapped();
  if (running.result.passed_on != nullptr) {
    running.result.passed_on->contents = running.contents->Release();
  }
  // The answer may end this agent.
  running.attempt->done(std::move(running.result));
}

void LocalAgent::Cancel(uint64_t delivery_id) {
  Running* running = Find(delivery_id);
  if (running == nullptr) return;
  running->is_cancelled = true;
  if (running->action != 0) world_.actions->Cancel(running->action);
}

}  // namespace postfleet::delivery
