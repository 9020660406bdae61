// Queue ids in Postfix's long form (enable_long_queue_ids; POSTFIX global/mail_queue.h): at least 6
// digits of seconds in base 52, exactly 4 of microseconds, `z`, and a number in base 51. Digits are
// in ASCII order and without vowels, so that ids sort by time and spell nothing. Where Postfix
// writes the file's inode number, the tail is made of shard, incarnation and counter: it never
// repeats, also on another machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/base/clock.h"

namespace postfleet {

// The pure form. `seconds` since the epoch, `microseconds` below 1,000,000.
std::string FormatQueueId(int64_t seconds, int32_t microseconds, uint64_t unique);

// What every command accepts as a queue id: letters, digits and `_`, 1 to 255 of them.
bool IsQueueId(std::string_view text);

// Makes ids that no other minter makes: the tail is counter, incarnation (24 bits) and shard (8
// bits), the counter in the highest bits. Two ids of one minter differ by their counter. Not
// thread-safe.
class QueueIdMinter {
 public:
  QueueIdMinter(uint32_t shard, uint64_t incarnation, const Clock& clock);
  std::string Next();

 private:
  const uint64_t low_;  // incarnation and shard
  uint64_t counter_ = 0;
  const Clock& clock_;
};

}  // namespace postfleet
