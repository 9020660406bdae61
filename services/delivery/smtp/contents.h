// A message's contents as an attempt reads them: in place, one piece after the other, once more if
// a second host must be tried; as they are stored, or, where a server lacks 8BITMIME or addresses
// of the header are replaced, through message::Downgrade, which costs a copy.
//
// Pieces are asked for before they are needed. The first kKeptBytesMax bytes are held (by
// reference); once more than that has been read, Rewind lets the reader begin again. Contents that
// end early or do not end where they should are kFailed; so are those that cannot be converted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "libs/message/cleanup.h"
#include "libs/message/downgrade.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery::smtp {

// Sees the fields of the message's own header as it goes out.
class ContentsEditor : public message::HeaderEditor {
 public:
  // Not empty: the contents cannot be sent now.
  virtual std::string_view failure() const = 0;
};

class Contents {
 public:
  enum class State { kBytes, kWait, kEnd, kFailed };
  static constexpr uint64_t kKeptBytesMax = 128 * 1024;
  static constexpr char kUnfitStatus[] = "5.6.0";

  // `limits` are those of conversion. `editor` (or nullptr) works whether the contents are
  // converted or not.
  Contents(ContentReader* reader, uint64_t content_bytes, message::DowngradeOptions limits = {},
           ContentsEditor* editor = nullptr)
      : reader_(reader), content_bytes_(content_bytes), limits_(limits), editor_(editor) {}

  // Until Rewind, from the first byte on: 8-bit content comes as quoted-printable. Before the first
  // Peek.
  void Convert() { converting_ = true; }
  // kBytes: `piece` is what comes next. kWait: `ready` is called once, when that changes.
  State Peek(std::string_view* piece, std::function<void()> ready);
  // Of kFailed.
  std::string_view failure() const { return failure_; }
  // The contents themselves are at fault: kUnfitStatus.
  bool unfit() const { return unconvertible_; }
  void Consume(size_t bytes);
  // Asks for the first piece.
  void Prefetch();
  // Back to the start. False: the first bytes are gone, and the reader has them no more.
  bool Rewind();
  // `ready` is forgotten.
  void Forget() { ready_ = nullptr; }

 private:
  State PeekStored(std::string_view* piece, std::function<void()> ready);
  State PeekEdited(std::string_view* piece, std::function<void()> ready);
  bool EditFailed();
  void Ask();
  void OnPiece(const absl::Status& status, rpc::Payload piece);

  ContentReader* const reader_;
  const uint64_t content_bytes_;
  const message::DowngradeOptions limits_;
  ContentsEditor* const editor_;
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

  // Of contents that do not go as they are stored.
  bool converting_ = false;
  bool unconvertible_ = false;
  bool finished_ = false;
  std::optional<message::Downgrade> edit_;
  std::string edited_;
  size_t edited_offset_ = 0;
};

}  // namespace postfleet::delivery::smtp
