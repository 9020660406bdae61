// UserActions by the privileged helper: each action over a connection of its own, which is opened
// when it begins and closed when it is answered or called off (action_protocol.h).
//
// On the loop only. Memory of an action: a piece or two of its contents, and its answer. How many
// run at once is for the transports' slots; the helper refuses what is over its own bound, which is
// deferred.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"
#include "services/delivery/core/user_actions.h"
#include "services/delivery/privileged/helper_connections.h"

namespace postfleet::delivery::privileged {

class HelperActions : public UserActions {
 public:
  // `host`: in the names of files in Maildirs.
  HelperActions(runtime::EventLoop& loop, std::shared_ptr<HelperConnections> connections,
                std::string host, const Clock& clock = SystemClock());
  ~HelperActions() override;

  uint64_t Deliver(MailboxDelivery delivery, std::unique_ptr<ContentReader> contents,
                   Delivered done) override;
  uint64_t ReadFile(UserIds user, std::string path, size_t bytes_max, Read done) override;
  uint64_t Run(Command command, std::unique_ptr<ContentReader> contents, Ended done) override;
  void Cancel(uint64_t number) override;

 private:
  class Action;
  struct Core;

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<HelperConnections> connections_;
  const std::string host_;
  const Clock& clock_;
};

}  // namespace postfleet::delivery::privileged
