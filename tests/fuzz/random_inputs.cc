// Runs a fuzz target over a deterministic set of inputs, where libFuzzer is not at hand: every
// ./dev test does. Inputs are made of what mail is made of, and of random bytes. One seed per
// target, printed when a test fails.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kInputs = 100'000;
constexpr size_t kTokensMax = 24;
constexpr std::string_view kTokens[] = {"\r\n",
                                        "\n",
                                        "\r",
                                        ".",
                                        "\r\n.\r\n",
                                        " ",
                                        "\t",
                                        "@",
                                        "<",
                                        ">",
                                        "\"",
                                        "\\",
                                        ":",
                                        ",",
                                        "a",
                                        "Bcc: x",
                                        "N : v",
                                        "From ",
                                        "Received",
                                        "250 ",
                                        "250-",
                                        "5.1.1 ",
                                        "MAIL FROM:",
                                        "RCPT TO:",
                                        "<a@b>",
                                        " SIZE=",
                                        " AUTH=",
                                        "+2B",
                                        "[IPv6:::1]",
                                        " NOTIFY=NEVER",
                                        " ORCPT=rfc822;",
                                        "\xc3\xa9",
                                        "\xff",
                                        "[1.2.3.4]",
                                        "=",
                                        "--b",
                                        "Content-Type: multipart/mixed; boundary=b\n",
                                        "Content-Type: message/rfc822\n",
                                        "Content-Transfer-Encoding: 8bit\n",
                                        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};

TEST(RandomInputs, TargetHoldsItsPromises) {
  constexpr uint64_t kSeed = 20261122;
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < kInputs; ++i) {
    std::string input;
    for (size_t n = random() % kTokensMax; n > 0; --n) {
      if (random() % 8 == 0) {
        input += static_cast<char>(random());
      } else {
        input += kTokens[random() % std::size(kTokens)];
      }
    }
    // The first bytes choose modes and splits.
    input.insert(0, 1, static_cast<char>(random()));
    input.insert(0, 1, static_cast<char>(random()));
    SCOPED_TRACE(i);
    ASSERT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()),
              0);
  }
}

}  // namespace
