// What the shim (shim.cc) tells the tool (powercut.cc): a journal of everything that processes did
// to the tree, in order, and a page of shared state. Both lie in the control folder.
//
// A record is appended by one write with O_APPEND after the operation and before the process hears
// of its end; a sync's is appended before the sync begins. So whatever a process acknowledged is
// covered by a record, and a sync covers what was written before it began.
#ifndef TESTS_DRILL_POWERCUT_JOURNAL_H_
#define TESTS_DRILL_POWERCUT_JOURNAL_H_

#include <cstdint>

namespace powercut {

inline constexpr char kJournalName[] = "/journal";
inline constexpr char kStateName[] = "/state";
inline constexpr char kBaseName[] =
    "/base";  // "<inode> <path below the tree>\n" of what was there at init

enum class Kind : uint32_t {
  kCreate = 1,    // inode, path
  kWrite,         // inode, offset, data
  kDurableWrite,  // the same with O_DSYNC
  kTruncate,      // inode, offset: the new size
  kExtend,        // inode, offset: the least size
  kSyncFile,      // inode
  kSyncFolder,    // path
  kSyncAll,
  kRename,        // path, path2
  kLink,          // path, path2: the new name
  kUnlink,        // path
  kMakeFolder,    // path
  kRemoveFolder,  // path
};

// Followed by path, path2 (both below the tree, without a leading slash; empty: the tree itself)
// and data.
struct Record {
  uint64_t magic;
  Kind kind;
  uint32_t path_bytes;
  uint32_t path2_bytes;
  uint32_t reserved;
  uint64_t inode;
  uint64_t offset;
  uint64_t data_bytes;
  uint64_t check;  // CheckOf
};

inline constexpr uint64_t kMagic = 0x9C1F57A3E06B24D8;

// A process can die in the middle of an append; the next record is found by this.
inline uint64_t CheckOf(const Record& record) {
  uint64_t sum = kMagic;
  const uint64_t words[] = {static_cast<uint64_t>(record.kind),
                            record.path_bytes,
                            record.path2_bytes,
                            record.inode,
                            record.offset,
                            record.data_bytes};
  for (uint64_t word : words) sum = (sum ^ word) * 0x9E3779B97F4A7C15 + (sum >> 29);
  return sum;
}

// Shared by all processes; changed by atomic builtins.
struct State {
  uint64_t boundaries;  // syncs and renames so far
  uint64_t cut;         // 1: the power is off; every operation on the tree blocks for good
};

}  // namespace powercut

#endif  // TESTS_DRILL_POWERCUT_JOURNAL_H_
