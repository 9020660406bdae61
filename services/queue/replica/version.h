// The version of what replicas write and say: log records, snapshots, frames between them. A node
// says both to the others (services/queue/membership/versions.h); it understands everything in
// between.
#pragma once

#include <cstdint>

namespace postfleet::queue {

inline constexpr uint32_t kClusterVersion = 1;
inline constexpr uint32_t kClusterVersionMin = 1;

}  // namespace postfleet::queue
