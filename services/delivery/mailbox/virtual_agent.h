// The agent of the transport "virtual": writes into Maildirs and mbox files of virtual recipients,
// by the privileged helper.
//
// An attempt's Maildirs get the message from one reading of its contents, and each mbox file from
// one of its own, one after the other; each recipient has its own outcome. What is put in front of
// the message: Return-Path, X-Original-To, Delivered-To, as virtual(8) does.
//
//   delivered                         sent      2.0.0  delivered to maildir / mailbox
//   no mailbox                        bounced   5.1.1  unknown user: "x@d"
//   over virtual_mailbox_limit, quota bounced   5.2.2  TEXT error writing message: File too large
//   disk full, I/O errors             deferred  4.3.0  TEXT ...
//   other failures of the file system deferred  4.2.0  TEXT ...
//   tables, rights, the helper        deferred  4.3.5, 4.3.0
//   cancelled                         deferred  4.3.2
//
// TEXT is "maildir delivery failed:" or "delivery failed to mailbox PATH:".
//
// On the loop only. Lookups in tables block it (virtual_mailboxes.h).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"
#include "services/delivery/core/agent.h"
#include "services/delivery/core/log_line.h"
#include "services/delivery/core/shared_contents.h"
#include "services/delivery/core/user_actions.h"
#include "services/delivery/mailbox/virtual_mailboxes.h"
#include "services/delivery/privileged/helper_connections.h"

namespace postfleet::delivery {

class VirtualAgent : public Agent {
 public:
  // Other agents may use the same connections. `actions`: for mbox files.
  VirtualAgent(VirtualOptions options, std::shared_ptr<privileged::HelperConnections> connections,
               std::shared_ptr<UserActions> actions, const Clock& clock = SystemClock());

  void Start(std::unique_ptr<Attempt> attempt) override;
  bool ServesProbes() const override { return true; }
  void Cancel(uint64_t delivery_id) override;
  void CloseIdle() override {}

 private:
  struct Running {
    std::unique_ptr<Attempt> attempt;
    AttemptTimes times;
    uint64_t handover = 0;
    // For each target of the request: its recipient's place in the delivery.
    std::vector<int> recipients;
    // Those that have an mbox file, and where it is; the next one is the last.
    std::vector<std::pair<int, Mailbox>> mboxes;
    std::unique_ptr<SharedContents> shared;  // while there are such
    uint64_t action = 0;
    bool is_cancelled = false;
    AttemptResult result;
  };

  // Looks the recipients up; those without a mailbox have their outcome then.
  privileged::Request RequestFor(Running& running);
  void OnAnswer(uint64_t delivery_id, const absl::Status& status,
                const std::vector<privileged::TargetResult>& results);
  // The next mbox file, or the end.
  void WriteMbox(uint64_t delivery_id);
  void OnMbox(uint64_t delivery_id, int recipient, const std::string& path,
              const ActionFailure& failure);
  void Decide(Running& running, int recipient, mail::v1::Outcome outcome);
  void Finish(uint64_t delivery_id);

  const VirtualOptions options_;
  const std::shared_ptr<privileged::HelperConnections> connections_;
  const std::shared_ptr<UserActions> actions_;
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

// Of an mbox file, `path`.
mail::v1::Outcome OutcomeOfMbox(const std::string& path, const ActionFailure& failure);

}  // namespace postfleet::delivery
