#include "services/delivery/smtp/contents.h"

#include <utility>

namespace postfleet::delivery::smtp {

namespace {

// What one step of an edit takes: its output is held whole.
constexpr size_t kEditBytesMax = 16 * 1024;

}  // namespace

Contents::State Contents::Peek(std::string_view* piece, std::function<void()> ready) {
  const bool edited = converting_ || editor_ != nullptr;
  return edited ? PeekEdited(piece, std::move(ready)) : PeekStored(piece, std::move(ready));
}

Contents::State Contents::PeekEdited(std::string_view* piece, std::function<void()> ready) {
  if (!edit_.has_value()) {
    message::DowngradeOptions options = limits_;
    options.convert = converting_;
    options.editor = editor_;
    edit_.emplace(options);
  }
  while (edited_offset_ == edited_.size()) {
    edited_.clear();
    edited_offset_ = 0;
    if (EditFailed()) return State::kFailed;
    std::string_view stored;
    const State state = PeekStored(&stored, ready);
    if (state == State::kEnd && !std::exchange(finished_, true)) {
      edit_->Finish(&edited_);
    } else if (state == State::kBytes) {
      stored = stored.substr(0, kEditBytesMax);
      edit_->Take(stored, &edited_);
      offset_ += stored.size();
    } else {
      return state;
    }
    if (EditFailed()) return State::kFailed;
  }
  *piece = std::string_view(edited_).substr(edited_offset_);
  return State::kBytes;
}

bool Contents::EditFailed() {
  unconvertible_ = edit_->too_deep();
  if (unconvertible_) failure_ = message::Downgrade::kTooDeepText;
  if (editor_ == nullptr || editor_->failure().empty()) return unconvertible_;
  failure_ = editor_->failure();
  unconvertible_ = false;
  return true;
}

void Contents::Consume(size_t bytes) { (edit_.has_value() ? edited_offset_ : offset_) += bytes; }

Contents::State Contents::PeekStored(std::string_view* piece, std::function<void()> ready) {
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
  converting_ = unconvertible_ = finished_ = false;
  edit_.reset();
  edited_.clear();
  edited_offset_ = 0;
  if (!dropped_) return true;
  if (!reader_->Restart()) return false;
  slices_.clear();
  received_bytes_ = 0;
  asking_ = ended_ = failed_ = dropped_ = false;
  failure_.clear();
  return true;
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
