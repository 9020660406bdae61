#include "services/queue/membership/versions.h"

#include <algorithm>

#include "libs/base/concat.h"

namespace postfleet::queue::membership {

namespace v1 = cluster::v1;

uint32_t GroupVersion(const v1::Membership& membership) {
  const auto oldest = std::min_element(membership.members().begin(), membership.members().end(),
                                       [](const v1::Member& one, const v1::Member& other) {
                                         return one.version() < other.version();
                                       });
  return oldest == membership.members().end() ? 1 : std::max(oldest->version(), 1u);
}

bool MayPropose(const v1::Membership& membership, uint32_t version) {
  return version <= GroupVersion(membership);
}

absl::Status CheckVersions(const v1::Membership& membership, std::string_view name,
                           const VersionRange& node) {
  const uint32_t group = GroupVersion(membership);
  if (node.version < group) {
    return absl::FailedPreconditionError(Concat(
        name, " is of version ", node.version, ", and the cluster is of version ", group,
        ": all its members have been of that version, so there is no way back; install it on ",
        name, ", too"));
  }
  if (node.version_min > group) {
    return absl::FailedPreconditionError(
        Concat(name, " understands no version before ", node.version_min,
               ", and the cluster is of version ", group,
               ": upgrade all its members to a version between first"));
  }
  return absl::OkStatus();
}

}  // namespace postfleet::queue::membership
