// A command as apply takes it: the header, parsed without its payload, and the payload as pieces of
// whatever holds it.
#pragma once

#include <memory>
#include <string_view>

#include "absl/types/span.h"
#include "services/queue/state/command.pb.h"

namespace postfleet::queue {

struct CommandView {
  // Field `payload` unset.
  const state::Command& header;
  // The payload in order, cut anywhere; pieces may be empty.
  absl::Span<const std::string_view> payload;
  // Keeps the pieces alive: whoever gives a new message out at once (Effects::payload_owner) holds
  // it until the contents are sent. Null: the pieces live until the next Apply, and who needs them
  // longer copies them.
  std::shared_ptr<const void> payload_owner;
};

}  // namespace postfleet::queue
