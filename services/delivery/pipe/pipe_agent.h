// The agent of transports that run pipe (pipe(8)): gives a message to a command, on its standard
// input, with the rights of user=.
//
// What becomes of the recipients is what the command's end says (core/command_outcome.h); all of a
// delivery share one outcome. A transport that is misconfigured defers, and says why in the log:
// "mail transport unavailable".
//
//   delivered                     sent      2.0.0  delivered via NAME service (first output)
//   over size=                    bounced   5.2.3  message too large
//   flag D, and it was there      bounced   5.4.6  mail forwarding loop for x@y
//   an unknown macro in argv=     deferred  4.3.5  mail system configuration error
//   flag D or O, many recipients  deferred  4.3.5  mail system configuration error
//   contents cannot be read       deferred  4.3.0
//   cancelled                     deferred  4.3.2
//
// On the loop only. Users are looked up on it, once, when the first mail comes.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "libs/base/clock.h"
#include "services/delivery/core/agent.h"
#include "services/delivery/core/log_line.h"
#include "services/delivery/core/status_filter.h"
#include "services/delivery/core/user_actions.h"
#include "services/delivery/local/delivered_to.h"
#include "services/delivery/pipe/pipe_options.h"

namespace postfleet::delivery {

class PipeAgent : public Agent {
 public:
  // Other agents may use the same actions.
  PipeAgent(PipeOptions options, std::shared_ptr<UserActions> actions,
            const Clock& clock = SystemClock());

  void Start(std::unique_ptr<Attempt> attempt) override;
  bool ServesProbes() const override { return true; }
  void Cancel(uint64_t delivery_id) override;
  void CloseIdle() override {}

 private:
  struct Running {
    std::unique_ptr<Attempt> attempt;
    AttemptTimes times;
    DeliveredTo delivered_to;  // flag D
    uint64_t action = 0;       // 0: no command runs
    std::string command;       // its first word
  };

  bool FindRights();
  // Goes on until the header has been read.
  void ReadHeader(uint64_t delivery_id);
  void OnHeader(uint64_t delivery_id, const absl::Status& status, const rpc::Payload& piece);
  void CheckLoop(uint64_t delivery_id);
  void Run(uint64_t delivery_id);
  std::string Header(const scheduler::v1::Delivery& delivery) const;
  std::string SenderOf(const scheduler::v1::Delivery& delivery) const;
  void OnEnd(uint64_t delivery_id, const CommandEnd& end);
  void SayWhyNotRun(const ActionFailure& failure, const std::string& command) const;
  mail::v1::Outcome OutcomeOf(const CommandEnd& end, const std::string& command) const;
  mail::v1::Outcome Deliverable(const std::string& command) const;
  // Of all recipients; the attempt is over. May end this agent.
  void Finish(uint64_t delivery_id, const mail::v1::Outcome& outcome,
              bool contents_damaged = false);
  void FinishUnavailable(uint64_t delivery_id, const std::string& why);
  void Finish(uint64_t delivery_id, const std::string& program, const std::string& relay,
              const mail::v1::Outcome& outcome, bool contents_damaged);

  const PipeOptions options_;
  const std::shared_ptr<UserActions> actions_;
  const Clock& clock_;
  std::unique_ptr<StatusFilter> status_filter_;  // or none
  std::optional<UserIds> rights_;
  std::string no_rights_;                // why there are none
  std::map<uint64_t, Running> running_;  // by delivery id
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace postfleet::delivery
