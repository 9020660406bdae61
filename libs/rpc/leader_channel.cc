#include "libs/rpc/leader_channel.h"

#include <atomic>
#include <cstdlib>
#include <utility>

#include "libs/rpc/leader.h"

namespace postfleet::rpc {

struct LeaderChannel::State {
  const std::vector<Replica> replicas;
  std::atomic<size_t> leader = 0;
};

LeaderChannel::LeaderChannel(std::shared_ptr<grpc::Channel> only) {
  if (only != nullptr) state_.reset(new State{{{"", std::move(only)}}});
}

LeaderChannel::LeaderChannel(std::vector<Replica> replicas) {
  if (replicas.empty()) std::abort();
  state_.reset(new State{std::move(replicas)});
}

size_t LeaderChannel::replicas() const { return state_->replicas.size(); }

const std::shared_ptr<grpc::Channel>& LeaderChannel::channel(size_t replica) const {
  return state_->replicas[replica].channel;
}

size_t LeaderChannel::leader() const { return state_->leader.load(std::memory_order_relaxed); }

void LeaderChannel::SetLeader(size_t replica) const {
  state_->leader.store(replica, std::memory_order_relaxed);
}

void LeaderChannel::Turn(size_t replica, std::string_view leader_address) const {
  const std::optional<size_t> told = Find(leader_address);
  Turn(replica, told && *told != replica ? *told : (replica + 1) % replicas());
}

std::optional<size_t> LeaderChannel::Find(std::string_view address) const {
  if (address.empty()) return std::nullopt;
  for (size_t i = 0; i < replicas(); ++i) {
    if (state_->replicas[i].address == address) return i;
  }
  return std::nullopt;
}

void LeaderChannel::Turn(size_t from, size_t to) const {
  state_->leader.compare_exchange_strong(from, to, std::memory_order_relaxed);
}

LeaderSearch::LeaderSearch(LeaderChannel channel)
    : channel_(std::move(channel)),
      was_asked_(channel_.replicas(), false),
      asked_(channel_.leader()) {
  was_asked_[asked_] = true;
}

bool LeaderSearch::Next(std::string_view leader_address) {
  const std::optional<size_t> told = channel_.Find(leader_address);
  size_t next = asked_;
  if (told && !was_asked_[*told]) {
    next = *told;
  } else {
    for (size_t i = 1; i < was_asked_.size() && next == asked_; ++i) {
      const size_t candidate = (asked_ + i) % was_asked_.size();
      if (!was_asked_[candidate]) next = candidate;
    }
  }
  if (next == asked_) {
    channel_.Turn(asked_, leader_address);
    return false;
  }
  channel_.Turn(asked_, next);
  asked_ = next;
  was_asked_[next] = true;
  return true;
}

namespace {

struct Asking : std::enable_shared_from_this<Asking> {
  Asking(const LeaderChannel& replicas, AskReplica how,
         std::function<void(const LeaderAnswer&)> then)
      : channel(replicas), search(replicas), ask(std::move(how)), done(std::move(then)) {}

  void AskOne() {
    ask(channel.channel(search.asked()),
        [self = shared_from_this()](const grpc::Status& status,
                                    const grpc::ClientContext& context) {
          self->OnAnswer(status, context);
        });
  }

  void OnAnswer(const grpc::Status& status, const grpc::ClientContext& context) {
    switch (status.error_code()) {
      case grpc::StatusCode::UNAVAILABLE:
        no_leader |= IsNotLeader(context);
        if (search.Next(LeaderToldBy(context))) return AskOne();
        break;
      // It hangs, ends, or is no queue. Whether the caller wants to wait longer is not known.
      case grpc::StatusCode::DEADLINE_EXCEEDED:
      case grpc::StatusCode::CANCELLED:
      case grpc::StatusCode::UNIMPLEMENTED:
        channel.Turn(search.asked(), "");
        break;
      default:
        channel.SetLeader(search.asked());
        no_leader = false;
    }
    done({status, no_leader});
  }

  const LeaderChannel channel;
  LeaderSearch search;
  const AskReplica ask;
  const std::function<void(const LeaderAnswer&)> done;
  bool no_leader = false;
};

}  // namespace

void AskLeader(const LeaderChannel& channel, AskReplica ask,
               std::function<void(const LeaderAnswer&)> done) {
  std::make_shared<Asking>(channel, std::move(ask), std::move(done))->AskOne();
}

}  // namespace postfleet::rpc
