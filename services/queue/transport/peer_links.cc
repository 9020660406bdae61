#include "services/queue/transport/peer_links.h"

#include <set>
#include <utility>

#include "libs/base/concat.h"
#include "libs/rpc/payload.h"

namespace postfleet::queue::transport {
namespace {

namespace v1 = cluster::v1;

constexpr char kMethod[] = "/postfleet.cluster.v1.Cluster/Exchange";

}  // namespace

PeerLinks::PeerLinks(World world) : world_(std::move(world)) {}

PeerLinks::~PeerLinks() { Stop(); }

void PeerLinks::Start(std::function<void(uint64_t id)> on_unreachable) {
  world_.on_unreachable = std::move(on_unreachable);
  loop_.Start();
  changes_.Start();
}

void PeerLinks::Stop() {
  if (std::exchange(stopped_, true)) return;
  changes_.Stop();
  std::map<uint64_t, std::shared_ptr<Peer>> peers;
  {
    std::lock_guard lock(mutex_);
    peers.swap(peers_);
  }
  for (const auto& [id, peer] : peers) End(peer);
  loop_.Stop();
}

void PeerLinks::SetPeers(const v1::Membership& membership) {
  changes_.Post([this, membership] {
    membership_ = membership;
    Change();
  });
}

void PeerLinks::OnCaller(const v1::Member& caller) {
  changes_.Post([this, caller] {
    const auto known = callers_.find(caller.id());
    if (known != callers_.end() && known->second.address() == caller.address()) return;
    if (known == callers_.end() && callers_.size() >= kCallersMax) callers_.erase(callers_.begin());
    callers_[caller.id()] = caller;
    Change();
  });
}

// On the loop of changes.
void PeerLinks::Change() {
  std::map<uint64_t, const v1::Member*> wanted;
  for (const auto& [id, caller] : callers_) wanted[id] = &caller;
  for (const v1::Member& member : membership_.members()) wanted[member.id()] = &member;
  wanted.erase(world_.own.id());
  std::vector<std::shared_ptr<Peer>> gone;
  std::set<uint64_t> known;
  {
    std::lock_guard lock(mutex_);
    for (auto at = peers_.begin(); at != peers_.end();) {
      const auto found = wanted.find(at->first);
      if (found != wanted.end() && found->second->address() == at->second->member.address()) {
        known.insert(at->first);
        ++at;
      } else {
        gone.push_back(std::move(at->second));
        at = peers_.erase(at);
      }
    }
  }
  for (const auto& peer : gone) End(peer);
  for (const auto& [id, member] : wanted) {
    if (known.contains(id)) continue;
    std::shared_ptr<Peer> peer = Open(*member);
    std::lock_guard lock(mutex_);
    peers_[id] = std::move(peer);
  }
}

std::shared_ptr<PeerLinks::Peer> PeerLinks::Open(const v1::Member& member) {
  auto peer = std::make_shared<Peer>();
  peer->member = member;
  peer->channel = world_.connect(member);
  peer->stream = std::make_unique<rpc::LastingStream>(
      loop_, kMethod,
      rpc::LastingStream::Callbacks{
          .prepare = nullptr,
          .open = [this, peer = peer.get()] { return OpenSession(peer); },
          .opened = nullptr,
          .lost = [this, peer = peer.get()](const grpc::Status& status) { OnLost(peer, status); }});
  loop_.RunAndWait([&peer] { peer->stream->Start(rpc::LeaderChannel(peer->channel)); });
  return peer;
}

void PeerLinks::End(const std::shared_ptr<Peer>& peer) { peer->stream->Stop(); }

rpc::StreamCallbacks PeerLinks::OpenSession(Peer* peer) {
  auto session = std::make_shared<Session>();
  return {
      .next_frame = [this, peer, session](
                        grpc::ByteBuffer* frame) { return NextFrame(peer, session.get(), frame); },
      .on_frame = [this, peer,
                   session](const grpc::ByteBuffer& frame) { OnFrame(peer, session.get(), frame); },
      .on_closed = nullptr};
}

bool PeerLinks::NextFrame(Peer* peer, Session* session, grpc::ByteBuffer* frame) const {
  if (!session->greeted.exchange(true)) {
    v1::PeerFrame greeting;
    v1::Hello& hello = *greeting.mutable_hello();
    hello.set_cluster_id(world_.cluster_id);
    hello.set_from(world_.own.id());
    *hello.mutable_sender() = world_.own;
    hello.set_to(peer->member.id());
    hello.set_version(world_.version);
    hello.set_version_min(world_.version_min);
    *frame = rpc::EncodeFrame(greeting, {});
    return true;
  }
  return session->welcomed && peer->outbox.TakeFrame(frame);
}

void PeerLinks::OnFrame(Peer* peer, Session* session, const grpc::ByteBuffer& frame) {
  v1::PeerFrame greeting;
  rpc::Payload none;
  const bool is_welcome = rpc::DecodeFrame(frame, &greeting, &none) && greeting.has_welcome() &&
                          greeting.welcome().version() >= world_.version_min &&
                          !session->welcomed.exchange(true);
  loop_.Post([this, peer, is_welcome] {
    // All that it says is the welcome.
    if (!is_welcome) return peer->stream->Break();
    peer->last_refusal.clear();
    peer->is_open = true;
    peer->stream->Kick();
  });
}

void PeerLinks::OnLost(Peer* peer, const grpc::Status& status) {
  const bool was_open = peer->is_open.exchange(false);
  peer->outbox.Clear();
  if (was_open) world_.on_unreachable(peer->member.id());
  const bool is_refusal = status.error_code() == grpc::StatusCode::FAILED_PRECONDITION;
  if (!is_refusal || status.error_message() == peer->last_refusal) return;
  peer->last_refusal = status.error_message();
  world_.say(Concat("cluster: ", peer->member.name(), " (", peer->member.address(),
                    ") takes no messages: ", peer->last_refusal));
}

void PeerLinks::Send(std::vector<PeerMessage> messages) {
  std::set<std::shared_ptr<Peer>> told;
  for (PeerMessage& message : messages) {
    std::shared_ptr<Peer> peer;
    {
      std::lock_guard lock(mutex_);
      const auto found = peers_.find(message.to);
      if (found != peers_.end()) peer = found->second;
    }
    if (peer == nullptr || !peer->is_open) continue;
    const uint64_t to = message.to;
    if (!peer->outbox.Add(std::move(message))) world_.on_unreachable(to);
    told.insert(std::move(peer));
  }
  for (const std::shared_ptr<Peer>& peer : told) Kick(peer);
}

void PeerLinks::Kick(const std::shared_ptr<Peer>& peer) {
  if (peer->kick_posted.exchange(true)) return;
  loop_.Post([peer] {
    peer->kick_posted = false;
    peer->stream->Kick();
  });
}

std::shared_ptr<grpc::Channel> PeerLinks::ChannelTo(uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : found->second->channel;
}

}  // namespace postfleet::queue::transport
