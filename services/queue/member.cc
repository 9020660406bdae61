#include "services/queue/member.h"

#include <utility>

#include "libs/base/maillog.h"
#include "services/queue/log/file_system.h"

namespace postfleet::queue {
namespace {

using membership::Identity;
using membership::Stage;

void MakeMember(const ClusterEntry& entry, Identity identity) {
  if (identity.stage == Stage::kMember) return;
  identity.stage = Stage::kMember;
  const absl::Status written = WriteIdentity(PosixFileSystem(), entry.directory, identity);
  if (!written.ok()) server::Process::Die(written);
}

// The own configuration is newer than what the group was told of an address.
std::string AddressOf(const std::vector<config::ClusterMember>& members,
                      const cluster::v1::Member& member) {
  const config::ClusterMember* listed = config::FindClusterMember(members, member.name());
  return listed != nullptr ? listed->address : member.address();
}

}  // namespace

Member::Member(server::Process& process, const ClusterEntry& entry, Identity identity, Queue& queue)
    : queue_(queue),
      group_(queue.group()),
      service_({.own = OwnMember(entry, identity.id),
                .cluster_id = identity.cluster_id,
                .member_names = NamesOf(entry.members),
                .address_of = [members = entry.members](
                                  const auto& member) { return AddressOf(members, member); },
                .say = [name = process.name()](
                           const std::string& line) { maillog::Info(name, line); }}) {
  MakeMember(entry, identity);
  service_.Attach(group_, {});
  service_.Start();
  watch_ = std::make_unique<membership::MemberWatch>(membership::MemberWatch::Options{
      .returning = {.own = OwnMember(entry, identity.id),
                    .members = entry.members,
                    .address_of = [members = entry.members](
                                      const auto& member) { return AddressOf(members, member); }},
      .cluster_id = identity.cluster_id,
      .versions = entry.versions,
      .group = group_,
      .connect = entry.connect,
      .say = [name = process.name()](const std::string& line) { maillog::Warning(name, line); },
      .removed = server::Process::Die});
}

bool Member::Ready() const {
  const cluster::v1::ShardStatus shard = group_.status();
  if (shard.role() == cluster::v1::ShardStatus::ROLE_LEADER) return queue_.Ready();
  return shard.leader() != 0;
}

void Member::Close() { service_.CloseCalls(); }

void Member::Stop() {
  watch_.reset();
  service_.Stop();
}

}  // namespace postfleet::queue
