// A message as a peer could send it, however wrong: raftpb.Message (etcd, raft/raftpb/raft.proto),
// for tests of what is made of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::queue::raft {

struct PeerMessage {
  struct LogEntry {
    uint64_t term = 0;
    uint64_t index = 0;
    uint64_t type = 0;
    std::string data;
  };
  struct SnapshotAt {
    uint64_t index = 0;
    uint64_t term = 0;
    std::vector<uint64_t> voters;
    std::vector<uint64_t> learners;
    std::string data;
  };

  uint64_t type = 0;
  uint64_t to = 0;
  uint64_t from = 0;
  uint64_t term = 0;
  uint64_t log_term = 0;
  uint64_t index = 0;
  uint64_t commit = 0;
  bool reject = false;
  uint64_t reject_hint = 0;
  std::string context;
  std::vector<LogEntry> entries;
  std::optional<SnapshotAt> snapshot;

  std::string Encode() const {
    std::string out;
    Number(&out, 1, type);
    Number(&out, 2, to);
    Number(&out, 3, from);
    Number(&out, 4, term);
    Number(&out, 5, log_term);
    Number(&out, 6, index);
    for (const LogEntry& entry : entries) Bytes(&out, 7, Encode(entry));
    Number(&out, 8, commit);
    if (snapshot) Bytes(&out, 9, Encode(*snapshot));
    Number(&out, 10, reject);
    Number(&out, 11, reject_hint);
    if (!context.empty()) Bytes(&out, 12, context);
    return out;
  }

  static void Varint(std::string* out, uint64_t number) {
    for (; number >= 0x80; number >>= 7) *out += static_cast<char>(number | 0x80);
    *out += static_cast<char>(number);
  }
  static void Number(std::string* out, int field, uint64_t number) {
    Varint(out, field << 3);
    Varint(out, number);
  }
  static void Bytes(std::string* out, int field, std::string_view bytes) {
    Varint(out, field << 3 | 2);
    Varint(out, bytes.size());
    *out += bytes;
  }

 private:
  static std::string Encode(const LogEntry& entry) {
    std::string out;
    Number(&out, 1, entry.type);
    Number(&out, 2, entry.term);
    Number(&out, 3, entry.index);
    if (!entry.data.empty()) Bytes(&out, 4, entry.data);
    return out;
  }
  static std::string Encode(const SnapshotAt& at) {
    std::string members, metadata, out;
    for (const uint64_t id : at.voters) Number(&members, 1, id);
    for (const uint64_t id : at.learners) Number(&members, 2, id);
    Bytes(&metadata, 1, members);
    Number(&metadata, 2, at.index);
    Number(&metadata, 3, at.term);
    if (!at.data.empty()) Bytes(&out, 1, at.data);
    Bytes(&out, 2, metadata);
    return out;
  }
};

}  // namespace postfleet::queue::raft
