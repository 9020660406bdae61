// Who waits for the answers of lookup and queue: a client's connection. Called on the loop, never
// from within a request.
#pragma once

#include <string>

#include "proto/postfleet/lookup/v1/lookup.pb.h"
#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::ingress {

class Requester {
 public:
  virtual ~Requester() = default;
  virtual void OnResolved(const lookup::v1::Answer& answer) = 0;
  virtual void OnFlushed(bool started) = 0;
  // `final`: the answer to the submission that has the message.
  virtual void OnEnqueued(const std::string& queue_id, bool final,
                          queue::v1::EnqueueResult::Code code) = 0;
};

}  // namespace postfleet::ingress
