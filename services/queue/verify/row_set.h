// Compares two sets of rows that come in different orders, in memory that does not grow with them:
// those that must be there, by what other rows say, and those that are.
//
// First, both sides' rows are added up as hashes, in 4,096 parts. If a part's sums differ, both
// sides are gone through again after BeginNaming, and the rows of such parts are kept: at most
// 100,000, then the rest of them is only said to be there. Sums of different rows are equal once in
// 2^64 times, for damage that was not made to be.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace postfleet::queue {

class RowSet {
 public:
  // `owner`: whose row it is, for findings.
  void Expect(std::string_view key, std::string_view value, std::string_view owner);
  void Find(std::string_view key, std::string_view value);

  bool Differs() const;
  void BeginNaming() { naming_ = true; }
  bool naming() const { return naming_; }

  // A key of which the two sides differ.
  struct Row {
    int expected = 0;
    int found = 0;
    // Of the one last expected.
    std::string owner;
    std::string expected_value;
    std::string found_value;
  };
  void ForEachDifference(
      const std::function<void(const std::string& key, const Row& row)>& visit) const;
  // There were too many to keep.
  bool overflowed() const { return overflowed_; }

 private:
  static constexpr size_t kParts = 4'096;
  static constexpr size_t kNamedMax = 100'000;
  struct Part {
    uint64_t hashes = 0;  // expected - found
    int64_t rows = 0;     // likewise

    bool differs() const { return hashes != 0 || rows != 0; }
  };

  static size_t PartOf(std::string_view key);
  Row* Named(std::string_view key);

  std::array<Part, kParts> parts_{};
  bool naming_ = false;
  bool overflowed_ = false;
  std::map<std::string, Row, std::less<>> named_;
};

}  // namespace postfleet::queue
