#include "libs/smtp/data_writer.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace postfleet::smtp {
namespace {

// What one step can add besides a span: the dot of stuffing, or CRLF and a blank.
constexpr size_t kAddedBytesMax = 3;
static_assert(DataWriter::kOutBytesMin > 2 * kAddedBytesMax);

}  // namespace

DataWriter::Progress DataWriter::Write(std::string_view in, char* out, size_t out_size) {
  assert(out_size >= kOutBytesMin);
  Progress progress;
  while (progress.consumed < in.size() && out_size - progress.produced > kAddedBytesMax) {
    const char* from = in.data() + progress.consumed;
    char* to = out + progress.produced;
    if (*from == '\n') {
      std::memcpy(to, "\r\n", 2);
      progress.produced += 2;
      ++progress.consumed;
      column_ = 0;
      at_start_ = true;
      continue;
    }
    if (column_ == line_bytes_max_ && line_bytes_max_ != 0) {
      std::memcpy(to, "\r\n ", 3);
      progress.produced += 3;
      column_ = 1;
      continue;
    }
    if (at_start_ && *from == '.' && dot_stuffing_) {
      *to++ = '.';
      ++progress.produced;
    }
    at_start_ = false;
    size_t span = std::min(in.size() - progress.consumed, out_size - progress.produced);
    if (line_bytes_max_ != 0) span = std::min(span, line_bytes_max_ - column_);
    if (const void* newline = std::memchr(from, '\n', span))
      span = static_cast<const char*>(newline) - from;
    std::memcpy(to, from, span);
    progress.consumed += span;
    progress.produced += span;
    column_ += span;
  }
  return progress;
}

size_t DataWriter::FinishWithoutDot(char* out) {
  if (at_start_) return 0;
  std::memcpy(out, "\r\n", 2);
  Reset();
  return 2;
}

size_t DataWriter::Finish(char* out) {
  const size_t ended = FinishWithoutDot(out);
  std::memcpy(out + ended, ".\r\n", 3);
  return ended + 3;
}

}  // namespace postfleet::smtp
