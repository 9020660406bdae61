// The server's side: owns the sockets to the privileged helper and hands messages over, one at a
// time on each connection; those that find no free one wait in order.
//
// On the loop only. A message's contents are read once it has a connection, and a piece is read
// when the one before has been taken by the socket: memory is a piece or two for each connection. A
// message whose contents fit kGatherBytes goes over in one write.
//
// The helper's supervisor (supervisor.h) sends the connections to each worker that it starts. When
// a worker ends, its connections are closed and what they carried is answered Unavailable; what
// waits goes to the next worker. Where there is none for `wait_for_worker`, everything is answered
// Unavailable, at once from then on, until one comes. A supervisor that ended (killed: it does not
// end by itself) starts no more workers; the one that it had serves on.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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
  // worker, or it went away: what it did is not known. Anything else: the contents could not be
  // read, as ContentReader says; nothing was delivered.
  std::function<void(const absl::Status&, std::vector<TargetResult>)> done;
};

bool FitsRequest(const Target& target);

class HelperConnections {
 public:
  static constexpr size_t kGatherBytes = 256 << 10;
  // Longer than a worker's start and the first delays before one.
  static constexpr std::chrono::milliseconds kWaitForWorker{5'000};

  // `sockets`: to the supervisor (SpawnHelper), owned from now on. None: all is Unavailable.
  HelperConnections(runtime::EventLoop& loop, const std::vector<int>& sockets,
                    std::chrono::milliseconds wait_for_worker = kWaitForWorker);
  // What is under way is forgotten without an answer.
  ~HelperConnections();
  HelperConnections(const HelperConnections&) = delete;
  HelperConnections& operator=(const HelperConnections&) = delete;

  // The number is for Cancel; never 0.
  uint64_t Deliver(Handover handover);
  // Ends it unless the end of the contents has been sent. It is answered all the same. An unknown
  // number is ignored.
  void Cancel(uint64_t number);

  // A connection of its own for one action (action_protocol.h): the descriptor, the caller's.
  // Unavailable: there is no worker now.
  absl::StatusOr<int> OpenAction();

  size_t connections() const;
  size_t waiting() const;
  // The process that came last; it may have ended. 0: none came yet.
  pid_t worker() const;

 private:
  class Connection;
  struct Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace postfleet::delivery::privileged
