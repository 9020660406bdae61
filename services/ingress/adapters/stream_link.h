// Keeps one stream to a service open: probes the service, opens the stream, and does both again
// when it ends.
//
// Everything but `next_frame` and `decode` runs on the loop. Stop waits for the end of what gRPC
// still holds. Between attempts: kRetryFirst, doubled up to kRetryMax.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "libs/rpc/pending_calls.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"

namespace postfleet::ingress {

class StreamLink {
 public:
  static constexpr std::chrono::milliseconds kRetryFirst{20};
  static constexpr std::chrono::milliseconds kRetryMax{1000};

  struct Callbacks {
    // Asks the service for a sign of life; calls `done(ok)` from any thread. Empty: not needed.
    std::function<void(std::function<void(bool)> done)> probe;
    // The stream is there: the callbacks to open it with (next_frame and on_frame run on gRPC's
    // threads).
    std::function<rpc::StreamCallbacks()> open;
    std::function<void(std::shared_ptr<rpc::Stream>)> opened;
    std::function<void()> lost;
  };

  StreamLink(runtime::EventLoop& loop, std::shared_ptr<grpc::Channel> channel, std::string method,
             Callbacks callbacks);
  ~StreamLink();

  // On the loop.
  void Start();
  // The service gave a sign of life: the next retry is soon again.
  void Alive() { retry_after_ = kRetryFirst; }
  // Not from the loop; the loop must still run.
  void Stop();

 private:
  void Probe();
  void Open();
  void Retry();

  runtime::EventLoop& loop_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::string method_;
  const Callbacks callbacks_;
  // What gRPC's callbacks hold; outlives the link.
  const std::shared_ptr<rpc::PendingCalls> pending_ = std::make_shared<rpc::PendingCalls>();
  runtime::Timer retry_;
  std::chrono::milliseconds retry_after_ = kRetryFirst;
  std::shared_ptr<rpc::Stream> stream_;
  bool stopped_ = false;
};

}  // namespace postfleet::ingress
