#include "services/queue/member.h"

#include <thread>
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

}  // namespace

Member::Member(server::Process& process, const ClusterEntry& entry, Identity identity, Queue& queue,
               Replication& replication)
    : queue_(queue),
      replication_(replication),
      group_(queue.group()),
      service_({.own = OwnMember(entry, identity.id),
                .cluster_id = identity.cluster_id,
                .member_names = NamesOf(entry.members),
                .address_of = [members = entry.members](
                                  const auto& member) { return AddressIn(members, member); },
                .say = [name = process.name()](
                           const std::string& line) { maillog::Info(name, line); }}) {
  MakeMember(entry, identity);
  service_.Attach(group_, replication.streams());
  service_.Start();
  watch_ = std::make_unique<membership::MemberWatch>(membership::MemberWatch::Options{
      .returning = {.own = OwnMember(entry, identity.id),
                    .members = entry.members,
                    .address_of = [members = entry.members](
                                      const auto& member) { return AddressIn(members, member); }},
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

// Mail is accepted elsewhere before this replica is gone.
void Member::HandOver() {
  constexpr std::chrono::milliseconds kLookInterval{10};
  const auto until = std::chrono::steady_clock::now() + kHandOverMax;
  const auto leads = [this] {
    return group_.status().role() == cluster::v1::ShardStatus::ROLE_LEADER;
  };
  if (!leads()) return;
  const auto next = membership::Successor(group_.status(), "");
  if (!next.ok()) return;
  group_.transfer(next->id(), [](const absl::Status&) {});
  while (leads() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kLookInterval);
  }
}

void Member::Close() {
  HandOver();
  service_.CloseCalls();
}

void Member::Stop() {
  replication_.Stop();
  watch_.reset();
  service_.Stop();
}

}  // namespace postfleet::queue
