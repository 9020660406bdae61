// Asks lookup's Resolve stream; queries of one turn of the loop share a frame. Queries outlive a
// lost stream; one that waits longer than kAnswerMax is answered with a failure. On the loop.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <functional>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "libs/base/clock.h"
#include "libs/rpc/lasting_stream.h"
#include "libs/rpc/outbox.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/lookup/v1/lookup.pb.h"

namespace postfleet::routing {

// Who waits for an answer. Called on the loop, never from within a request.
class Requester {
 public:
  virtual ~Requester() = default;
  virtual void OnResolved(const lookup::v1::Answer& answer) = 0;
};

class ResolveClient {
 public:
  static constexpr std::chrono::seconds kAnswerMax{30};

  ResolveClient(runtime::EventLoop& loop, std::shared_ptr<grpc::Channel> channel,
                const Clock& clock, std::function<void()> on_change);

  void Start();
  void Stop();  // not from the loop

  // The service answered on this stream.
  bool connected() const { return answered_; }
  // `query` lacks its id.
  void Ask(lookup::v1::Query query, std::shared_ptr<Requester> requester);
  // Answers what waited for too long. To be called now and then.
  void GiveUpOld();

 private:
  struct Entry {
    lookup::v1::Query query;
    std::shared_ptr<Requester> requester;
    std::chrono::steady_clock::time_point since;
  };

  bool NextFrame(grpc::ByteBuffer* frame);
  rpc::StreamCallbacks Open();
  void Lost();
  void KickSoon();
  void OnResponse(const lookup::v1::ResolveResponse& response);

  runtime::EventLoop& loop_;
  const Clock& clock_;
  const std::function<void()> on_change_;
  const std::shared_ptr<grpc::Channel> channel_;
  rpc::LastingStream stream_;
  rpc::Outbox<std::shared_ptr<Entry>> outbox_;  // of the stream that is open
  uint64_t next_id_ = 1;
  absl::flat_hash_map<uint64_t, std::shared_ptr<Entry>> unanswered_;
  bool answered_ = false;
  bool kick_posted_ = false;
};

}  // namespace postfleet::routing
