// The scheduler's limits out of main.cf and master.cf.
#pragma once

#include "libs/config/config.h"
#include "services/scheduler/core/config.h"

namespace postfleet::scheduler {

// Errors: a feedback value that does not parse, with the parameter's name.
absl::StatusOr<Config> ConfigFrom(const config::Config& config);

}  // namespace postfleet::scheduler
