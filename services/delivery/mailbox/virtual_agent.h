// The agent of the transport "virtual": writes into Maildirs of virtual recipients, by the
// privileged helper.
//
// An attempt's recipients get the message from one reading of its contents; each has its own
// outcome. What is put in front of the message: Return-Path, X-Original-To, Delivered-To, as
// virtual(8) does.
//
//   delivered                         sent      2.0.0  delivered to maildir
//   no mailbox                        bounced   5.1.1  unknown user: "x@d"
//   over virtual_mailbox_limit, quota bounced   5.2.2  maildir delivery failed: error writing
//   message: File too large disk full, I/O errors             deferred  4.3.0  maildir delivery
//   failed: ... other failures of the file system deferred  4.2.0  maildir delivery failed: ...
//   tables, rights, the helper        deferred  4.3.5, 4.3.0
//   cancelled                         deferred  4.3.2
//
// On the loop only. Lookups in tables block it (virtual_mailboxes.h).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"
#include "services/delivery/core/agent.h"
#include "services/delivery/core/log_line.h"
#include "services/delivery/mailbox/virtual_mailboxes.h"
#include "services/delivery/privileged/helper_connections.h"

namespace postfleet::delivery {

class VirtualAgent : public Agent {
 public:
  // Other agents may use the same connections.
  VirtualAgent(VirtualOptions options, std::shared_ptr<privileged::HelperConnections> connections,
               const Clock& clock = SystemClock());

  void Start(std::unique_ptr<Attempt> attempt) override;
  void Cancel(uint64_t delivery_id) override;
  void CloseIdle() override {}

 private:
  struct Running {
    std::unique_ptr<Attempt> attempt;
    AttemptTimes times;
    uint64_t handover = 0;
    // For each target of the request: its recipient's place in the delivery.
    std::vector<int> recipients;
    AttemptResult result;
  };

  // Looks the recipients up; those without a mailbox have their outcome then.
  privileged::Request RequestFor(Running& running);
  void OnAnswer(uint64_t delivery_id, const absl::Status& status,
                const std::vector<privileged::TargetResult>& results);
  void Decide(Running& running, int recipient, mail::v1::Outcome outcome);
  void Finish(uint64_t delivery_id);

  const VirtualOptions options_;
  const std::shared_ptr<privileged::HelperConnections> connections_;
  const Clock& clock_;
  VirtualMailboxes mailboxes_;
  std::unique_ptr<StatusFilter> status_filter_;  // or none
  std::map<uint64_t, Running> running_;          // by delivery id
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// The fields in front of a message in a mailbox, each with LF.
std::string MailboxHeader(const std::string& sender, const mail::v1::Recipient& recipient);

// Of a target that the helper answered for.
mail::v1::Outcome OutcomeOf(const privileged::TargetResult& result);

}  // namespace postfleet::delivery
