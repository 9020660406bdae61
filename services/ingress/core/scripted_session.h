// For tests: a Session with a lookup and a queue that answer at once, or when told.
//
// Recipients: *@localhost local (bob, root exist), *@virt.example virtual mailbox (alice),
// *@relay.example relay (carl), err.example's transport is error, fail.example's table cannot be
// read; the rest is foreign.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "services/ingress/core/session.h"

namespace postfleet::ingress {

class ScriptedSession : public Surroundings {
 public:
  static SessionConfig Config();
  static ConnectionFacts Facts();
  // `main_cf` on top of the defaults.
  static std::shared_ptr<CommandRules> Rules(std::string_view main_cf = {});
  static std::shared_ptr<RejectFooter> Footer(std::string_view main_cf);
  static lookup::v1::Answer Answer(const std::string& recipient, bool check_listed);

  explicit ScriptedSession(SessionConfig config = Config(), ConnectionFacts facts = Facts());

  // Each gives the bytes that went to the client meanwhile.
  std::string Connect();
  std::string Say(std::string_view bytes);
  std::string SayLine(std::string_view line) { return Say(std::string(line) + "\r\n"); }
  // Answers what waits (with auto_answer off).
  std::string AnswerLookup();
  std::string AnswerQueue(queue::v1::EnqueueResult::Code code);
  std::string EndDelay();
  std::string Timeout();
  std::string Shutdown();
  void Disconnect();

  Session& session() { return *session_; }
  // The log without control of order between programs: "smtpd: connect from ...".
  std::vector<std::string> log;
  std::vector<RejectEvent> rejects;
  std::vector<Submit> submits;
  std::vector<std::string> flushes;
  int64_t delayed_ms = 0;  // in sum
  bool closed = false;
  bool accepted = false;
  size_t buffered_bytes_peak = 0;

  // How the world behaves.
  bool auto_answer = true;
  bool auto_delay = true;
  queue::v1::EnqueueResult::Code queue_code = queue::v1::EnqueueResult::COMMITTED;
  bool queue_reached = true;
  bool queue_is_there = true;
  bool disk_nearly_full = false;
  bool queue_is_behind = false;
  bool buffers_full = false;
  bool flush_starts = true;
  FakeClock clock;

  // All contents of a queue id, chunk after chunk.
  std::string ContentOf(std::string_view queue_id) const;
  std::string LastContent() const;

  int64_t WallMillis() override { return clock.WallMillis(); }
  message::MailTime MailTimeAt(int64_t wall_ms) override { return {.seconds = wall_ms / 1000}; }
  bool QueueIsThere() override { return queue_is_there; }
  std::string NextQueueId() override;
  bool DiskNearlyFull() override { return disk_nearly_full; }
  bool QueueIsBehind() override { return queue_is_behind; }
  bool BuffersFull() override { return buffers_full; }

 private:
  std::string Perform(Actions& actions);
  void Take(Actions& actions, std::string* out);

  const SessionConfig config_;
  std::unique_ptr<Session> session_;
  int ids_ = 0;
  std::optional<Resolve> resolve_;
  bool flush_waits_ = false;
  size_t answered_submits_ = 0;
  int64_t delay_ms_ = 0;
};

}  // namespace postfleet::ingress
