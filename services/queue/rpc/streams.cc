#include "services/queue/rpc/streams.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "libs/base/maillog.h"

namespace postfleet::queue {
namespace {

// A view of contents as a slice that keeps their owner alive: nothing is copied.
grpc::Slice SharedSlice(std::string_view bytes, const std::shared_ptr<const void>& owner) {
  auto* hold = new std::shared_ptr<const void>(owner);
  return grpc::Slice(
      const_cast<char*>(bytes.data()), bytes.size(),
      [](void* user_data) { delete static_cast<std::shared_ptr<const void>*>(user_data); }, hold);
}

std::vector<v1::SubmissionId> IdsOf(const v1::EnqueueRequest& request) {
  std::vector<v1::SubmissionId> ids;
  ids.reserve(static_cast<size_t>(request.submissions_size()));
  for (const v1::Submission& submission : request.submissions()) ids.push_back(submission.id());
  return ids;
}

}  // namespace

// ---- Enqueue ----

rpc::StreamCallbacks QueueService::EnqueueStream::Open(std::shared_ptr<rpc::Stream> stream) {
  stream_ = std::move(stream);
  service_->streams_->Add(shared_from_this());
  return {.next_frame = [self = this](grpc::ByteBuffer* frame) { return self->NextFrame(frame); },
          .on_frame = [self = this](grpc::ByteBuffer frame) { self->OnFrame(frame); },
          .on_closed = [self = shared_from_this()](
                           const grpc::Status&) { self->service_->streams_->Remove(self); }};
}

void QueueService::EnqueueStream::OnFrame(const grpc::ByteBuffer& frame) {
  v1::EnqueueRequest request;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &request, &payload)) {
    maillog::Warning("queue", "an ingress sent a malformed frame; its stream is closed");
    stream_->Cancel();
    return;
  }
  if (request.submissions_size() == 0) return;
  std::vector<v1::SubmissionId> ids = IdsOf(request);
  if (service_->disk_nearly_full_) {
    return AnswerAll(ids, v1::EnqueueResult::DISK_FULL, "the queue's disk is nearly full");
  }
  Proposal proposal;
  proposal.command.mutable_submissions()->Swap(request.mutable_submissions());
  proposal.payload = std::move(payload);
  proposal.done = [self = shared_from_this(), ids](const absl::StatusOr<const Effects*>& effects) {
    if (!effects.ok()) {
      const bool full = absl::IsResourceExhausted(effects.status());
      // The client says it again, under the same ids, to whoever leads.
      const bool lost = absl::IsUnavailable(effects.status()) || absl::IsAborted(effects.status());
      if (lost) return self->stream_->Cancel();
      return self->AnswerAll(ids, full ? v1::EnqueueResult::DISK_FULL : v1::EnqueueResult::FAILED,
                             std::string(effects.status().message()));
    }
    std::vector<v1::EnqueueResult> results(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      *results[i].mutable_id() = ids[i];
      if (i < (*effects)->submissions.size()) {
        results[i].set_code((*effects)->submissions[i].code);
        results[i].set_text((*effects)->submissions[i].text);
      } else {
        results[i].set_code(v1::EnqueueResult::REFUSED);
        results[i].set_text((*effects)->refused);
      }
    }
    self->Answer(std::move(results));
  };
  if (!service_->pipeline_->Propose(std::move(proposal))) {
    AnswerAll(ids, v1::EnqueueResult::OVERLOADED, "too much waits to be written");
  }
  service_->CheckBacklog();
}

void QueueService::EnqueueStream::Answer(std::vector<v1::EnqueueResult> results) {
  for (v1::EnqueueResult& result : results) outbox_.Add(std::move(result));
  stream_->Kick();
}

void QueueService::EnqueueStream::AnswerAll(const std::vector<v1::SubmissionId>& ids,
                                            v1::EnqueueResult::Code code, const std::string& text) {
  std::vector<v1::EnqueueResult> results(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    *results[i].mutable_id() = ids[i];
    results[i].set_code(code);
    results[i].set_text(text);
  }
  Answer(std::move(results));
}

void QueueService::EnqueueStream::TellState() {
  tell_state_ = true;
  stream_->Kick();
}

bool QueueService::EnqueueStream::NextFrame(grpc::ByteBuffer* frame) {
  v1::EnqueueResponse response;
  const bool tell = tell_state_.exchange(false);
  for (v1::EnqueueResult& result : outbox_.TakeAll()) response.add_results()->Swap(&result);
  if (response.results_size() == 0 && !tell) return false;
  response.set_disk_nearly_full(service_->disk_nearly_full_);
  response.set_behind(service_->behind_);
  response.set_wait(service_->backlogged_);
  *frame = rpc::EncodeFrame(response, {});
  return true;
}

// ---- Schedule ----

rpc::StreamCallbacks QueueService::ScheduleStream::Open(std::shared_ptr<rpc::Stream> stream) {
  stream_ = std::move(stream);
  service_->streams_->Add(shared_from_this());
  return {.next_frame = [self = this](grpc::ByteBuffer* frame) { return self->NextFrame(frame); },
          .on_frame = [self = this](grpc::ByteBuffer frame) { self->OnFrame(frame); },
          .on_closed =
              [self = shared_from_this()](const grpc::Status&) {
                self->service_->state_loop_->Post([self] {
                  self->closed_ = true;
                  if (self->service_->holder_ == self) {
                    self->service_->dispatcher_.Close();
                    self->service_->holder_ = nullptr;
                    self->service_->Pump();  // nothing is out any more: some waited for that
                  }
                });
                self->service_->streams_->Remove(self);
              }};
}

void QueueService::ScheduleStream::OnFrame(const grpc::ByteBuffer& frame) {
  v1::ScheduleRequest request;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &request, &payload) || request.has_open() == open_seen_) {
    maillog::Warning("queue", "a scheduler sent a malformed frame; its stream is closed");
    stream_->Cancel();
    return;
  }
  if (!open_seen_) {
    open_seen_ = true;
    OnOpen(request.open());
  }
  OnWork(std::move(request), std::move(payload));
}

void QueueService::ScheduleStream::OnOpen(const v1::OpenPartition& open) {
  Proposal proposal;
  proposal.command.mutable_open()->set_partition(open.partition());
  proposal.command.mutable_open()->set_name(open.name());
  with_waiting_ = open.with_waiting();
  proposal.done = [self = shared_from_this()](const absl::StatusOr<const Effects*>& effects) {
    self->OnOpened(effects);
  };
  if (!service_->pipeline_->Propose(std::move(proposal), /*must=*/true)) stream_->Cancel();
}

void QueueService::ScheduleStream::OnOpened(const absl::StatusOr<const Effects*>& effects) {
  if (!effects.ok() || !(*effects)->open.opened) {
    stream_->Cancel();
    return;
  }
  epoch_ = (*effects)->open.epoch;
  // The holder before is fenced, also when this stream is gone by now: then the partition waits for
  // the next to open.
  if (service_->holder_ != nullptr && service_->holder_.get() != this) {
    service_->holder_->epoch_ = 0;
    service_->holder_->stream()->Cancel();
  }
  if (closed_) return;
  service_->holder_ = shared_from_this();
  service_->dispatcher_.Open(epoch_, service_->machine_->flush_index(), with_waiting_);
  service_->dispatcher_.AddCredit(std::exchange(credit_before_open_, 0));
  v1::ScheduleResponse response;
  response.set_epoch(epoch_);
  Send(response, {});
  Flush();
}

void QueueService::ScheduleStream::OnWork(v1::ScheduleRequest request, rpc::Payload payload) {
  if (request.outcomes_size() + request.notifies_size() + request.put_off_size() == 0) {
    if (request.credit_messages() == 0 &&
        request.released_size() + request.resting_size() + request.more_size() == 0) {
      return;
    }
    // After the outcomes of earlier frames: released messages have theirs applied by contract;
    // credit may come any time.
    service_->state_loop_->Post([self = shared_from_this(), request = std::move(request)] {
      self->TellDispatcher(request);
      self->service_->Pump();
    });
    return;
  }
  // The epoch is known only on the state loop; a frame with outcomes before the epoch was told is a
  // broken peer, refused by apply with epoch 0.
  service_->state_loop_->Post([self = shared_from_this(), request = std::move(request),
                               payload = std::move(payload)]() mutable {
    Proposal proposal;
    state::OutcomeBatch* batch = proposal.command.mutable_outcomes();
    batch->set_epoch(self->epoch_);
    batch->mutable_outcomes()->Swap(request.mutable_outcomes());
    batch->mutable_notifies()->Swap(request.mutable_notifies());
    batch->mutable_put_offs()->Swap(request.mutable_put_off());
    proposal.payload = std::move(payload);
    proposal.done = [self,
                     request = std::move(request)](const absl::StatusOr<const Effects*>& effects) {
      self->OnOutcomesApplied(effects);
      self->TellDispatcher(request);
    };
    if (!self->service_->pipeline_->Propose(std::move(proposal), /*must=*/true)) {
      self->stream_->Cancel();
    }
  });
}

void QueueService::ScheduleStream::OnOutcomesApplied(
    const absl::StatusOr<const Effects*>& effects) {
  // Nothing is known to be durable, or another scheduler has the partition: this one starts over.
  if (!effects.ok() || !(*effects)->refused.empty()) {
    stream_->Cancel();
    return;
  }
  v1::ScheduleResponse response;
  const auto add = [&response](const OutcomeEffect& effect) {
    v1::Committed* committed = response.add_committed();
    committed->set_queue_id(effect.queue_id);
    committed->set_removed(effect.removed);
    committed->set_late(effect.late);
    if (!effect.refused.empty()) {
      maillog::Warning("queue", effect.queue_id, ": notice refused: ", effect.refused);
    }
  };
  for (const OutcomeEffect& effect : (*effects)->outcomes) {
    add(effect);
    if (!effect.late) continue;
    // The final dot was sent before the worker could be told.
    maillog::Warning("queue", effect.queue_id,
                     ": an outcome came too late: the message was deleted before");
  }
  for (const OutcomeEffect& effect : (*effects)->put_offs) add(effect);
  for (const OutcomeEffect& effect : (*effects)->notifies) add(effect);
  Send(response, {});
}

void QueueService::ScheduleStream::TellDispatcher(const v1::ScheduleRequest& request) {
  if (service_->holder_.get() != this) {
    credit_before_open_ += request.credit_messages();
    return;
  }
  service_->dispatcher_.AddCredit(request.credit_messages());
  for (const std::string& queue_id : request.released()) service_->dispatcher_.OnReleased(queue_id);
  for (const v1::Rest& rest : request.resting()) {
    service_->dispatcher_.OnResting(rest.queue_id(), rest.until_ms());
  }
  for (const std::string& queue_id : request.more()) service_->dispatcher_.OnMoreWanted(queue_id);
}

void QueueService::ScheduleStream::Send(const v1::ScheduleResponse& response,
                                        rpc::Payload payload) {
  const size_t bytes = response.ByteSizeLong() + rpc::PayloadBytes(payload);
  ++parts_waiting_;
  outbox_.Add({.response = response, .payload = std::move(payload), .bytes = bytes});
}

bool QueueService::ScheduleStream::TakesMore() {
  if (parts_waiting_ < kFramesWaitingMax) return true;
  pump_when_written_ = true;
  return parts_waiting_ < kFramesWaitingMax;  // a write may just have ended
}

bool QueueService::ScheduleStream::NextFrame(grpc::ByteBuffer* frame) {
  std::vector<Part> parts =
      outbox_.Take(rpc::kFrameBytes, [](const Part& part) { return part.bytes; });
  if (parts.empty()) return false;
  parts_waiting_ -= parts.size();
  v1::ScheduleResponse response = std::move(parts.front().response);
  rpc::Payload payload = std::move(parts.front().payload);
  for (size_t i = 1; i < parts.size(); ++i) {
    response.MergeFrom(parts[i].response);
    payload.insert(payload.end(), std::make_move_iterator(parts[i].payload.begin()),
                   std::make_move_iterator(parts[i].payload.end()));
  }
  *frame = rpc::EncodeFrame(response, payload);
  if (pump_when_written_.exchange(false)) {
    service_->state_loop_->Post([service = service_] { service->Pump(); });
  }
  return true;
}

// ---- Fetch ----

rpc::StreamCallbacks QueueService::FetchStream::Open(std::shared_ptr<rpc::Stream> stream) {
  stream_ = std::move(stream);
  service_->streams_->Add(shared_from_this());
  return {.next_frame = [self = this](grpc::ByteBuffer* frame) { return self->NextFrame(frame); },
          .on_frame =
              [self = this](const grpc::ByteBuffer& frame) {
                v1::FetchRequest request;
                rpc::Payload none;
                if (!rpc::DecodeFrame(frame, &request, &none)) return self->stream_->Cancel();
                self->requests_.Add(std::move(request));
                self->stream_->Kick();
              },
          .on_closed = [self = shared_from_this()](
                           const grpc::Status&) { self->service_->streams_->Remove(self); }};
}

// One chunk a frame. Reads the store on gRPC's thread.
bool QueueService::FetchStream::NextFrame(grpc::ByteBuffer* frame) {
  const std::vector<v1::FetchRequest> requests =
      requests_.Take(0, [](const v1::FetchRequest&) { return size_t{1}; });
  if (requests.empty()) return false;
  const v1::FetchRequest& request = requests.front();
  absl::StatusOr<Chunk> chunk = service_->reader_->ReadChunk(request.queue_id(), request.chunk());
  v1::FetchResponse response;
  response.set_queue_id(request.queue_id());
  response.set_chunk(request.chunk());
  response.set_found(chunk.ok() && chunk->found);
  // What should be there and is not is damage too: the message must be neither delivered nor
  // dropped.
  const bool given = chunk.ok() && chunk->found && !chunk->corrupt;
  response.set_corrupt(!given && service_->JudgeMissingChunk(request, chunk));
  rpc::Payload payload;
  if (given && !chunk->bytes.empty()) payload.push_back(rpc::OwningSlice(std::move(chunk->bytes)));
  *frame = rpc::EncodeFrame(response, payload);
  return true;
}

void QueueService::StreamSet::CancelAll() {
  std::set<std::shared_ptr<EnqueueStream>> enqueue;
  std::set<std::shared_ptr<ScheduleStream>> schedule;
  std::set<std::shared_ptr<FetchStream>> fetch;
  {
    std::lock_guard lock(mutex_);
    enqueue = enqueue_;
    schedule = schedule_;
    fetch = fetch_;
  }
  for (const auto& stream : enqueue) stream->stream()->Cancel();
  for (const auto& stream : schedule) stream->stream()->Cancel();
  for (const auto& stream : fetch) stream->stream()->Cancel();
}

// ---- Dispatch ----

void QueueService::Pump() {
  withholding_.OnSettled();
  absl::Cleanup say = [this] { behind_ = dispatcher_.is_behind(); };
  if (holder_ == nullptr || !dispatcher_.is_open()) return;
  const int64_t now_ms = clock_->WallMillis();
  bool sent = false;
  bool more = true;
  bool only_looked = false;
  while (more && !only_looked && holder_->TakesMore()) {
    absl::StatusOr<DispatchBatch> batch = dispatcher_.Take(now_ms, rpc::kFrameBytes);
    if (!batch.ok()) {
      maillog::Error("queue", "read the store: ", std::string(batch.status().message()));
      holder_->stream()->Cancel();
      return;
    }
    more = batch->more;
    if (!batch->index_damage.empty()) {
      maillog::Warning(
          "queue", "an index of the store is damaged: ", batch->index_damage,
          "; mail is found by looking at all of it; `postfleet queue verify` says more");
    }
    for (const DamagedMessage& damaged : batch->damaged) {
      MarkCorrupt(damaged.queue_id, damaged.reason);
    }
    if (batch->empty()) {
      only_looked = more;
      continue;
    }
    SendBatch(&*batch);
    sent = true;
  }
  if (sent) holder_->Flush();
  // A pass over much that gives nothing out lets others have their turn in between.
  if (only_looked) return PumpLater();
  if (more) return;  // the stream is full: it posts this again once it has written
  if (const std::optional<int64_t> due_ms = dispatcher_.NextDueMs()) {
    // At most an hour: a wild time would overflow the timer's clock.
    due_timer_.Set(std::chrono::milliseconds(std::clamp<int64_t>(*due_ms - now_ms, 0, 3'600'000)),
                   [this] { Pump(); });
  }
}

void QueueService::PumpLater() {
  if (std::exchange(pump_posted_, true)) return;
  state_loop_->Post([this] {
    pump_posted_ = false;
    Pump();
  });
}

void QueueService::SendBatch(DispatchBatch* batch) {
  v1::ScheduleResponse response;
  rpc::Payload payload;
  for (Activated& activated : batch->activations) {
    for (std::string_view piece : activated.payload) {
      payload.push_back(SharedSlice(piece, activated.payload_owner));
    }
    response.add_activations()->Swap(&activated.activation);
  }
  for (std::string& queue_id : batch->deleted) response.add_deleted(std::move(queue_id));
  for (std::string& queue_id : batch->recalled) response.add_recalled(std::move(queue_id));
  response.set_flushed(batch->flushed);
  holder_->Send(response, std::move(payload));
}

}  // namespace postfleet::queue
