// One end of a long-lived bidirectional stream of frames.
//
// At most one write is in flight. A producer keeps what it has to say in its own outbox and calls
// Kick(); the stream then asks `next_frame` for one frame with everything that waits. What gathers
// while a write is in flight goes into the next frame: batches form under load, and a lone item
// waits for nobody.
//
// Callbacks come on gRPC's threads: `next_frame` one at a time, `on_frame` one at a time and in
// order, the two possibly at once. They must not block; they hand over to a loop. `on_closed` comes
// once, after the last of the others. A Stream lives until then by itself; a holder of the
// shared_ptr may Kick or Cancel at any time, also afterwards.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <functional>
#include <memory>
#include <string>

namespace postfleet::rpc {

struct StreamCallbacks {
  // False: there is nothing to send now.
  std::function<bool(grpc::ByteBuffer*)> next_frame;
  std::function<void(grpc::ByteBuffer)> on_frame;
  std::function<void(const grpc::Status&)> on_closed;
  // The opening end, may be empty: before on_closed, when the service ended the stream since it
  // does not lead. What it named as leader's address (leader.h); empty: it knows of none.
  std::function<void(std::string leader_address)> on_not_leader = nullptr;
};

class Stream {
 public:
  virtual ~Stream() = default;
  // There is something to send. Thread-safe; cheap when a write is in flight. It may run callbacks
  // of this and other streams before it returns: hold no lock that they take. Not from next_frame.
  virtual void Kick() = 0;
  // Ends the stream as soon as possible; on_closed follows. Thread-safe.
  virtual void Cancel() = 0;
};

// Opens `method` ("/postfleet.queue.v1.Queue/Enqueue"), and asks for a first frame. When the peer
// is not there, on_closed says UNAVAILABLE.
std::shared_ptr<Stream> OpenStream(const std::shared_ptr<grpc::Channel>& channel,
                                   const std::string& method, StreamCallbacks callbacks);

// The serving end: the reactor to return from a raw bidirectional method; `accept` gets the stream
// before any callback comes; a first frame is asked for at once. Accepted streams end when the
// client closes its side, on Cancel, and at the server's shutdown.
//
// `how_it_ended`, if there is one, is asked once, when the stream ends, on any thread: what the
// client is told, while the call's context still takes trailing metadata. Without it: OK.
using ServerReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;
ServerReactor* AcceptStream(const std::function<StreamCallbacks(std::shared_ptr<Stream>)>& accept,
                            std::function<grpc::Status()> how_it_ended = nullptr);

// The same for a stream that is not taken at all.
ServerReactor* RefuseStream(const grpc::Status& status);

}  // namespace postfleet::rpc
