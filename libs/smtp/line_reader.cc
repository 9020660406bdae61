#include "libs/smtp/line_reader.h"

#include <algorithm>
#include <cstring>

namespace postfleet::smtp {
namespace {

// Takes the CRs of a line end off. Returns whether there was one.
bool StripCr(std::string_view* text, bool all) {
  const size_t before = text->size();
  while (!text->empty() && text->back() == '\r') {
    text->remove_suffix(1);
    if (!all) break;
  }
  return text->size() != before;
}

}  // namespace

void LineReader::Reset() {
  partial_.clear();
  skipped_ = 0;
  last_was_cr_ = false;
  handed_out_ = false;
}

LineReader::Result LineReader::Next(std::string_view* in, Line* line) {
  if (handed_out_) Reset();
  if (skipped_ > line_bytes_max_) return kFlood;
  if (in->empty()) return kNeedMore;
  const size_t newline = in->find('\n');
  const bool ended = newline != std::string_view::npos;
  const std::string_view piece = in->substr(0, newline);
  in->remove_prefix(ended ? newline + 1 : piece.size());

  if (ended && !pending() && piece.size() <= line_bytes_max_) {
    line->text = piece;
    line->bare_lf = !StripCr(&line->text, !normalize_);
    line->cut = false;
    return kLine;
  }
  // One byte more than a line may have: the CR of its end.
  const size_t kept = std::min(piece.size(), line_bytes_max_ + 1 - partial_.size());
  partial_.append(piece.substr(0, kept));
  skipped_ += piece.size() - kept;
  if (!piece.empty()) last_was_cr_ = piece.back() == '\r';
  if (skipped_ > line_bytes_max_) return kFlood;
  if (!ended) return kNeedMore;

  handed_out_ = true;
  line->text = partial_;
  line->bare_lf = !last_was_cr_;
  if (skipped_ == 0) StripCr(&line->text, !normalize_);
  line->cut = skipped_ != 0 || line->text.size() > line_bytes_max_;
  line->text = line->text.substr(0, line_bytes_max_);
  return kLine;
}

}  // namespace postfleet::smtp
