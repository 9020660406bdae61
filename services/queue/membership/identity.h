// Which replica a queue's folder is: the file <directory>/identity, a few lines of text with a
// checksum.
//
//   postfleet identity 1
//   name q2
//   volume 6c1e0a0c7f6ad1b35d2c4b1c2e98f007
//   id 81f0c7d2a6b3e455
//   cluster 03be2fd155a1c0de
//   stage member
//   crc32c 5f2b0d1e
//
// A raft id is given once for the life of a disk: a replica with an empty disk has forgotten its
// votes, so it is another one. The id is a hash of the name and of the volume's uuid, which is
// random. A queue that was kept without a cluster has the id 1, as the only voter of its group, and
// keeps it.
//
// A folder goes through stages, each durable before the next thing happens:
//   kNew       it has an id and waits: for a cluster to be founded, or to be taken in
//   kFounding  this node has begun the cluster: an empty log begins as a group of one voter
//   kJoining   the leader has taken it in: an empty log waits for what the leader sends
//   kMember    the log has begun. One that is empty now was lost, and its votes with it
//
// Errors: DataLoss when the file cannot be believed; otherwise what the disk says. The file is
// replaced by a rename: whatever happens, it is the old or the new one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/queue/log/file_system.h"

namespace postfleet::queue::membership {

inline constexpr std::string_view kIdentityFile = "identity";
inline constexpr size_t kIdentityBytesMax = 4096;
// Of the only voter of a group without a cluster.
inline constexpr uint64_t kAloneId = 1;

enum class Stage { kNew, kFounding, kJoining, kMember };

struct Identity {
  std::string name;
  std::string volume;  // 32 hexadecimal digits
  uint64_t id = 0;
  uint64_t cluster_id = 0;  // 0: of none yet
  Stage stage = Stage::kNew;

  friend bool operator==(const Identity&, const Identity&) = default;
};

// Who a replica is to its raft group. Without a cluster: the only voter.
struct NodeIdentity {
  uint64_t cluster_id = 0;
  uint64_t id = kAloneId;
  std::string name;
  // It began the group: where the log has no members yet, this one is the only one.
  bool founds = true;
};
NodeIdentity NodeIdentityOf(const Identity& identity);

// Never 0, which is nobody, nor kAloneId.
uint64_t MemberId(std::string_view name, std::string_view volume);
// 16 hexadecimal digits, as ids are shown.
std::string IdText(uint64_t id);

std::string EncodeIdentity(const Identity& identity);
// DataLoss says which line.
absl::StatusOr<Identity> ParseIdentity(std::string_view text);

// nullopt: there is none.
absl::StatusOr<std::optional<Identity>> ReadIdentity(FileSystem& files,
                                                     const std::string& directory);
// Durable when it returns. The directory exists.
absl::Status WriteIdentity(FileSystem& files, const std::string& directory,
                           const Identity& identity);

// What a folder says of itself.
struct Folder {
  std::string directory;
  std::optional<Identity> identity;
  bool has_queue = false;  // a log, a store or a received snapshot is in it
};
absl::StatusOr<Folder> LookAt(FileSystem& files, const std::string& directory);

// Who starts there.
struct Starter {
  std::string name;
  std::string first;  // who founds
  std::string fresh_volume;
};
// The identity to go on with: the folder's, or a new one (kNew). FailedPrecondition says what is
// wrong with starting this member in that folder, and what to do.
absl::StatusOr<Identity> IdentityFor(const Folder& folder, const Starter& starter);

// A folder that is opened without a cluster. FailedPrecondition: it is a replica's, and whatever is
// changed there without the others' knowledge would contradict them.
absl::Status CheckAlone(const Folder& folder);

}  // namespace postfleet::queue::membership
