// A message's contents as an attempt reads them: in place, one piece after the other, once more if
// a second host must be tried.
//
// Pieces are asked for before they are needed. The first kKeptBytesMax bytes are held (by
// reference), so that Rewind works until more than that has been read. Contents that end early or
// do not end where they should are kFailed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "services/delivery/core/agent.h"

namespace postfleet::delivery::smtp {

class Contents {
 public:
  enum class State { kBytes, kWait, kEnd, kFailed };
  static constexpr uint64_t kKeptBytesMax = 128 * 1024;

  Contents(ContentReader* reader, uint64_t content_bytes)
      : reader_(reader), content_bytes_(content_bytes) {}

  // kBytes: `piece` is what comes next. kWait: `ready` is called once, when that changes.
  State Peek(std::string_view* piece, std::function<void()> ready);
  // Of kFailed.
  std::string_view failure() const { return failure_; }
  void Consume(size_t bytes) { offset_ += bytes; }
  // Asks for the first piece.
  void Prefetch();
  // Back to the start. False: the first bytes are gone.
  bool Rewind();
  // `ready` is forgotten.
  void Forget() { ready_ = nullptr; }

 private:
  void Ask();
  void OnPiece(const absl::Status& status, rpc::Payload piece);

  ContentReader* const reader_;
  const uint64_t content_bytes_;
  rpc::Payload slices_;
  size_t slice_ = 0;
  size_t offset_ = 0;
  uint64_t received_bytes_ = 0;
  bool asking_ = false;
  bool ended_ = false;
  bool failed_ = false;
  std::string failure_;
  bool dropped_ = false;
  std::function<void()> ready_;
};

}  // namespace postfleet::delivery::smtp
