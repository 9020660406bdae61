#include "libs/smtp/data_reader.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace postfleet::smtp {
namespace {

// `word` is in lower case.
bool SameWord(std::string_view word, std::string_view text) {
  return std::equal(word.begin(), word.end(), text.begin(), text.end(), [](char lower, char c) {
    return lower == (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
}

}  // namespace

bool ParseBareNewline(std::string_view value, BareNewline* mode) {
  struct Row {
    std::string_view name;
    BareNewline mode;
  };
  static constexpr Row kRows[] = {{"normalize", BareNewline::kNormalize},
                                  {"yes", BareNewline::kNormalize},
                                  {"no", BareNewline::kNo},
                                  {"reject", BareNewline::kReject},
                                  {"note", BareNewline::kNote}};
  for (const Row& row : kRows) {
    if (!SameWord(row.name, value)) continue;
    *mode = row.mode;
    return true;
  }
  return false;
}

void DataReader::CountInLine(size_t bytes) {
  piece_bytes_ += bytes;
  if (piece_bytes_ < line_bytes_max_) return;
  line_pieces_ += piece_bytes_ / line_bytes_max_;
  piece_bytes_ %= line_bytes_max_;
}

// `in` holds no LF and is not empty. Returns the bytes taken: not all if held CRs must go out
// first.
size_t DataReader::TakeSpan(std::string_view in, char* out, size_t* produced) {
  size_t taken = 0;
  if (at_ == At::kStart && held_crs_ == 0 && framing_ == Framing::kData && in.front() == '.') {
    at_ = At::kDot;
    taken = 1;
    CountInLine(1);
  }
  size_t end = in.size();
  const size_t crs_max = standard_end() ? 1 : in.size();
  while (end > taken && in.size() - end < crs_max && in[end - 1] == '\r') --end;
  const size_t crs = in.size() - end;

  if (end == taken && !(standard_end() && held_crs_ + crs > 1)) {
    held_crs_ += crs;
    return in.size();
  }
  if (held_crs_ > 0) {
    // What was held is content after all, and so is what comes now: neither a line start nor a lone
    // dot.
    released_crs_ = held_crs_;
    held_crs_ = 0;
    at_ = At::kMiddle;
    return taken;
  }
  if (end > taken) at_ = At::kMiddle;
  std::memcpy(out + *produced, in.data() + taken, end - taken);
  *produced += end - taken;
  CountInLine(end - taken);
  held_crs_ = crs;
  return in.size();
}

// The LF of a line. True: that was the end of DATA.
bool DataReader::EndLine(char* out, size_t* produced) {
  const bool bare = standard_end() && held_crs_ == 0;
  const bool lone_dot = at_ == At::kDot;
  const bool after_bare = previous_bare_lf_;
  saw_bare_lf_ |= bare;
  previous_bare_lf_ = bare;
  held_crs_ = 0;
  piece_bytes_ = 0;
  at_ = At::kStart;
  if (!lone_dot) {
    out[(*produced)++] = '\n';
    ++lines_;
    return false;
  }
  // The dot is not stored in either case.
  return !bare && !after_bare;
}

DataReader::Progress DataReader::Read(std::string_view in, char* out, size_t out_size) {
  assert(out_size > kHeldBytesMax && !done_);
  Progress progress;
  while (!done_) {
    const size_t released = std::min(released_crs_, out_size - progress.produced);
    std::memset(out + progress.produced, '\r', released);
    progress.produced += released;
    CountInLine(released);
    released_crs_ -= released;

    const size_t room = out_size - progress.produced;
    std::string_view rest = in.substr(progress.consumed);
    if (room <= kHeldBytesMax || rest.empty()) break;
    rest = rest.substr(0, room - kHeldBytesMax);

    const void* newline = std::memchr(rest.data(), '\n', rest.size());
    const size_t length =
        newline == nullptr ? rest.size() : static_cast<const char*>(newline) - rest.data();
    if (length > 0) {
      const size_t taken = TakeSpan(rest.substr(0, length), out, &progress.produced);
      progress.consumed += taken;
      if (taken < length) continue;
    }
    if (newline == nullptr) continue;
    ++progress.consumed;
    done_ = EndLine(out, &progress.produced);
  }
  content_bytes_ += progress.produced;
  return progress;
}

size_t DataReader::FinishChunks(char* out) {
  assert(framing_ == Framing::kChunk && !done_);
  done_ = true;
  if (at_ == At::kStart && held_crs_ == 0) return 0;
  // A CR without its LF is content; more than a few can only be held with kNo.
  size_t produced = std::min(held_crs_ + released_crs_, kHeldBytesMax - 1);
  std::memset(out, '\r', produced);
  CountInLine(produced);
  out[produced++] = '\n';
  ++lines_;
  // A last line of full pieces has no other end than its last piece's.
  if (piece_bytes_ == 0 && line_pieces_ > 0) --line_pieces_;
  content_bytes_ += produced;
  return produced;
}

void DataReader::Reset() {
  at_ = At::kStart;
  held_crs_ = 0;
  released_crs_ = 0;
  previous_bare_lf_ = false;
  done_ = false;
  saw_bare_lf_ = false;
  content_bytes_ = 0;
  lines_ = 0;
  line_pieces_ = 0;
  piece_bytes_ = 0;
}

}  // namespace postfleet::smtp
