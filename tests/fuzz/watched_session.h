// A session of the server whose every action is checked, in a world that can be told how to behave.
//
// What a client and the services behind may rely on, whatever either says:
//   - replies are lines of three digits, "-" or " ", printable text and CRLF, of at most 512 bytes
//     (RFC 5321, 4.5.3.1.5), the last of each alone without the "-"; never more of them than the
//     banner, one a line that came, and the last word;
//   - "queued as ID" follows the queue's COMMITTED for the whole of ID, once;
//   - chunks come in order, whole, by their checksums, no more than two unanswered ones; a message
//     is either handed over or, if anything of it was, taken back; nothing follows either;
//   - a recipient was accepted with 250, and no line end is in any address;
//   - what the queue has of a body is what was sent, by a decoder of its own that is slow and plain
//     (pieces of one byte only: what is content is known byte by byte);
//   - memory stays bounded, and a session that does not read waits for something;
//   - the end is logged once, and nothing comes after it.
// A broken promise aborts.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "services/ingress/core/session.h"

namespace postfleet::ingress {

class WatchedSession : public Surroundings {
 public:
  // What happens without being told.
  struct AtOnce {
    bool lookup = true;
    bool queue = true;
    bool flush = true;
    bool delay = true;
  };
  enum class Lookup {
    kByTable,  // ScriptedSession::Answer
    kTableFailed,
    kFailed,
    kMalformed,
    kNoSuchUser,
    kAlias,
    kErrorTransport,
    kGarbage
  };

  WatchedSession(const SessionConfig& config, ConnectionFacts facts, size_t piece_bytes);

  AtOnce at_once;
  // Chunks are answered with COMMITTED, at once.
  bool chunks_are_taken = false;
  Lookup lookup = Lookup::kByTable;
  queue::v1::EnqueueResult::Code queue_code = queue::v1::EnqueueResult::COMMITTED;
  bool flush_starts = true;
  bool queue_is_there = true;
  bool queue_reached = true;
  bool disk_nearly_full = false;
  bool queue_is_behind = false;
  bool buffers_full = false;

  void Connect(bool ready);
  // It waits on the wire until the session reads.
  void Send(std::string_view bytes);
  // Each does nothing if nothing waits for it.
  void AnswerLookup();
  void AnswerQueue();
  void AnswerFlush();
  void EndDelay();
  void Timeout();
  void Shutdown();
  void Disconnect();
  void PassTime(int64_t ms) { clock_.AdvanceMillis(ms); }
  // The client goes, and all answers that are late come.
  void Finish();

  // Replies, and messages as they were handed over.
  const std::string& transcript() const { return transcript_; }

  int64_t WallMillis() override { return clock_.WallMillis(); }
  message::MailTime MailTimeAt(int64_t wall_ms) override { return {.seconds = wall_ms / 1000}; }
  bool QueueIsThere() override { return queue_is_there; }
  std::string NextQueueId() override;
  bool DiskNearlyFull() override { return disk_nearly_full; }
  bool QueueIsBehind() override { return queue_is_behind; }
  bool BuffersFull() override { return buffers_full; }

 private:
  // A message, as the queue sees it.
  struct Message {
    uint32_t chunks = 0;
    std::string content;
    bool handed_over = false;
    bool taken_back = false;
    bool chunk_refused = false;
    bool committed = false;
    bool told = false;  // the client, with a 250
  };
  struct Unanswered {
    std::string queue_id;
    bool final = false;
  };

  template <typename Event>
  void Happens(const Event& event);
  void Settle();
  bool AnswerOne();
  void ReadWire();

  void Take(const Actions& actions);
  void CheckLines(std::string_view reply);
  void CheckReply(int code, std::string_view text);
  void CheckSubmit(const Submit& submit);
  void CheckMessage(const Message& message, const queue::v1::NewMessage& envelope);
  void CheckBody(const std::string& content) const;
  void CheckWaits() const;
  lookup::v1::Answer Answer(const Resolve& resolve) const;

  const SessionConfig& config_;
  const bool bare_newlines_are_free_;
  const size_t piece_bytes_;
  FakeClock clock_;
  Session session_;

  std::string wire_;
  size_t wire_read_ = 0;
  std::optional<Resolve> resolve_;
  bool flush_waits_ = false;
  bool delay_waits_ = false;
  std::deque<Unanswered> unanswered_;

  bool settling_ = false;
  bool closed_ = false;
  bool gone_ = false;
  int ids_ = 0;
  int64_t replies_ = 0;
  int64_t lines_sent_ = 0;
  int reply_code_ = 0;  // of a reply whose lines go on
  int recipients_accepted_ = 0;
  int ends_logged_ = 0;
  std::map<std::string, Message> messages_;
  std::string open_id_;  // some of it is with the queue, but not all
  // Of the current message, in pieces of one byte.
  std::string raw_content_;
  bool raw_is_chunks_ = false;
  std::string transcript_;
};

}  // namespace postfleet::ingress
