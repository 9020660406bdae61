// Who is let into the group and who leaves it: what the leader decides, as pure code. It is shown
// the group's state again and again (ShardStatus of the leader itself) and says which change of
// members is due.
//
//   Admission admission(own);
//   status = admission.AskJoin(request, shard, now);    // a node asks
//   status = admission.AskRemoval("q2", shard);         // an administrator asks
//   if (change = admission.Step(shard, now)) ... propose it; when it is decided:
//   admission.OnChanged(status, now);
//
// One change at a time: that is what keeps two majorities from having no replica in common. Who has
// a wish is looked at in this order:
//   1. whom an administrator removes
//   2. this node itself, where the membership has another name, address or version of it than it
//   has
//   3. who asks to be taken in: an older replica of its name, whose disk is gone, is removed once
//   it has
//      been silent for kGoneFor, then it becomes a learner. Whose address or version has changed
//      since, is written anew
//   4. learners: promoted once they have been within kCaughtUpEntriesMax entries of the end of the
//      log for kCaughtUpFor
//
// Never: a change while one is under way; a removal that leaves no voter, or fewer voters alive
// than a majority; the removal of a replica that is alive because another one has its name.
//
// Wishes are kept in memory: who is not answered asks again, of the next leader, too.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"
#include "services/queue/membership/versions.h"

namespace postfleet::queue::membership {

enum class ChangeKind { kAddLearner, kPromote, kRemove };

struct Change {
  ChangeKind kind = ChangeKind::kAddLearner;
  cluster::v1::Member member;
};

class Admission {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  static constexpr uint64_t kCaughtUpEntriesMax = 10'000;
  static constexpr std::chrono::seconds kCaughtUpFor{1};
  // A new leader has heard of nobody yet.
  static constexpr std::chrono::seconds kGoneFor{2};
  // What came to nothing may do so at once, and again.
  static constexpr std::chrono::seconds kRetryAfter{1};
  // Nodes that ask at once; further ones are told to ask again.
  static constexpr size_t kJoinersMax = 16;
  // Who has not asked again is not waited for any more.
  static constexpr std::chrono::seconds kJoinerAgeMax{30};
  // Of the group, learners too. Names and addresses are kept in every snapshot.
  static constexpr int kMembersMax = 16;

  Admission(cluster::v1::Member own, uint64_t cluster_id)
      : own_(std::move(own)), cluster_id_(cluster_id) {}

  // OK: the node is a member as it says (IsIn), or will be. FailedPrecondition: never, and why.
  // PermissionDenied: it is of another cluster. AlreadyExists, ResourceExhausted: not now.
  absl::Status AskJoin(const cluster::v1::JoinRequest& request,
                       const cluster::v1::ShardStatus& shard, TimePoint now);
  // OK: nobody is called that any more (see FindMember), or it will be so. FailedPrecondition: what
  // would be left could commit nothing. NotFound: no member is called that. To remove the leader
  // itself, leadership is handed over first (Successor), and the next one is asked.
  absl::Status AskRemoval(std::string_view name, const cluster::v1::ShardStatus& shard);

  // nullopt: nothing is due. Otherwise nothing further is until OnChanged.
  std::optional<Change> Step(const cluster::v1::ShardStatus& shard, TimePoint now);
  // The change was applied, or came to nothing: what is still due is proposed again, after
  // kRetryAfter.
  void OnChanged(const absl::Status& applied, TimePoint now);

 private:
  struct Joiner {
    cluster::v1::Member member;
    TimePoint asked_at;
    TimePoint older_seen_at;  // alive, the replica that it is to replace
  };

  std::optional<Change> Removal(const cluster::v1::ShardStatus& shard);
  std::optional<Change> Joining(const cluster::v1::ShardStatus& shard, TimePoint now);
  std::optional<Change> Promotion(const cluster::v1::ShardStatus& shard, TimePoint now);

  const cluster::v1::Member own_;
  const uint64_t cluster_id_;
  std::map<uint64_t, Joiner> joiners_;  // by id
  std::set<std::string> removals_;      // names
  std::map<uint64_t, TimePoint> caught_up_since_;
  bool changing_ = false;
  TimePoint change_at_{};  // not before
};

const cluster::v1::Member* FindMember(const cluster::v1::Membership& membership, uint64_t id);
const cluster::v1::Member* FindMember(const cluster::v1::Membership& membership,
                                      std::string_view name);

// What the group is to know of who asks. What a peer says of being a learner does not count.
cluster::v1::Member MemberOf(const cluster::v1::JoinRequest& request);

// It is a member, under this name, at this address and of this version.
bool IsIn(const cluster::v1::Membership& membership, const cluster::v1::Member& member);

// Who can lead instead: the member of that name, or, without a name, the one that has most of the
// log. NotFound: nobody is called that. FailedPrecondition: it leads, does not vote, or is away; or
// nobody can.
absl::StatusOr<cluster::v1::Member> Successor(const cluster::v1::ShardStatus& shard,
                                              std::string_view name);

}  // namespace postfleet::queue::membership
