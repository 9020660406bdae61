// Keys of the state store (ARCHITECTURE.md, "Key layout of the state store"). Integers are
// big-endian, so that keys sort by number; a queue id holds no zero byte and is ended by one where
// something follows, so that no id's rows lie among another's.
//
// Decoding returns false for bytes that are no such key: the store is damaged or newer than this
// program.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace postfleet::queue {

// StateRow and the format's version, in the default column family.
inline constexpr std::string_view kFormatKey = "format";
inline constexpr std::string_view kStateKey = "state";

// qid 0: where the rows of one message begin. Below every key of the message; PrefixEnd of it is
// above.
std::string MessagePrefix(std::string_view queue_id);
// The least key above all that begin with `prefix`. Empty when there is none.
std::string PrefixEnd(std::string_view prefix);

// qid 0 number32: recipient, body (chunk), job.
std::string NumberedKey(std::string_view queue_id, uint32_t number);
bool ParseNumberedKey(std::string_view key, std::string_view* queue_id, uint32_t* number);

// partition16 index64 ordinal32
struct IntakeKey {
  uint32_t partition = 0;
  uint64_t index = 0;
  uint32_t ordinal = 0;
};
std::string EncodeIntakeKey(const IntakeKey& key);
bool ParseIntakeKey(std::string_view bytes, IntakeKey* key);

// partition16: both intake and due begin with it.
std::string PartitionPrefix(uint32_t partition);

// partition16 due_ms64 qid 0 job32
struct DueKey {
  uint32_t partition = 0;
  int64_t due_ms = 0;
  std::string queue_id;
  uint32_t job = 0;
};
std::string EncodeDueKey(const DueKey& key);
bool ParseDueKey(std::string_view bytes, DueKey* key);
// The value of a due row: the log index of the deferral.
std::string EncodeIndex(uint64_t index);
bool ParseIndex(std::string_view bytes, uint64_t* index);

// incarnation64 sequence64
std::string SubmissionKey(uint64_t incarnation, uint64_t sequence);
bool ParseSubmissionKey(std::string_view key, uint64_t* incarnation, uint64_t* sequence);

// queue8 qid: the queue index. The queue is the number of a QueueName.
std::string QueueKey(int queue, std::string_view queue_id);
std::string QueuePrefix(int queue);
bool ParseQueueKey(std::string_view key, int* queue, std::string_view* queue_id);

// site 0 qid 0 number32: the site index. `site` as SiteOf gives it (message_queue.h).
std::string SiteKey(std::string_view site, std::string_view queue_id, uint32_t number);
std::string SitePrefix(std::string_view site);
// The least key above all of one message's rows of a site.
std::string SiteMessageEnd(std::string_view site, std::string_view queue_id);
bool ParseSiteKey(std::string_view key, std::string_view* site, std::string_view* queue_id,
                  uint32_t* number);
// The value of a site row: when its message arrived, for shapes.
std::string EncodeTime(int64_t time_ms);
bool ParseTime(std::string_view bytes, int64_t* time_ms);

// The four bytes before a chunk in the body column family: its CRC-32C.
inline constexpr size_t kChunkHeaderBytes = 4;
std::string ChunkHeader(uint32_t crc32c);
uint32_t ParseChunkHeader(std::string_view chunk_header);

}  // namespace postfleet::queue
