// The agent of the transport "bounce": makes the notice about a message's bounced recipients and
// hands it back as a submission, which the queue commits together with the end of those recipients;
// or the warning that a message is late, which ends nothing.
//
// No notice: for a message from the null sender, from $double_bounce_sender, or that is a notice
// itself; the result has none then, and the recipients end all the same. Contents that cannot be
// read: notice_failed, and it is tried again. A notice is one chunk of at most kNoticeBytesMax
// bytes. Of the original no more is held than goes into it.
//
// Log: "QID: sender non-delivery notification: NEWQID" ("sender delay notification"), and cleanup's
// line with the notice's message-id.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/config/config.h"
#include "services/delivery/bounce/notice.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

struct BounceOptions {
  NoticeNames names;
  uint64_t size_limit = 50000;  // bounce_size_limit: above it only the header returns
  std::string double_bounce_sender = "double-bounce";

  static BounceOptions FromConfig(const config::Config& config);
};

class BounceAgent : public Agent {
 public:
  explicit BounceAgent(BounceOptions options, const Clock& clock = SystemClock());

  void Start(std::unique_ptr<Attempt> attempt) override;
  // Answers notice_failed.
  void Cancel(uint64_t delivery_id) override;
  void CloseIdle() override {}

 private:
  struct Running {
    std::unique_ptr<Attempt> attempt;
    bool whole = false;
    std::string contents;  // so far
  };

  bool IsNotified(const scheduler::v1::Delivery& delivery) const;
  void Read(uint64_t delivery_id);
  void OnContents(uint64_t delivery_id, const absl::Status& status, const rpc::Payload& payload);
  // Enough has been read.
  void Compose(uint64_t delivery_id);
  void Fail(uint64_t delivery_id, std::string_view why);
  void Finish(uint64_t delivery_id, AttemptResult result);

  const BounceOptions options_;
  const Clock& clock_;
  std::map<uint64_t, Running> running_;  // by delivery id
};

}  // namespace postfleet::delivery
