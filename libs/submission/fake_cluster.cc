#include "libs/submission/fake_cluster.h"

#include <grpcpp/server_builder.h>

#include "libs/base/concat.h"
#include "libs/rpc/leader.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/stream.h"

namespace postfleet::submission {

using queue::v1::EnqueueResult;

// An Enqueue stream to a replica.
struct FakeCluster::Peer {
  size_t replica = 0;
  std::shared_ptr<rpc::Stream> stream;
  rpc::Outbox<EnqueueResult> outbox;
};

class FakeCluster::Node
    : public queue::v1::Queue::WithRawCallbackMethod_Enqueue<
          queue::v1::Queue::WithCallbackMethod_Register<queue::v1::Queue::WithCallbackMethod_Stat<
              queue::v1::Queue::WithCallbackMethod_Flush<queue::v1::Queue::Service>>>> {
 public:
  Node(FakeCluster& cluster, size_t replica) : cluster_(cluster), replica_(replica) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Node() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::shared_ptr<grpc::Channel> channel() { return server_->InProcessChannel({}); }

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const queue::v1::RegisterRequest*,
                                     queue::v1::RegisterResponse* response) override {
    return Answer(context, [&] { response->set_incarnation(++cluster_.incarnations_); });
  }
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const queue::v1::StatRequest*, queue::v1::StatResponse*) override {
    return Answer(context, [] {});
  }
  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                  const queue::v1::FlushRequest*,
                                  queue::v1::FlushResponse*) override {
    return Answer(context, [&] { ++cluster_.flushes_; });
  }

  rpc::ServerReactor* Enqueue(grpc::CallbackServerContext* context) override {
    const auto how_it_ended = [this, context] {
      std::lock_guard lock(cluster_.mutex_);
      return cluster_.StatusOf(replica_, context);
    };
    {
      std::lock_guard lock(cluster_.mutex_);
      ++cluster_.asked_[replica_];
      const grpc::Status status = cluster_.StatusOf(replica_, context);
      if (!status.ok()) return rpc::RefuseStream(status);
    }
    return rpc::AcceptStream(
        [this](std::shared_ptr<rpc::Stream> stream) { return Accept(std::move(stream)); },
        how_it_ended);
  }

 private:
  friend class FakeCluster;

  template <typename Fill>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const Fill& fill) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    std::lock_guard lock(cluster_.mutex_);
    ++cluster_.asked_[replica_];
    cluster_.changed_.notify_all();
    if (cluster_.health_[replica_] == Health::kHanging) {
      held_.push_back(reactor);
      return reactor;
    }
    const grpc::Status status = cluster_.StatusOf(replica_, context);
    if (status.ok()) fill();
    reactor->Finish(status);
    return reactor;
  }

  rpc::StreamCallbacks Accept(std::shared_ptr<rpc::Stream> stream) {
    auto peer = std::make_shared<Peer>();
    peer->replica = replica_;
    peer->stream = std::move(stream);
    {
      std::lock_guard lock(cluster_.mutex_);
      cluster_.peers_.insert(peer);
    }
    return {.next_frame =
                [peer](grpc::ByteBuffer* frame) {
                  queue::v1::EnqueueResponse response;
                  for (EnqueueResult& result : peer->outbox.TakeAll()) {
                    response.add_results()->Swap(&result);
                  }
                  if (response.results().empty()) return false;
                  *frame = rpc::EncodeFrame(response, {});
                  return true;
                },
            .on_frame = [this, peer](
                            grpc::ByteBuffer frame) { cluster_.OnEnqueue(peer, std::move(frame)); },
            .on_closed =
                [this, peer](const grpc::Status&) {
                  std::lock_guard lock(cluster_.mutex_);
                  cluster_.peers_.erase(peer);
                  cluster_.changed_.notify_all();
                }};
  }

  FakeCluster& cluster_;
  const size_t replica_;
  std::vector<grpc::ServerUnaryReactor*> held_;  // under the cluster's lock
  std::unique_ptr<grpc::Server> server_;
};

FakeCluster::FakeCluster() {
  for (size_t i = 0; i < kReplicas; ++i) nodes_.push_back(std::make_unique<Node>(*this, i));
}

FakeCluster::~FakeCluster() {
  for (size_t i = 0; i < kReplicas; ++i) Die(i);  // nothing is held any more
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return peers_.empty(); });
}

std::string FakeCluster::AddressOf(size_t replica) { return Concat("q", replica); }

rpc::LeaderChannel FakeCluster::channel() const {
  std::vector<rpc::Replica> replicas;
  for (size_t i = 0; i < kReplicas; ++i) replicas.push_back({AddressOf(i), nodes_[i]->channel()});
  return rpc::LeaderChannel(std::move(replicas));
}

grpc::Status FakeCluster::StatusOf(size_t replica, grpc::CallbackServerContext* context) {
  if (health_[replica] != Health::kUp) return {grpc::StatusCode::UNAVAILABLE, "not there"};
  if (replica == leader_) return grpc::Status::OK;
  const auto lie = lies_.find(replica);
  if (lie != lies_.end()) return rpc::NotLeader(context, lie->second);
  return rpc::NotLeader(context, leader_ == kNobody ? "" : AddressOf(leader_));
}

void FakeCluster::OnEnqueue(const std::shared_ptr<Peer>& peer, grpc::ByteBuffer frame) {
  queue::v1::EnqueueRequest request;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &request, &payload)) return;
  rpc::PayloadReader reader(payload);
  bool goes_on = true;
  {
    std::lock_guard lock(mutex_);
    for (const queue::v1::Submission& submission : request.submissions()) {
      rpc::Payload content;
      reader.Take(submission.payload_bytes(), &content);
      goes_on = goes_on && TakeOne(*peer, submission, content);
    }
  }
  if (goes_on) return peer->stream->Kick();
  Cut([&](size_t replica) { return replica == peer->replica; });
}

// False: the stream has ended.
bool FakeCluster::TakeOne(Peer& peer, const queue::v1::Submission& submission,
                          const rpc::Payload& content) {
  if (peer.replica != leader_ || health_[leader_] != Health::kUp) return false;
  const Fate its_fate = fate({static_cast<int>(arrivals_.size()), submission.id()});
  arrivals_.push_back(submission.id());
  if (its_fate != Fate::kLost) {
    EnqueueResult result;
    *result.mutable_id() = submission.id();
    result.set_code(Commit(submission, content));
    if (its_fate == Fate::kAnswered) {
      peer.outbox.Add(std::move(result));
      return true;
    }
  }
  leader_ = next_leader(leader_);
  return false;
}

EnqueueResult::Code FakeCluster::Commit(const queue::v1::Submission& submission,
                                        const rpc::Payload& content) {
  const queue::v1::SubmissionId& id = submission.id();
  if (id.incarnation() == 0 || id.incarnation() > incarnations_) return EnqueueResult::EXPIRED;
  if (!committed_.insert({id.incarnation(), id.sequence()}).second) return EnqueueResult::COMMITTED;
  Upload& upload = uploads_[submission.queue_id()];
  if (submission.chunk() != upload.chunks++) return EnqueueResult::REFUSED;
  for (const grpc::Slice& slice : content) upload.content += rpc::AsView(slice);
  if (submission.has_message()) {
    messages_.push_back({submission.queue_id(), std::move(upload.content)});
    uploads_.erase(submission.queue_id());
  }
  return EnqueueResult::COMMITTED;
}

// Not under the lock: a stream that ends asks for its status.
void FakeCluster::Cut(const std::function<bool(size_t replica)>& which) {
  std::vector<std::shared_ptr<Peer>> cut;
  {
    std::lock_guard lock(mutex_);
    for (const auto& peer : peers_) {
      if (which(peer->replica)) cut.push_back(peer);
    }
  }
  for (const auto& peer : cut) peer->stream->Cancel();
}

void FakeCluster::Lead(size_t replica) {
  {
    std::lock_guard lock(mutex_);
    leader_ = replica;
  }
  changed_.notify_all();
  Cut([&](size_t cut) { return cut != replica; });
}

void FakeCluster::Lie(size_t replica, const std::string& address) {
  std::lock_guard lock(mutex_);
  lies_[replica] = address;
}

void FakeCluster::Die(size_t replica) { Fall(replica, Health::kDead); }
void FakeCluster::Hang(size_t replica) { Fall(replica, Health::kHanging); }

void FakeCluster::Fall(size_t replica, Health health) {
  std::vector<grpc::ServerUnaryReactor*> held;
  {
    std::lock_guard lock(mutex_);
    health_[replica] = health;
    held.swap(nodes_[replica]->held_);
  }
  for (grpc::ServerUnaryReactor* reactor : held) reactor->Finish(grpc::Status::CANCELLED);
  Cut([&](size_t cut) { return cut == replica; });
}

std::vector<FakeCluster::Message> FakeCluster::messages() {
  std::lock_guard lock(mutex_);
  return messages_;
}

std::vector<queue::v1::SubmissionId> FakeCluster::arrivals() {
  std::lock_guard lock(mutex_);
  return arrivals_;
}

void FakeCluster::WaitForAsked(size_t replica, int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return asked_[replica] >= count; });
}

int FakeCluster::registrations() {
  std::lock_guard lock(mutex_);
  return static_cast<int>(incarnations_);
}

int FakeCluster::flushes() {
  std::lock_guard lock(mutex_);
  return flushes_;
}

int FakeCluster::asked(size_t replica) {
  std::lock_guard lock(mutex_);
  return asked_[replica];
}

}  // namespace postfleet::submission
