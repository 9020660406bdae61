// The server's side: owns the sockets to the privileged helper and hands messages over, one at a
// time on each; those that find no free one wait in order.
//
// On the loop only. A message's contents are read once it has a connection, and a piece is read
// when the one before has been taken by the socket: memory is a piece or two for each connection. A
// message whose contents fit kGatherBytes goes over in one write.
//
// A connection that breaks is closed for good (the helper is started once, before privileges are
// dropped). With none left everything is answered Unavailable: mail waits until the server is
// started again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/runtime/event_loop.h"
#include "services/delivery/core/agent.h"
#include "services/delivery/privileged/protocol.h"

namespace postfleet::delivery::privileged {

// One message for some mailboxes.
struct Handover {
  // At most kTargetsMax targets, each within the bounds of protocol.h: FitsRequest.
  Request request;
  std::unique_ptr<ContentReader> contents;
  // Once, on the loop, never before Deliver returns.
  // OK: one result for each target. Cancelled: Cancel came in time. Unavailable: there is no
  // helper, or it went away: what it did is not known. Anything else: the contents could not be
  // read, as ContentReader says; nothing was delivered.
  std::function<void(const absl::Status&, std::vector<TargetResult>)> done;
};

bool FitsRequest(const Target& target);

class HelperConnections {
 public:
  static constexpr size_t kGatherBytes = 256 << 10;

  // `sockets`: connected stream sockets, owned from now on.
  HelperConnections(runtime::EventLoop& loop, const std::vector<int>& sockets);
  // What is under way is forgotten without an answer.
  ~HelperConnections();
  HelperConnections(const HelperConnections&) = delete;
  HelperConnections& operator=(const HelperConnections&) = delete;

  // The number is for Cancel; never 0.
  uint64_t Deliver(Handover handover);
  // Ends it unless the end of the contents has been sent. It is answered all the same. An unknown
  // number is ignored.
  void Cancel(uint64_t number);

  size_t connections() const;
  size_t waiting() const;

 private:
  class Connection;
  struct Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace postfleet::delivery::privileged
