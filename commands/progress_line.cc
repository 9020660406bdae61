#include "commands/progress_line.h"

#include <unistd.h>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

// Carriage return, and "erase to the end of the line" (ECMA-48, EL).
constexpr std::string_view kLineStart = "\r\x1b[K";

}  // namespace

ProgressLine::ProgressLine(std::string program, FILE* err)
    : program_(std::move(program)), err_(err), on_terminal_(isatty(fileno(err)) == 1) {}

ProgressLine::~ProgressLine() { Clear(); }

void ProgressLine::Show(std::string_view text) {
  if (!on_terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(kShowIntervalMs);
  const std::string line = Concat(kLineStart, program_, ": ", text);
  std::fwrite(line.data(), 1, line.size(), err_);
  std::fflush(err_);
  shown_ = true;
}

void ProgressLine::Clear() {
  if (!shown_) return;
  std::fwrite(kLineStart.data(), 1, kLineStart.size(), err_);
  std::fflush(err_);
  shown_ = false;
}

std::string CountOf(uint64_t done, uint64_t total) {
  return total < done || total == 0 ? Concat(done) : Concat(done, " of ", total);
}

}  // namespace postfleet::commands
