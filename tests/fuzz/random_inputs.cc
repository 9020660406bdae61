// Runs a fuzz target over a deterministic set of inputs, where libFuzzer is not at hand: every
// ./dev test does. Inputs are those of the target's corpus, these with changes, and what is made of
// what mail is made of, of the words of the target's dictionary, and of random bytes. One seed per
// target, printed when a test fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

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

constexpr uint64_t kSeed = 20261122;
constexpr int kChangesMax = 4;

std::string Read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> Corpus() {
  const std::filesystem::path folder = "tests/fuzz/corpus/" FUZZ_TARGET;
  std::vector<std::filesystem::path> paths;
  if (std::filesystem::exists(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry);
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const auto& path : paths) inputs.push_back(Read(path));
  return inputs;
}

int HexOf(char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }

// A word of a dictionary of libFuzzer, without its quotes.
std::string Unescaped(std::string_view text) {
  std::string word;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] == 'x') {
      word += static_cast<char>(HexOf(text[i + 2]) * 16 + HexOf(text[i + 3]));
      i += 3;
    } else {
      if (text[i] == '\\') ++i;
      word += text[i];
    }
  }
  return word;
}

std::vector<std::string> Words() {
  std::vector<std::string> words(std::begin(kTokens), std::end(kTokens));
  std::ifstream dictionary("tests/fuzz/" FUZZ_TARGET ".dict");
  for (std::string line; std::getline(dictionary, line);) {
    if (line.size() > 2 && line.front() == '"') {
      words.push_back(Unescaped(std::string_view(line).substr(1, line.size() - 2)));
    }
  }
  return words;
}

void TryInput(const std::string& input) {
  ASSERT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()),
            0);
}

class Inputs {
 public:
  std::string Word() {
    if (random_() % 8 == 0) return std::string(1, static_cast<char>(random_()));
    return words_[random_() % words_.size()];
  }

  std::string Made() {
    std::string input;
    for (size_t n = random_() % kTokensMax; n > 0; --n) input += Word();
    // The first bytes choose modes and splits.
    input.insert(0, 1, static_cast<char>(random_()));
    input.insert(0, 1, static_cast<char>(random_()));
    return input;
  }

  std::string Changed(std::string input) {
    for (size_t n = 1 + random_() % kChangesMax; n > 0; --n) {
      const size_t at = random_() % (input.size() + 1);
      const size_t erased = random_() % 2 == 0 ? 0 : random_() % 8;
      input.replace(at, erased, random_() % 4 == 0 ? "" : Word());
    }
    return input;
  }

  size_t Below(size_t n) { return random_() % n; }

 private:
  std::mt19937_64 random_{kSeed};
  const std::vector<std::string> words_ = Words();
};

TEST(RandomInputs, TargetHoldsItsPromises) {
  const std::vector<std::string> corpus = Corpus();
  for (const std::string& input : corpus) TryInput(input);
  Inputs inputs;
  for (int i = 0; i < kInputs; ++i) {
    SCOPED_TRACE(i);
    const bool changed = !corpus.empty() && inputs.Below(2) == 0;
    TryInput(changed ? inputs.Changed(corpus[inputs.Below(corpus.size())]) : inputs.Made());
  }
}

}  // namespace
