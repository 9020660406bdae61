// Hands submissions to the queue and brings the results back: Register once, then one Enqueue
// stream, to whichever of its replicas leads.
//
// What was not answered when the stream was lost is sent again on the next one under the same id
// (the queue knows repeated ids). `resend_max` after it first met a loss, a submission is answered
// FAILED if there is no stream then; it may have been committed all the same, and the client's
// retry is then a second copy. While a stream is there, answers are waited for. On the loop.
//
// Another leader is a lost stream and no more: it knows the incarnation and the chunks so far.
#pragma once

#include <grpcpp/client_context.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "libs/base/clock.h"
#include "libs/base/queue_id.h"
#include "libs/rpc/lasting_stream.h"
#include "libs/rpc/leader_channel.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/payload.h"
#include "libs/runtime/event_loop.h"
#include "libs/submission/buffer_budget.h"
#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::submission {

// Who waits for answers. Called on the loop, never from within a request.
class Requester {
 public:
  virtual ~Requester() = default;
  virtual void OnFlushed(bool started) = 0;
  // `final`: the answer to the submission that has the message.
  virtual void OnEnqueued(const std::string& queue_id, bool final,
                          queue::v1::EnqueueResult::Code code) = 0;
};

class EnqueueClient {
 public:
  static constexpr size_t kFramePayloadBytesMax = 1 << 20;

  struct Options {
    std::string name;  // for the queue's logs
    rpc::LeaderChannel channel;
    const Clock* clock = nullptr;
    std::chrono::milliseconds resend_max{5'000};
    // The stream came or went.
    std::function<void()> on_change;
  };
  EnqueueClient(runtime::EventLoop& loop, Options options, BufferBudget& budget);

  void Start();
  void Stop();  // not from the loop

  // The queue knows us, and what is sent reaches it.
  bool connected() const { return stream_.is_open() && incarnation_ != 0; }
  bool NextQueueIdIsKnown() const { return minter_.has_value(); }
  bool disk_nearly_full() const { return disk_nearly_full_; }
  // The queue has said so within kBehindAgeMax: while mail comes in, it says so again.
  static constexpr std::chrono::seconds kBehindAgeMax{2};
  bool behind() const;
  // Empty: not registered yet.
  std::string NextQueueId();
  // An id for Send, so that it can be written down before the queue sees it; incarnation 0: not
  // registered yet.
  queue::v1::SubmissionId ReserveId();
  // `requester` may be null: nobody waits (an abandon). A submission that has an id keeps it, be it
  // of another process, which may have sent it: it is applied once.
  // `content` is its payload, whose length and checksum it has.
  void Send(queue::v1::Submission submission, std::string content,
            std::shared_ptr<Requester> requester);
  // Deferred mail of `site` is to be tried now: answered within kFlushMax.
  static constexpr std::chrono::seconds kFlushMax{10};
  void Flush(std::string site, std::shared_ptr<Requester> requester);
  // Answers what was resent for too long. To be called now and then.
  void GiveUpOld();

 private:
  struct Entry {
    queue::v1::Submission submission;
    rpc::Payload payload;
    std::shared_ptr<Requester> requester;
    // When it was first without a stream.
    std::optional<std::chrono::steady_clock::time_point> cut_off_at;
  };

  // Calls of Flush that are open, each with its last context; they may end on any thread.
  struct Flushes {
    std::mutex mutex;
    std::condition_variable changed;
    uint64_t next = 1;
    std::map<uint64_t, std::shared_ptr<grpc::ClientContext>> open;
    bool stopped = false;
  };

  bool NextFrame(grpc::ByteBuffer* frame);
  std::shared_ptr<grpc::ClientContext> FlushContext(uint64_t flush,
                                                    std::chrono::system_clock::time_point deadline);
  void Prepare(std::function<void(bool)> done);
  rpc::StreamCallbacks Open();
  void Lost();
  void KickSoon();
  void OnResponse(const queue::v1::EnqueueResponse& response);
  void Answer(const std::shared_ptr<Entry>& entry, queue::v1::EnqueueResult::Code code);
  void ForgetIncarnation();

  runtime::EventLoop& loop_;
  const Options options_;
  BufferBudget& budget_;
  rpc::LastingStream stream_;
  rpc::Outbox<std::shared_ptr<Entry>> outbox_;  // of the stream that is open

  Flushes flushes_;

  uint64_t incarnation_ = 0;
  uint64_t next_sequence_ = 1;
  std::optional<QueueIdMinter> minter_;
  using Key = std::pair<uint64_t, uint64_t>;  // incarnation, sequence
  static Key KeyOf(const queue::v1::SubmissionId& id) { return {id.incarnation(), id.sequence()}; }
  absl::flat_hash_map<Key, std::shared_ptr<Entry>> unanswered_;
  bool kick_posted_ = false;
  // The queue wants nothing more now; written where frames come in, so that the next one is held.
  std::atomic<bool> wait_{false};
  bool was_told_to_wait_ = false;
  bool disk_nearly_full_ = false;
  std::optional<std::chrono::steady_clock::time_point> behind_at_;
};

}  // namespace postfleet::submission
