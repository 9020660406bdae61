// The agent of the transport "bounce": makes the notice about a message's recipients and hands it
// back as a submission, which the queue commits together with the end of those recipients; or the
// warning that a message is late, which ends nothing. With it, for notify_classes, a copy for the
// postmaster: of what failed (bounce), of what is late (delay), and of mail from the null sender
// that failed (2bounce), about which nobody else is told.
//
// No notice: for a message from the null sender, or where no recipient's NOTIFY asks for one. A
// Where parts of an alias failed and the sender wants to know of success, there is a notice of
// success beside that of the failure, in the place of the copy; none where there is a copy. A
// copy comes from $double_bounce_sender; when it fails nobody is told, so notices never go round.
// Contents that cannot be read: notice_failed, and it is tried again. A notice is one chunk of at
// most kNoticeBytesMax bytes. Of the original no more is held than goes into it: a message that
// failed whole, unless RET=HDRS was said or it is larger than bounce_size_limit; else its header.
//
// Log: "QID: sender non-delivery notification: NEWQID" ("sender delay notification", "sender
// delivery status notification", "postmaster non-delivery notification", ...), and cleanup's line
// with the notice's message-id.
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
  // Who gets the copies of a class; empty: it is not one of notify_classes. Whole addresses.
  std::string bounce_recipient;
  std::string double_bounce_recipient;
  // Who is told in the null sender's place of what arrived: as above, of class 2bounce alone.
  std::string null_success_recipient;
  std::string delay_recipient;
  bool detect_smtputf8 = false;  // smtputf8_autodetect_classes has bounce

  // A bounce_template_file that is wrong is warned of; what is built in takes its place.
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
    NoticeKind kind = NoticeKind::kFailure;
    bool sender = false;     // is told
    bool success = false;    // of a failure in part the sender is told, too, what was expanded
    bool trace = false;      // the report of `sendmail -v` goes beside a non-delivery notice
    std::string postmaster;  // is told; empty: not
    bool whole = false;
    std::string contents;  // so far
  };

  Running Judge(const scheduler::v1::Delivery& delivery) const;
  bool IsDoubleBounceSender(const std::string& sender) const;
  void Read(uint64_t delivery_id);
  void OnContents(uint64_t delivery_id, const absl::Status& status, const rpc::Payload& payload);
  // Enough has been read.
  void Compose(uint64_t delivery_id);
  void Submit(const Running& running, const NoticeRequest& request, bool whole,
              queue::v1::Submission* notice, AttemptResult* result);
  void Fail(uint64_t delivery_id, std::string_view why);
  void Finish(uint64_t delivery_id, AttemptResult result);

  const BounceOptions options_;
  const Clock& clock_;
  std::map<uint64_t, Running> running_;  // by delivery id
};

}  // namespace postfleet::delivery
