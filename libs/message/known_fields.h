// The header fields that cleanup does something about, and what.
#pragma once

#include <cstdint>
#include <string_view>

namespace postfleet::message {

// Seen fields are kept as a set of these.
enum SeenField : uint8_t {
  kSeenDate = 1 << 0,
  kSeenFrom = 1 << 1,
  kSeenMessageId = 1 << 2,
  kSeenResentDate = 1 << 3,
  kSeenResentFrom = 1 << 4,
  kSeenResentMessageId = 1 << 5,
  kSeenRecipient = 1 << 6,  // To, Cc, Resent-To, Resent-Cc
  kSeenResent = 1 << 7,     // what is missing is added as Resent-
};

struct KnownField {
  std::string_view name;  // lower case
  uint8_t seen = 0;
  bool has_addresses = false;
};

// nullptr: none of them. `name` is in lower case.
const KnownField* FindKnownField(std::string_view name);

}  // namespace postfleet::message
