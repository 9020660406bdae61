// Mail that a delivery gives back to the queue under another address: what aliases, .forward files
// and lists forward (Postfix's local(8)), and reports of deliveries.
//
// The new message is durable before its recipient's outcome is: an attempt that ends between the
// two forwards twice, never not at all.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/postfleet/mail/v1/mail.pb.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

struct ForwardedMail {
  // Of the new message. The forwarder adds "Received: by HOST (Postfix)" with the new queue id in
  // front of `header`.
  mail::v1::Envelope envelope;
  std::vector<mail::v1::Recipient> recipients;
  std::string header;  // complete fields with LF: Delivered-To
  std::unique_ptr<ContentReader> contents;
};

class Forwarder {
 public:
  virtual ~Forwarder() = default;
  // OK: it is durable in the queue, under this id. Otherwise it is not known to be: defer, 4.3.0.
  using Done = std::function<void(const absl::Status&, std::string queue_id)>;
  // Answered once, on the loop, never before Submit returns. Memory: a chunk or two for each.
  virtual void Submit(ForwardedMail mail, Done done) = 0;
};

}  // namespace postfleet::delivery
