#include "libs/config/cluster_members.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/queue_addresses.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

absl::Status Bad(std::string_view entry, std::string_view why) {
  return absl::InvalidArgumentError(Concat("bad member \"", entry, "\": ", why));
}

absl::StatusOr<ClusterMember> ParseMember(std::string_view entry) {
  const size_t equals = entry.find('=');
  if (equals == std::string_view::npos) return Bad(entry, "want NAME=HOST:PORT");
  ClusterMember member = {std::string(entry.substr(0, equals)),
                          std::string(entry.substr(equals + 1))};
  if (!IsClusterName(member.name)) {
    return Bad(entry, "a name is 1 to 63 letters, digits, '-', '_' and '.'");
  }
  if (const std::string_view wrong = WrongInAddress(member.address); !wrong.empty()) {
    return Bad(entry, wrong);
  }
  return member;
}

}  // namespace

bool IsClusterName(std::string_view name) {
  return !name.empty() && name.size() <= kClusterNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

absl::StatusOr<std::vector<ClusterMember>> ParseClusterMembers(std::string_view text) {
  std::vector<ClusterMember> members;
  for (const std::string& entry : SplitList(text)) {
    absl::StatusOr<ClusterMember> member = ParseMember(entry);
    if (!member.ok()) return member.status();
    for (const ClusterMember& other : members) {
      if (other.name == member->name) return Bad(entry, "this name is listed twice");
      if (other.address == member->address) return Bad(entry, "this address is listed twice");
    }
    members.push_back(*std::move(member));
  }
  if (members.size() > kClusterMembersMax) {
    return absl::InvalidArgumentError(
        Concat(members.size(), " members; there may be ", kClusterMembersMax));
  }
  return members;
}

const ClusterMember* FindClusterMember(const std::vector<ClusterMember>& members,
                                       std::string_view name) {
  const auto found = std::find_if(members.begin(), members.end(),
                                  [name](const auto& member) { return member.name == name; });
  return found == members.end() ? nullptr : &*found;
}

std::vector<ClusterMember> ClusterMembersOf(const Config& config) {
  // Load has refused what cannot be read; commands, which go on without, find no cluster then.
  return ParseClusterMembers(config.GetString("postfleet_cluster_members"))
      .value_or(std::vector<ClusterMember>());
}

absl::StatusOr<ClusterMember> OwnClusterMember(const Config& config) {
  std::string name = config.GetString("postfleet_cluster_name");
  const std::string host = config.GetString("myhostname");
  const bool by_host = name.empty();
  if (by_host) name = host.substr(0, host.find('.'));
  const std::vector<ClusterMember> members = ClusterMembersOf(config);
  if (const ClusterMember* own = FindClusterMember(members, name)) return *own;
  return absl::NotFoundError(
      by_host ? Concat("no member of postfleet_cluster_members is called \"", name,
                       "\", as myhostname = ", host,
                       " begins: set postfleet_cluster_name to the name of this one")
              : Concat("postfleet_cluster_name = ", name,
                       " is no member of postfleet_cluster_members"));
}

}  // namespace postfleet::config
