#include "libs/base/queue_id.h"

#include <algorithm>
#include <cassert>

namespace postfleet {
namespace {

constexpr std::string_view kDigits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
static_assert(kDigits.size() == 52);

constexpr int kSecondsDigitsMin = 6;
constexpr int kMicrosecondsDigits = 4;
constexpr size_t kQueueIdBytesMax = 255;

// Most significant digit first, padded with zeroes.
std::string InBase(uint64_t value, uint64_t base, int digits_min) {
  std::string reversed;
  for (; value > 0; value /= base) reversed.push_back(kDigits[value % base]);
  while (static_cast<int>(reversed.size()) < digits_min) reversed.push_back('0');
  std::reverse(reversed.begin(), reversed.end());
  return reversed;
}

}  // namespace

std::string FormatQueueId(int64_t seconds, int32_t microseconds, uint64_t unique) {
  std::string id = InBase(static_cast<uint64_t>(seconds), 52, kSecondsDigitsMin);
  id += InBase(static_cast<uint64_t>(microseconds), 52, kMicrosecondsDigits);
  id += 'z';
  id += InBase(unique, 51, 1);
  return id;
}

bool IsQueueId(std::string_view text) {
  if (text.empty() || text.size() > kQueueIdBytesMax) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  });
}

QueueIdMinter::QueueIdMinter(uint32_t shard, uint64_t incarnation, const Clock& clock)
    : low_((incarnation << 8) | shard), clock_(clock) {
  assert(shard < (1u << 8));
  assert(incarnation < (1u << 24));
}

std::string QueueIdMinter::Next() {
  const int64_t now_us = clock_.WallMicros();
  return FormatQueueId(now_us / 1'000'000, static_cast<int32_t>(now_us % 1'000'000),
                       (counter_++ << 32) | low_);
}

}  // namespace postfleet
