#include "services/queue/recover.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "services/queue/log/file_system.h"
#include "services/queue/membership/member_changes.h"
#include "services/queue/replica/node_log.h"
#include "services/queue/replica/replica.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {
namespace {

constexpr uint16_t kShard = CommitPipeline::kShard;

// With all changes that the log has.
absl::StatusOr<cluster::v1::Membership> MembersOfLog(NodeLog* log, uint64_t id, uint64_t last) {
  const MembersCodec codec = {.conf_state = membership::ConfStateOf,
                              .changed = membership::Changed};
  const auto replica = Replica::Open({.shard = kShard, .id = id, .applied = last}, codec, log);
  if (!replica.ok()) return replica.status();
  return membership::ParseMembers((*replica)->members());
}

}  // namespace

absl::StatusOr<RecoveredGroup> RecoverGroup(const std::string& directory, uint64_t new_cluster_id) {
  FileSystem& files = PosixFileSystem();
  const absl::StatusOr<membership::Folder> folder = membership::LookAt(files, directory);
  if (!folder.ok()) return folder.status();
  if (!folder->identity || folder->identity->stage != membership::Stage::kMember) {
    return absl::FailedPreconditionError(
        Concat(directory, " is no member's of a cluster: there is nothing to recover"));
  }
  auto store = Store::Open({.path = directory + "/state"});
  if (!store.ok()) return store.status();
  auto machine = StateMachine::Load(store->get());
  if (!machine.ok()) return machine.status();
  Recovery found;
  auto log = NodeLog::Open({.dir = directory + "/log"}, &found);
  if (!log.ok()) return log.status();
  if ((*log)->start(kShard).index == 0) {
    return absl::FailedPreconditionError(
        Concat(directory, " was never sent the queue: another replica has it"));
  }
  const uint64_t last = (*log)->last_index(kShard);
  const auto members = MembersOfLog(log->get(), folder->identity->id, last);
  if (!members.ok()) return members.status();

  RecoveredGroup recovered;
  recovered.name = folder->identity->name;
  recovered.cluster_id = new_cluster_id;
  cluster::v1::Member own;
  own.set_id(folder->identity->id);
  own.set_name(recovered.name);
  for (const cluster::v1::Member& member : members->members()) {
    if (member.id() == own.id()) {
      own = member;
    } else {
      recovered.others.push_back(member.name());
    }
  }

  const NodeLog::Place* newest = (*log)->Find(kShard, last);
  const uint64_t term = newest != nullptr ? newest->term : (*log)->start(kShard).term;
  absl::Status done = CommitPipeline::Replay(log->get(), last, machine->get());
  if (done.ok()) done = (*store)->Flush();
  if (!done.ok()) return done;
  recovered.last_index = last;
  recovered.last_ms = (*machine)->now_ms();
  const state::Counts& counts = (*machine)->counts();
  recovered.messages = counts.incoming_messages() + counts.deferred_messages() +
                       counts.hold_messages() + counts.corrupt_messages();
  // Another cluster first: from then on no other replica is spoken to.
  membership::Identity identity = *folder->identity;
  identity.cluster_id = new_cluster_id;
  done = membership::WriteIdentity(files, directory, identity);
  if (!done.ok()) return done;
  (*log)->Add(kShard, LogStart{.index = std::max<uint64_t>((*machine)->applied_index(), 1),
                               .term = term,
                               .members = membership::MembersOf(own)});
  done = (*log)->Write();
  if (done.ok()) done = (*log)->Sync();
  if (!done.ok()) return done;
  return recovered;
}

}  // namespace postfleet::queue
