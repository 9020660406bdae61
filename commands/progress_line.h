// How far a long piece of work is, on one line of a terminal that is written over:
//
//   postsuper: 123456 of 1000000
//
// Says nothing when `err` is not a terminal. At most one line each kShowIntervalMs; the destructor
// and Clear wipe it. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

namespace postfleet::commands {

inline constexpr int kShowIntervalMs = 100;

class ProgressLine {
 public:
  ProgressLine(std::string program, FILE* err);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();

  void Show(std::string_view text);
  // Before anything else is written to the terminal.
  void Clear();

 private:
  const std::string program_;
  FILE* const err_;
  const bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_;  // not shown before
};

// "123456 of 1000000"; without an estimate "123456". An estimate that is passed is left out.
std::string CountOf(uint64_t done, uint64_t total);

}  // namespace postfleet::commands
