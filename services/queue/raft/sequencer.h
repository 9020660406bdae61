// One replica of one shard's raft group: which entry has which place in the log, and when a
// majority has it. Behind it works etcd's raft core (Go, in core/); nothing else in the project
// knows of Go. The algorithm is that of Ongaro's thesis, with PreVote and CheckQuorum, and one
// change of members at a time.
//
// A Sequencer does no I/O and has no clock: the caller ticks it, steps what peers sent, proposes,
// and whenever HasReady() does what TakeReady() owes, in this order:
//
//   Ready ready = sequencer.TakeReady();
//   1. when there is ready.snapshot: install its files and make them durable; the log begins anew
//      behind it
//   2. write ready.entries and ready.hard_state; meanwhile the messages that say `before_sync` may
//   go
//   3. sync, when ready.must_sync
//   4. send the other messages
//   5. apply ready.committed, with ApplyConfChange for each kConfChange entry
//   6. sequencer.Advance()
//
// With a single voter, one Ready has an entry both in `entries` and in `committed`. No entry is
// committed anywhere, and no vote given, that its owner has not synced, as long as the order is
// kept.
//
// Raft orders references; payloads stay with the caller, who keeps them by Reference, writes them
// beside the entry, and carries them beside the message that has the entry. An entry without its
// payload must not be stepped: Inspect says what a message has, before Step. Appends are split, so
// that none has more payload than append_payload_bytes_max.
//
// What a peer sent is hostile until it was checked: Step and Inspect refuse it by a status,
// whatever the bytes are, and nothing changes then. A well-formed lie by a member (votes that it
// did not give) is not recognized: who may speak for a member is for the transport to prove.
//
// Threads: a Sequencer is used by one thread, the one that makes the first call after Start; debug
// builds check it. Many Sequencers live in one process. The Go runtime has one processor
// (GOMAXPROCS=1), so several threads with one Sequencer each take turns. It starts threads when the
// program is loaded, before main: never fork without exec. They block all signals that the program
// may want (load.cc), and every handler of the program needs SA_ONSTACK.
//
// Costs (sequencer_bench, one core of the two-core machine): a call into Go about 2 us (Tick 2.1),
// and as much on Go's own threads. A proposal with one voter is one call: Propose brings the Ready,
// and the Advance before it. 16 in one Propose take 8.9 us together,
// 256 take 38.7: propose in batches. Through three voters in one thread, with all that they say: 59
// us for one, 68 for 16, 332 for 256. An entry that is held takes 40 bytes. HasReady asks nobody.
//
// A panic in Go is our own broken invariant: it is written to stderr, and the process aborts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace postfleet::queue::raft {

// What an entry stands for: a payload of `bytes` bytes. `origin` is a random number of the
// proposing process's life, `sequence` counts up in it.
struct Reference {
  uint64_t origin = 0;
  uint64_t sequence = 0;
  uint32_t bytes = 0;
  uint32_t crc32c = 0;

  friend bool operator==(const Reference&, const Reference&) = default;
};

enum class EntryKind : uint8_t {
  kCommand = 0,     // has a reference
  kConfChange = 1,  // has a conf change
  kEmpty = 2,       // a new leader's first, or a conf change that came too early
};

struct Entry {
  uint64_t term = 0;
  uint64_t index = 0;
  EntryKind kind = EntryKind::kEmpty;
  Reference reference;           // of kCommand
  std::string_view conf_change;  // of kConfChange: encoded; ParseConfChange reads it
};

// A change of one member. `context` is the caller's, at most kConfChangeContextBytesMax.
struct ConfChange {
  enum class Type : uint8_t { kAddVoter = 0, kRemove = 1, kAddLearner = 3 };
  Type type = Type::kAddVoter;
  uint64_t node = 0;
  std::string context;

  friend bool operator==(const ConfChange&, const ConfChange&) = default;
};
inline constexpr size_t kConfChangeContextBytesMax = 4096;

// The members as of some index; ids in rising order.
struct ConfState {
  std::vector<uint64_t> voters;
  std::vector<uint64_t> learners;

  friend bool operator==(const ConfState&, const ConfState&) = default;
};

// What stands for the log up to and with `index`.
struct Snapshot {
  uint64_t index = 0;
  uint64_t term = 0;
  ConfState conf_state;

  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

// Must be durable before anything is sent that rests on it.
struct HardState {
  uint64_t term = 0;
  uint64_t vote = 0;
  uint64_t commit = 0;

  friend bool operator==(const HardState&, const HardState&) = default;
};

// What peers say to each other; numbers as on the wire.
enum class MessageType : uint8_t {
  kAppend = 3,
  kAppendResponse = 4,
  kVote = 5,
  kVoteResponse = 6,
  kSnapshot = 7,
  kHeartbeat = 8,
  kHeartbeatResponse = 9,
  kTransferLeader = 13,
  kTimeoutNow = 14,
  kReadIndex = 15,
  kReadIndexResponse = 16,
  kPreVote = 17,
  kPreVoteResponse = 18,
};

// No message is longer on the wire, payloads not counted; Step and Inspect refuse longer ones.
inline constexpr size_t kMessageBytesMax = 256 << 10;

struct Message {
  MessageType type = MessageType::kHeartbeat;
  uint64_t from = 0;
  uint64_t to = 0;
  uint64_t term = 0;  // 0 for kReadIndex
  // A leader's appends need not wait for its own sync.
  bool before_sync = false;
  // Of kSnapshot; otherwise 0. The sender hands over the files of exactly this snapshot, and calls
  // ReportSnapshot when that has ended; the receiver steps the message once they are there.
  uint64_t snapshot_index = 0;
  uint64_t snapshot_term = 0;
  // Of kAppend; without conf changes, which `bytes` has. Their payloads travel beside the message.
  absl::Span<const Entry> entries;
  // The message for the wire (raftpb.Message).
  std::string_view bytes;
};

enum class Role : uint8_t { kFollower = 0, kCandidate = 1, kLeader = 2, kPreCandidate = 3 };

struct SoftState {
  uint64_t leader = 0;  // 0: none is known
  Role role = Role::kFollower;

  friend bool operator==(const SoftState&, const SoftState&) = default;
};

// The answer to ReadIndex(context): who has applied `index` may answer the read.
struct ReadState {
  uint64_t context = 0;
  uint64_t index = 0;
};

// What is owed now. Views and spans live until Advance, or until the Sequencer's end.
struct Ready {
  std::optional<Snapshot> snapshot;
  std::optional<HardState> hard_state;  // when changed
  bool must_sync = false;  // entries, term or vote changed; a mere commit need not be synced
  // To append. They replace everything that the log has from the first one's index on.
  absl::Span<const Entry> entries;
  absl::Span<const Message> messages;
  absl::Span<const Entry> committed;
  absl::Span<const ReadState> read_states;
  std::optional<SoftState> soft_state;  // when changed
  // A member needs entries that were compacted: take a checkpoint and SetSnapshot it. Said once,
  // until SetSnapshot or WithdrawSnapshot.
  bool snapshot_wanted = false;
  // What raft warns of, for the mail log; at most kRemarksMax between two Readys.
  std::vector<std::string_view> remarks;
};
inline constexpr int kRemarksMax = 16;

// What the leader knows of a member (of itself, too).
struct Progress {
  enum class State : uint8_t { kProbe = 0, kReplicate = 1, kSnapshot = 2 };
  uint64_t id = 0;
  uint64_t match = 0;  // the last entry that is known to be there
  uint64_t next = 0;
  State state = State::kProbe;
  bool learner = false;
  bool recent_active = false;
};

struct Standing {
  uint64_t id = 0;
  HardState hard_state;
  SoftState soft_state;
  uint64_t applied = 0;
  uint64_t first_index = 0;  // of the entries that are held
  uint64_t last_index = 0;   // of the entries that were advanced over
  uint64_t transferring_to = 0;
  ConfState conf_state;
  std::vector<Progress> progress;  // by id; of a leader only
};

struct Options {
  uint64_t id = 0;
  // What the disk has: `entries` follow on `snapshot`, whose conf state is that as of its index.
  // A founded group begins with all voters in a snapshot of index 1 and term 1 or higher; a member
  // that is to join begins with index 0 and no members. A commit below `applied` is taken as
  // `applied`: that was committed.
  HardState hard_state;
  Snapshot snapshot;
  absl::Span<const Entry> entries;
  uint64_t applied = 0;  // snapshot.index or higher; Ready.committed begins behind it
  // The members as of `applied`, when conf changes were applied behind the snapshot.
  std::optional<ConfState> applied_conf_state;

  int election_ticks = 10;  // a follower that hears nothing for 1 to 2 times this long campaigns
  int heartbeat_ticks = 1;
  int inflight_appends_max = 256;               // to a member, not yet answered
  int append_entries_max = 1024;                // in one message
  int committed_entries_max = 4096;             // about, in one Ready
  uint64_t append_payload_bytes_max = 1 << 20;  // in one message of more than one entry
  uint64_t uncommitted_entries_max = 65536;     // then Propose refuses
  // Held for members that lag, 40 bytes each: Compact in time. Then Propose refuses, and at twice
  // as many Step refuses appends.
  uint64_t log_entries_max = 1 << 20;
  int reads_per_tick_max = 4096;  // ReadIndex, of this member and its peers
};

class Sequencer {
 public:
  // DataLoss: what the disk has contradicts itself. InvalidArgument: an option out of its range.
  static absl::StatusOr<std::unique_ptr<Sequencer>> Start(const Options& options);
  ~Sequencer();

  Sequencer(const Sequencer&) = delete;
  Sequencer& operator=(const Sequencer&) = delete;

  void Tick();

  // Appends commands in this order, all or none. What was taken may still be lost with the
  // leadership; it is certain when it comes back in Ready.committed. Unavailable: this is not the
  // leader, or it hands over. ResourceExhausted: too much is uncommitted, or not compacted.
  absl::Status Propose(absl::Span<const Reference> commands);
  absl::Status Propose(const Reference& command) {
    return Propose(absl::MakeConstSpan(&command, 1));
  }

  // Unavailable, ResourceExhausted: as above. FailedPrecondition: an earlier change may not be
  // applied yet, or none would be left to vote. InvalidArgument: no node, or too long a context. A
  // leader that was removed hands over by itself, and must be ticked until then.
  absl::Status ProposeConfChange(const ConfChange& change);
  // Of an entry that this or another member appended. InvalidArgument: it is none.
  absl::StatusOr<ConfChange> ParseConfChange(std::string_view conf_change);
  // Must be called for each committed kConfChange, in order. Returns the members from then on. A
  // change that would leave no voter, or of node 0, changes nothing, on all members alike.
  ConfState ApplyConfChange(const ConfChange& change);

  // Takes what the peer `from` sent. InvalidArgument: not a message, or not one of `from` to us.
  // OutOfRange: it rests on entries that are not here (this member has lost what it acknowledged),
  // or contradicts what is committed. NotFound: the answer of one that is no member.
  // ResourceExhausted: more entries, or reads, than are held. OK does not mean that it had an
  // effect: raft drops what is late. A kSnapshot that this log already covers comes back in no
  // Ready.
  absl::Status Step(uint64_t from, std::string_view message);
  // What such a message is. Its entries live until the next Inspect. InvalidArgument as of Step.
  absl::StatusOr<Message> Inspect(std::string_view message);

  // Asks up to where a read must have applied. The answer is a ReadState; it may get lost: ask
  // again. Unavailable: no leader is known. ResourceExhausted: reads_per_tick_max.
  absl::Status ReadIndex(uint64_t context);

  // Both begin something that may come to nothing; SoftState says what became of it. A follower can
  // ask for the leadership only for itself.
  void TransferLeadership(uint64_t to);
  void Campaign();

  // A message to `id` could not be sent.
  void ReportUnreachable(uint64_t id);
  // A kSnapshot message has ended: the member has stepped it, or it failed.
  void ReportSnapshot(uint64_t id, bool delivered);

  // Free: it does not ask Go. A Ready that says nothing may follow.
  bool HasReady() const { return has_ready_; }
  Ready TakeReady();
  void Advance();

  Standing standing();

  // Forgets entries up to and with `index`, at most the applied one. No less than the snapshot that
  // was set when members shall still be able to catch up by it.
  void Compact(uint64_t index);
  // A checkpoint of this applied index, and the members as of it, is there for members that lag. It
  // must know all present members to be used.
  void SetSnapshot(const Snapshot& snapshot);
  // Its files are gone.
  void WithdrawSnapshot();

  // Election timeouts of all Sequencers of the process follow from `seed` from now on. For
  // simulations.
  static void SeedRandomness(uint64_t seed);

 private:
  explicit Sequencer(uint64_t handle);

  void CheckThread();
  // Before every call of Go: tells it of an Advance that it has not heard of.
  void Enter();
  // Takes over what Go answered: a refusal, or whether a Ready is owed.
  absl::Status Outcome(int64_t answer, const char* text);

  const uint64_t handle_;
  bool has_ready_ = false;
  bool ready_taken_ = false;
  bool owes_advance_ = false;
  // In buffer_, told by Propose; 0: none.
  int64_t ready_bytes_ = 0;
  std::thread::id thread_;

  // What Ready points into.
  std::vector<char> buffer_;
  std::vector<Entry> entries_;
  std::vector<Message> messages_;
  std::vector<ReadState> read_states_;
  // What Inspect points into.
  std::vector<char> inspected_buffer_;
  std::vector<Entry> inspected_;
};

}  // namespace postfleet::queue::raft
