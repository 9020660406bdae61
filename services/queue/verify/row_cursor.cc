#include "services/queue/verify/row_cursor.h"

#include <algorithm>
#include <array>
#include <utility>

#include "libs/base/concat.h"
#include "services/queue/state/keys.h"

namespace postfleet::queue {
namespace {

constexpr size_t kReadaheadBytes = 512u << 10;
// How much longer than the last row's key the keys are that a search tries.
constexpr size_t kSearchBytes = 24;
// Above every key.
constexpr std::string_view kAboveAll = "\xff\xff\xff\xff";

int ByteAt(std::string_view key, size_t position) {
  return position < key.size() ? static_cast<unsigned char>(key[position]) : 0;
}

// The key in the middle of two, as numbers of `bytes` digits. Equal to `low` when there is none.
std::string Middle(std::string_view low, std::string_view high, size_t bytes) {
  std::vector<int> sum(bytes + 1, 0);
  for (size_t i = bytes; i-- > 0;) {
    sum[i + 1] += ByteAt(low, i) + ByteAt(high, i);
    sum[i] += sum[i + 1] >> 8;
    sum[i + 1] &= 0xff;
  }
  std::string middle(bytes, '\0');
  int rest = sum[0];
  for (size_t i = 0; i < bytes; ++i) {
    rest = (rest << 8) + sum[i + 1];
    middle[i] = static_cast<char>(rest >> 1);
    rest &= 1;
  }
  return middle;
}

}  // namespace

std::string_view NameOf(Family family) {
  static constexpr std::array<std::string_view, kFamilyCount> kNames = {
      "state", "message", "recipient",  "body",  "intake", "job",
      "due",   "upload",  "submission", "queue", "site"};
  return kNames[static_cast<size_t>(family)];
}

std::string Printable(std::string_view key) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : key) {
    const int value = static_cast<unsigned char>(byte);
    if (value > 0x20 && value < 0x7f && byte != '\\') {
      text.push_back(byte);
    } else {
      ConcatTo(&text, "\\x", kDigits[static_cast<size_t>(value >> 4)],
               kDigits[static_cast<size_t>(value & 15)]);
    }
  }
  return text;
}

void Gaps::Add(std::string_view begin, std::string_view end) {
  if (gaps_.size() >= kGapsMax) {
    gaps_.back().end = end;
    return;
  }
  gaps_.push_back({std::string(begin), std::string(end)});
}

bool Gaps::Touch(std::string_view begin, std::string_view end) const {
  return std::any_of(gaps_.begin(), gaps_.end(), [&](const Gap& gap) {
    return (end.empty() || gap.begin < end) && (gap.end.empty() || gap.end > begin);
  });
}

bool Gaps::TouchMessage(std::string_view queue_id) const {
  if (gaps_.empty()) return false;
  const std::string prefix = MessagePrefix(queue_id);
  return Touch(prefix, PrefixEnd(prefix));
}

RowCursor::RowCursor(const Store* store, Family family, const rocksdb::Snapshot* snapshot,
                     FindingList* findings, Gaps* gaps)
    : store_(store), family_(family), snapshot_(snapshot), findings_(findings), gaps_(gaps) {
  Renew();
  rows_->SeekToFirst();
  if (!rows_->Valid()) LeaveOutUnreadable();
}

void RowCursor::Renew() {
  rocksdb::ReadOptions read;
  read.snapshot = snapshot_;
  // The queue's own work keeps its cache.
  read.fill_cache = false;
  read.readahead_size = kReadaheadBytes;
  rows_.reset(store_->db()->NewIterator(read, store_->family(family_)));
}

void RowCursor::Next() {
  last_.assign(rows_->key().data(), rows_->key().size());
  rows_->Next();
  if (!rows_->Valid()) LeaveOutUnreadable();
}

bool RowCursor::TrySeek(std::string_view key) {
  // One that has failed may fail again where a new one does not.
  if (!rows_->status().ok()) Renew();
  rows_->Seek(rocksdb::Slice(key.data(), key.size()));
  return rows_->Valid() || rows_->status().ok();
}

std::string RowCursor::Gallop(std::string* low) {
  for (size_t bytes = std::max<size_t>(last_.size(), 1); bytes > 0; --bytes) {
    for (const int distance : {1, 2, 8, 64}) {
      const int byte = ByteAt(last_, bytes - 1) + distance;
      if (byte > 0xff) break;
      std::string key = last_.substr(0, bytes - 1);
      key.push_back(static_cast<char>(byte));
      if (TrySeek(key)) return key;
      *low = std::move(key);
    }
  }
  return TrySeek(kAboveAll) ? std::string(kAboveAll) : std::string();
}

void RowCursor::LeaveOutUnreadable() {
  if (rows_->status().ok()) return;
  const std::string error = rows_->status().ToString();
  std::string low = last_;
  std::string high = Gallop(&low);
  if (!high.empty()) {
    const size_t bytes = last_.size() + kSearchBytes;
    for (std::string middle = Middle(low, high, bytes); middle > low && middle < high;
         middle = Middle(low, high, bytes)) {
      (TrySeek(middle) ? high : low) = middle;
    }
    // Steps back from the last try.
    if (!TrySeek(high)) high.clear();
  }
  const bool found = Valid();
  gaps_->Add(last_, found ? key() : std::string_view());
  findings_->Add(Concat(NameOf(family_), " rows",
                        last_.empty() ? std::string() : " behind " + Printable(last_),
                        found ? " before " + Printable(key()) : std::string(" to the last"),
                        " cannot be read: ", error));
}

}  // namespace postfleet::queue
