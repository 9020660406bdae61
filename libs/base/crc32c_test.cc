#include "libs/base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace postfleet {
namespace {

TEST(Crc32c, MatchesTheCheckValueOfRfc3720) { EXPECT_EQ(Crc32c("123456789"), 0xE3069283u); }

// RFC 3720, B.4: 32 bytes of zeroes, 32 of ones.
TEST(Crc32c, MatchesRfc3720Examples) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
}

TEST(Crc32c, ContinuesOverAnySplit) {
  const std::string text = "The quick brown fox jumps over the lazy dog";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(Crc32c(text.substr(cut), Crc32c(text.substr(0, cut))), Crc32c(text)) << cut;
  }
}

}  // namespace
}  // namespace postfleet
