// A step of an expansion that runs a command, and what Postfix says of how it went.
#pragma once

#include <cstdint>
#include <optional>

#include "services/delivery/core/user_actions.h"
#include "services/delivery/local/expansion.h"

namespace postfleet::delivery {

// nullopt: command_execution_directory cannot be expanded, which is warned of. `wall_ms`: when the
// delivery began.
std::optional<Command> CommandFor(const Step& step, const LocalOptions& options,
                                  const mail::v1::Envelope& envelope, int64_t wall_ms);

mail::v1::Outcome CommandStepOutcome(const Step& step, const LocalOptions& options,
                                     const CommandEnd& end);

}  // namespace postfleet::delivery
