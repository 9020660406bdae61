#include "services/queue/transport/peer_receiver.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "libs/base/concat.h"
#include "libs/rpc/payload.h"
#include "services/queue/transport/peer_frames.h"

namespace postfleet::queue::transport {

namespace v1 = cluster::v1;

struct PeerReceiver::Session {
  std::shared_ptr<rpc::Stream> stream;
  uint64_t from = 0;  // on_frame only; 0: not greeted yet
  std::atomic<bool> owes_welcome = false;

  std::mutex mutex;
  absl::Status end;  // guarded by mutex
};

rpc::ServerReactor* PeerReceiver::Accept(grpc::CallbackServerContext*) {
  auto session = std::make_shared<Session>();
  return rpc::AcceptStream(
      [&](std::shared_ptr<rpc::Stream> stream) {
        session->stream = std::move(stream);
        return rpc::StreamCallbacks{
            .next_frame =
                [this, session](grpc::ByteBuffer* frame) {
                  if (!session->owes_welcome.exchange(false)) return false;
                  v1::PeerFrame greeting;
                  greeting.mutable_welcome()->set_version(world_.version);
                  *frame = rpc::EncodeFrame(greeting, {});
                  return true;
                },
            .on_frame =
                [this, session](const grpc::ByteBuffer& frame) {
                  absl::Status taken = OnFrame(session.get(), frame);
                  if (taken.ok()) return;
                  {
                    std::lock_guard lock(session->mutex);
                    session->end = std::move(taken);
                  }
                  session->stream->Cancel();
                },
            .on_closed = [session](const grpc::Status&) { session->stream.reset(); }};
      },
      [session] {
        std::lock_guard lock(session->mutex);
        return grpc::Status(static_cast<grpc::StatusCode>(session->end.code()),
                            std::string(session->end.message()));
      });
}

absl::Status PeerReceiver::OnFrame(Session* session, const grpc::ByteBuffer& frame) {
  if (session->from == 0) {
    v1::PeerFrame greeting;
    rpc::Payload none;
    if (!rpc::DecodeFrame(frame, &greeting, &none) || !greeting.has_hello()) {
      return absl::InvalidArgumentError("the stream begins without a greeting");
    }
    if (absl::Status fits = CheckHello(greeting.hello()); !fits.ok()) return fits;
    session->from = greeting.hello().from();
    cluster::v1::Member caller = greeting.hello().sender();
    caller.set_id(session->from);
    if (!caller.address().empty()) world_.on_caller(caller);
    session->owes_welcome = true;
    session->stream->Kick();
    return absl::OkStatus();
  }
  auto messages = DecodePeerFrame(frame, session->from, world_.own_id);
  if (!messages.ok()) return messages.status();
  for (PeerMessage& message : *messages) world_.receive(std::move(message));
  return absl::OkStatus();
}

absl::Status PeerReceiver::CheckHello(const v1::Hello& hello) const {
  if (hello.cluster_id() != world_.cluster_id) {
    return absl::FailedPreconditionError("this replica is of another cluster");
  }
  if (hello.to() != world_.own_id) {
    return absl::FailedPreconditionError("another replica is here now: its disk was replaced");
  }
  if (hello.from() == 0 || hello.from() == world_.own_id) {
    return absl::FailedPreconditionError("the sender has no id of its own");
  }
  if (hello.version() < world_.version_min || hello.version_min() > world_.version) {
    return absl::FailedPreconditionError(Concat("the sender speaks versions ", hello.version_min(),
                                                " to ", hello.version(), ", this replica ",
                                                world_.version_min, " to ", world_.version));
  }
  return absl::OkStatus();
}

}  // namespace postfleet::queue::transport
