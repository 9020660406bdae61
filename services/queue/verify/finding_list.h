// What a check found so far, and how far it is: fills VerifyProgress messages and hands them to the
// listener. Not thread-safe.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/queue/verify/verify.h"

namespace postfleet::queue {

class FindingList {
 public:
  explicit FindingList(const VerifyListener* listener) : listener_(listener) {}

  void Add(std::string text) {
    if (muted_) return;
    progress_.set_findings_total(progress_.findings_total() + 1);
    if (progress_.findings_total() <= kFindingsToldMax) progress_.add_findings(std::move(text));
  }
  // While a part is read a second time: it was told of.
  void Mute(bool muted) { muted_ = muted; }
  bool muted() const { return muted_; }

  // Counts. Nothing is counted twice.
  v1::VerifyProgress* progress() { return &progress_; }

  // To be called for each row. False: the listener wants no more.
  bool Step() { return ++steps_ % kStepsPerCall != 0 || Tell(); }
  bool Tell() {
    wanted_ = wanted_ && (*listener_)(progress_);
    progress_.clear_findings();
    return wanted_;
  }
  bool wanted() const { return wanted_; }
  void Done() {
    progress_.set_done(true);
    Tell();
  }

 private:
  static constexpr uint64_t kStepsPerCall = 8'192;

  const VerifyListener* const listener_;
  v1::VerifyProgress progress_;
  uint64_t steps_ = 0;
  bool muted_ = false;
  bool wanted_ = true;
};

}  // namespace postfleet::queue
