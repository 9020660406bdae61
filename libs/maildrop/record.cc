#include "libs/maildrop/record.h"

namespace postfleet::maildrop {
namespace {

constexpr unsigned kLengthBits = 7;
constexpr unsigned kMore = 0x80;

}  // namespace

void AppendRecord(RecordType type, std::string_view data, std::string* out) {
  out->push_back(type);
  size_t left = data.size();
  do {
    const size_t low = left & (kMore - 1);
    left >>= kLengthBits;
    out->push_back(static_cast<char>(left > 0 ? low | kMore : low));
  } while (left > 0);
  out->append(data);
}

RecordReader::Result RecordReader::Next() {
  size_t length = 0;
  size_t at = at_ + 1;
  for (unsigned shift = 0;; shift += kLengthBits, ++at) {
    if (at >= buffer_.size()) break;
    const auto byte = static_cast<unsigned char>(buffer_[at]);
    length |= static_cast<size_t>(byte & (kMore - 1)) << shift;
    if (length > kRecordBytesMax || shift > 2 * kLengthBits) return kBroken;
    if ((byte & kMore) != 0) continue;
    if (buffer_.size() - ++at < length) break;
    type_ = buffer_[at_];
    data_ = std::string_view(buffer_).substr(at, length);
    at_ = at + length;
    return kRecord;
  }
  buffer_.erase(0, at_);
  at_ = 0;
  return kNeedMore;
}

}  // namespace postfleet::maildrop
