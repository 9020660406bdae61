// The three streams of the queue's contract, served. Internal to services/queue/rpc.
#pragma once

#include <set>

#include "services/queue/rpc/queue_service.h"

namespace postfleet::queue {

class QueueService::EnqueueStream : public std::enable_shared_from_this<EnqueueStream> {
 public:
  explicit EnqueueStream(QueueService* service) : service_(service) {}

  rpc::StreamCallbacks Open(std::shared_ptr<rpc::Stream> stream);
  // A flag has changed. Any thread.
  void TellState();
  rpc::Stream* stream() const { return stream_.get(); }

 private:
  void OnFrame(const grpc::ByteBuffer& frame);
  void Answer(std::vector<v1::EnqueueResult> results);
  void AnswerAll(const std::vector<v1::SubmissionId>& ids, v1::EnqueueResult::Code code,
                 const std::string& text);
  bool NextFrame(grpc::ByteBuffer* frame);

  QueueService* const service_;
  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<v1::EnqueueResult> outbox_;
  std::atomic<bool> tell_state_{true};
};

class QueueService::ScheduleStream : public std::enable_shared_from_this<ScheduleStream> {
 public:
  explicit ScheduleStream(QueueService* service) : service_(service) {}

  rpc::StreamCallbacks Open(std::shared_ptr<rpc::Stream> stream);

  // On the state loop.
  void Send(const v1::ScheduleResponse& response, rpc::Payload payload);
  // Whether the stream takes more; if not, the service's Pump is posted once it does. On the state
  // loop.
  bool TakesMore();
  void Flush() { stream_->Kick(); }
  rpc::Stream* stream() const { return stream_.get(); }

 private:
  // Frames that may wait to be written.
  static constexpr size_t kFramesWaitingMax = 4;

  struct Part {
    v1::ScheduleResponse response;
    rpc::Payload payload;
    size_t bytes = 0;
  };

  void OnFrame(const grpc::ByteBuffer& frame);
  void OnOpen(const v1::OpenPartition& open);
  void OnOpened(const absl::StatusOr<const Effects*>& effects);
  void OnWork(v1::ScheduleRequest request, rpc::Payload payload);
  void OnOutcomesApplied(const absl::StatusOr<const Effects*>& effects);
  // What of a frame is not durable: credit, releases, and wishes for more recipients.
  void TellDispatcher(const v1::ScheduleRequest& request);
  bool NextFrame(grpc::ByteBuffer* frame);

  QueueService* const service_;
  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<Part> outbox_;
  std::atomic<size_t> parts_waiting_{0};
  std::atomic<bool> pump_when_written_{false};

  // State loop only. 0: not open yet, or fenced.
  uint64_t epoch_ = 0;
  bool with_waiting_ = false;
  uint32_t credit_before_open_ = 0;
  bool closed_ = false;
  // on_frame only.
  bool open_seen_ = false;
};

class QueueService::FetchStream : public std::enable_shared_from_this<FetchStream> {
 public:
  explicit FetchStream(QueueService* service) : service_(service) {}

  rpc::StreamCallbacks Open(std::shared_ptr<rpc::Stream> stream);
  rpc::Stream* stream() const { return stream_.get(); }

 private:
  bool NextFrame(grpc::ByteBuffer* frame);

  QueueService* const service_;
  std::shared_ptr<rpc::Stream> stream_;
  // Requests, not contents, wait: a chunk is read when it can be written.
  rpc::Outbox<v1::FetchRequest> requests_;
};

class QueueService::StreamSet {
 public:
  void Add(std::shared_ptr<EnqueueStream> stream) { Insert(&enqueue_, std::move(stream)); }
  void Add(std::shared_ptr<ScheduleStream> stream) { Insert(&schedule_, std::move(stream)); }
  void Add(std::shared_ptr<FetchStream> stream) { Insert(&fetch_, std::move(stream)); }
  void Remove(const std::shared_ptr<EnqueueStream>& stream) { Erase(&enqueue_, stream); }
  void Remove(const std::shared_ptr<ScheduleStream>& stream) { Erase(&schedule_, stream); }
  void Remove(const std::shared_ptr<FetchStream>& stream) { Erase(&fetch_, stream); }

  std::set<std::shared_ptr<EnqueueStream>> enqueue_streams() {
    std::lock_guard lock(mutex_);
    return enqueue_;
  }
  void CancelAll();

 private:
  template <typename T>
  void Insert(std::set<std::shared_ptr<T>>* set, std::shared_ptr<T> stream) {
    std::lock_guard lock(mutex_);
    set->insert(std::move(stream));
  }
  template <typename T>
  void Erase(std::set<std::shared_ptr<T>>* set, const std::shared_ptr<T>& stream) {
    std::lock_guard lock(mutex_);
    set->erase(stream);
  }

  std::mutex mutex_;
  std::set<std::shared_ptr<EnqueueStream>> enqueue_;
  std::set<std::shared_ptr<ScheduleStream>> schedule_;
  std::set<std::shared_ptr<FetchStream>> fetch_;
};

}  // namespace postfleet::queue
