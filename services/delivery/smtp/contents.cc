#include "services/delivery/smtp/contents.h"

#include <utility>

namespace postfleet::delivery::smtp {

Contents::State Contents::Peek(std::string_view* piece, std::function<void()> ready) {
  while (slice_ < slices_.size()) {
    *piece = rpc::AsView(slices_[slice_]).substr(offset_);
    if (!piece->empty()) return State::kBytes;
    ++slice_;
    offset_ = 0;
  }
  if (failed_) return State::kFailed;
  if (ended_) return State::kEnd;
  if (received_bytes_ > kKeptBytesMax) {
    dropped_ = true;
    slices_.clear();
    slice_ = 0;
  }
  ready_ = std::move(ready);
  Ask();
  return State::kWait;
}

void Contents::Prefetch() {
  if (received_bytes_ == 0 && !ended_ && !failed_) Ask();
}

bool Contents::Rewind() {
  ready_ = nullptr;
  slice_ = offset_ = 0;
  return !dropped_;
}

void Contents::Ask() {
  if (std::exchange(asking_, true)) return;
  reader_->Next([this](const absl::Status& status, rpc::Payload piece) {
    OnPiece(status, std::move(piece));
  });
}

void Contents::OnPiece(const absl::Status& status, rpc::Payload piece) {
  asking_ = false;
  const uint64_t bytes = rpc::PayloadBytes(piece);
  received_bytes_ += bytes;
  for (grpc::Slice& slice : piece) slices_.push_back(std::move(slice));
  // The length is known: the end needs no further call.
  ended_ = bytes == 0 || received_bytes_ >= content_bytes_;
  failed_ = !status.ok() || (ended_ && received_bytes_ != content_bytes_);
  if (failed_) {
    failure_ = status.ok() ? "message contents are not as long as they should be"
                           : std::string(status.message());
  }
  if (ready_) std::exchange(ready_, nullptr)();
}

}  // namespace postfleet::delivery::smtp
