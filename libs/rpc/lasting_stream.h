// A stream to a service that is opened again whenever it ends.
//
// Before each opening `prepare` may do what must come first: register, ask for a sign of life, end
// what belongs to the stream before. Then the stream is opened; when it ends, or prepare failed,
// this waits kRetryFirst, twice as long each time in a row and kRetryMax at most. A stream that
// lasted kRetryMax ends the row.
//
// To a service with replicas it is opened at the one that leads as far as is known; one that ends
// it as UNAVAILABLE is not asked again at once, and may name the leader (leader_channel.h). Where
// several are possible, let `prepare` find the leader.
//
// Everything but the callbacks of the stream itself runs on the loop. Frames of a stream come
// before its `lost` provided that on_frame posts them to the loop, and a stream is opened only
// after the one before is lost: what is posted needs no mark of its stream. Nothing is done here
// for a frame: it costs what rpc::Stream costs.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/rpc/leader_channel.h"
#include "libs/rpc/pending_calls.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"

namespace postfleet::rpc {

class LastingStream {
 public:
  static constexpr std::chrono::milliseconds kRetryFirst{20};
  // A search for a leader that is being elected is repeated so often; it delays mail by as much.
  static constexpr std::chrono::milliseconds kRetryMax{250};

  // To be called once, from any thread; false: not now, try again later. An owner that stops may
  // drop it instead.
  using Prepared = std::function<void(bool ok)>;
  struct Callbacks {
    // Empty: nothing comes first.
    std::function<void(Prepared)> prepare;
    // The callbacks of the stream to be opened, without on_closed. next_frame may be called before
    // `opened`.
    std::function<StreamCallbacks()> open;
    // May be empty.
    std::function<void()> opened;
    // Also when Stop ended the stream.
    std::function<void(const grpc::Status&)> lost;
  };
  // Time, for tests.
  struct Time {
    const Clock* clock = &SystemClock();
    // Calls `function` on the loop, later. Empty: the loop's own timer.
    std::function<void(std::chrono::milliseconds, std::function<void()> function)> after;
  };

  // `method`: "/postfleet.queue.v1.Queue/Enqueue".
  LastingStream(runtime::EventLoop& loop, std::string method, Callbacks callbacks);
  LastingStream(runtime::EventLoop& loop, std::string method, Callbacks callbacks, Time time);

  // On the loop.
  void Start(LeaderChannel channel);
  bool is_open() const { return stream_ != nullptr; }
  // There is something to send. No effect while no stream is open.
  void Kick() const {
    if (stream_ != nullptr) stream_->Kick();
  }
  // Ends the stream that is open, if one is; the next one follows as after any loss.
  void Break() const {
    if (stream_ != nullptr) stream_->Cancel();
  }

  // Not from the loop, which must run. Returns when gRPC holds nothing any more and all that was
  // posted has run. Without Start, and a second time: no effect.
  void Stop();

 private:
  void Prepare();
  void Open();
  void OnClosed(const grpc::Status& status, std::string_view told_leader);
  void Retry();

  runtime::EventLoop& loop_;
  const std::string method_;
  const Callbacks callbacks_;
  const Time time_;
  // What gRPC's callbacks hold; outlives this.
  const std::shared_ptr<PendingCalls> pending_ = std::make_shared<PendingCalls>();

  // On the loop only.
  LeaderChannel channel_;
  size_t replica_ = 0;  // of the last stream
  runtime::Timer retry_;
  std::chrono::milliseconds retry_after_ = kRetryFirst;
  std::shared_ptr<Stream> stream_;
  std::chrono::steady_clock::time_point opened_at_{};
  bool stopped_ = false;
};

}  // namespace postfleet::rpc
