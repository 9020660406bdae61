#include "services/queue/state/keys.h"

namespace postfleet::queue {
namespace {

template <typename Number>
void AppendBig(std::string* key, Number number) {
  char bytes[sizeof(Number)];
  for (size_t i = sizeof(Number); i-- > 0; number = static_cast<Number>(number >> 8)) {
    bytes[i] = static_cast<char>(number & 0xff);
  }
  key->append(bytes, sizeof(bytes));
}

template <typename Number>
Number LoadBig(const char* bytes) {
  Number number = 0;
  for (size_t i = 0; i < sizeof(Number); ++i) {
    number = static_cast<Number>(number << 8 | static_cast<unsigned char>(bytes[i]));
  }
  return number;
}

void AppendId(std::string* key, std::string_view queue_id) {
  key->append(queue_id);
  key->push_back('\0');
}

}  // namespace

std::string MessagePrefix(std::string_view queue_id) {
  std::string key;
  key.reserve(queue_id.size() + 1);
  AppendId(&key, queue_id);
  return key;
}

std::string PrefixEnd(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

std::string NumberedKey(std::string_view queue_id, uint32_t number) {
  std::string key;
  key.reserve(queue_id.size() + 5);
  AppendId(&key, queue_id);
  AppendBig<uint32_t>(&key, number);
  return key;
}

bool ParseNumberedKey(std::string_view key, std::string_view* queue_id, uint32_t* number) {
  if (key.size() < 5 || key.find('\0') != key.size() - 5) return false;
  *queue_id = key.substr(0, key.size() - 5);
  *number = LoadBig<uint32_t>(key.data() + key.size() - 4);
  return true;
}

std::string EncodeIntakeKey(const IntakeKey& key) {
  std::string bytes;
  AppendBig<uint16_t>(&bytes, static_cast<uint16_t>(key.partition));
  AppendBig<uint64_t>(&bytes, key.index);
  AppendBig<uint32_t>(&bytes, key.ordinal);
  return bytes;
}

bool ParseIntakeKey(std::string_view bytes, IntakeKey* key) {
  if (bytes.size() != 14) return false;
  key->partition = LoadBig<uint16_t>(bytes.data());
  key->index = LoadBig<uint64_t>(bytes.data() + 2);
  key->ordinal = LoadBig<uint32_t>(bytes.data() + 10);
  return true;
}

std::string PartitionPrefix(uint32_t partition) {
  std::string prefix;
  AppendBig<uint16_t>(&prefix, static_cast<uint16_t>(partition));
  return prefix;
}

std::string EncodeDueKey(const DueKey& key) {
  std::string bytes;
  bytes.reserve(key.queue_id.size() + 15);
  AppendBig<uint16_t>(&bytes, static_cast<uint16_t>(key.partition));
  AppendBig<uint64_t>(&bytes, static_cast<uint64_t>(key.due_ms));
  AppendId(&bytes, key.queue_id);
  AppendBig<uint32_t>(&bytes, key.job);
  return bytes;
}

bool ParseDueKey(std::string_view bytes, DueKey* key) {
  if (bytes.size() < 10) return false;
  std::string_view queue_id;
  if (!ParseNumberedKey(bytes.substr(10), &queue_id, &key->job)) return false;
  key->partition = LoadBig<uint16_t>(bytes.data());
  key->due_ms = static_cast<int64_t>(LoadBig<uint64_t>(bytes.data() + 2));
  key->queue_id = std::string(queue_id);
  return true;
}

std::string EncodeIndex(uint64_t index) {
  std::string bytes;
  AppendBig<uint64_t>(&bytes, index);
  return bytes;
}

bool ParseIndex(std::string_view bytes, uint64_t* index) {
  if (bytes.size() != 8) return false;
  *index = LoadBig<uint64_t>(bytes.data());
  return true;
}

std::string SubmissionKey(uint64_t incarnation, uint64_t sequence) {
  std::string key;
  key.reserve(16);
  AppendBig<uint64_t>(&key, incarnation);
  AppendBig<uint64_t>(&key, sequence);
  return key;
}

bool ParseSubmissionKey(std::string_view key, uint64_t* incarnation, uint64_t* sequence) {
  if (key.size() != 16) return false;
  *incarnation = LoadBig<uint64_t>(key.data());
  *sequence = LoadBig<uint64_t>(key.data() + 8);
  return true;
}

std::string QueueKey(int queue, std::string_view queue_id) {
  std::string key;
  key.reserve(queue_id.size() + 1);
  AppendBig<uint8_t>(&key, static_cast<uint8_t>(queue));
  key.append(queue_id);
  return key;
}

std::string QueuePrefix(int queue) { return QueueKey(queue, {}); }

bool ParseQueueKey(std::string_view key, int* queue, std::string_view* queue_id) {
  if (key.size() < 2) return false;
  *queue = static_cast<unsigned char>(key.front());
  *queue_id = key.substr(1);
  return true;
}

std::string SiteKey(std::string_view site, std::string_view queue_id, uint32_t number) {
  std::string key;
  key.reserve(site.size() + queue_id.size() + 6);
  AppendId(&key, site);
  AppendId(&key, queue_id);
  AppendBig<uint32_t>(&key, number);
  return key;
}

std::string SitePrefix(std::string_view site) { return MessagePrefix(site); }

std::string SiteMessageEnd(std::string_view site, std::string_view queue_id) {
  std::string key = SitePrefix(site);
  AppendId(&key, queue_id);
  return PrefixEnd(key);
}

bool ParseSiteKey(std::string_view key, std::string_view* site, std::string_view* queue_id,
                  uint32_t* number) {
  const size_t end = key.find('\0');
  if (end == std::string_view::npos) return false;
  *site = key.substr(0, end);
  return ParseNumberedKey(key.substr(end + 1), queue_id, number);
}

std::string EncodeTime(int64_t time_ms) { return EncodeIndex(static_cast<uint64_t>(time_ms)); }

bool ParseTime(std::string_view bytes, int64_t* time_ms) {
  uint64_t number = 0;
  if (!ParseIndex(bytes, &number)) return false;
  *time_ms = static_cast<int64_t>(number);
  return true;
}

std::string ChunkHeader(uint32_t crc32c) {
  std::string bytes;
  AppendBig<uint32_t>(&bytes, crc32c);
  return bytes;
}

uint32_t ParseChunkHeader(std::string_view chunk_header) {
  return LoadBig<uint32_t>(chunk_header.data());
}

}  // namespace postfleet::queue
