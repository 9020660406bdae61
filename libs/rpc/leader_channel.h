// The replicas of the queue as a client sees them: a channel to each, of which one leads.
//
//   LeaderChannel queue(replicas);         // or one channel: then nothing is chosen
//   AskLeader(queue, ask, done);           // one call, at whoever leads
//   stream.Start(queue);                   // LastingStream, the same for a stream
//
// Whoever led last is asked first. One that does not lead names who does (leader.h): that one is
// asked next, if it is among the replicas; what else a peer names is not followed, so that a lie
// sends no mail anywhere else. One that is away, or knows of no leader, is followed by the next in
// the list. A search asks each replica once at most; when nobody leads it has failed, and its owner
// waits before the next (LastingStream: 20 to 250 ms). Nothing here blocks or waits.
//
// A LeaderChannel is a handle: copies share what was found out. Thread-safe.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace postfleet::rpc {

struct Replica {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
};

class LeaderChannel {
 public:
  // Nobody can be asked.
  LeaderChannel() = default;
  // The only one.
  // NOLINTNEXTLINE(google-explicit-constructor): a channel is a queue without other replicas.
  LeaderChannel(std::shared_ptr<grpc::Channel> only);
  // At least one.
  explicit LeaderChannel(std::vector<Replica> replicas);

  explicit operator bool() const { return state_ != nullptr; }
  size_t replicas() const;
  const std::shared_ptr<grpc::Channel>& channel(size_t replica) const;
  // Who is asked first.
  size_t leader() const;
  const std::shared_ptr<grpc::Channel>& leader_channel() const { return channel(leader()); }

  void SetLeader(size_t replica) const;
  // `replica` does not lead. What others found out meanwhile stays.
  void Turn(size_t replica, std::string_view leader_address) const;

 private:
  friend class LeaderSearch;
  struct State;

  std::optional<size_t> Find(std::string_view address) const;
  void Turn(size_t from, size_t to) const;

  std::shared_ptr<State> state_;
};

// Whom to ask, one after the other. For one thread at a time.
class LeaderSearch {
 public:
  explicit LeaderSearch(LeaderChannel channel);

  size_t asked() const { return asked_; }
  // The one that is asked does not lead and names that one, or nobody. False: all were asked.
  bool Next(std::string_view leader_address);

 private:
  const LeaderChannel channel_;
  std::vector<bool> was_asked_;
  size_t asked_;
};

// How a search ended.
struct LeaderAnswer {
  grpc::Status status;
  // Somebody answered that it does not lead, and nobody did better: the queue is there but for its
  // leader.
  bool no_leader = false;
};

// Makes the same call at one replica after another until one takes it. `ask` makes it over that
// channel, with a deadline, and hands over how it ended, with its context; it is called here first,
// then where results come, as `done` is. A replica may die after it has done what it was asked: let
// nothing be asked so that must not happen twice.
//
// Who does not answer by the deadline ends the search; the next one begins with another replica. So
// a search lasts little longer than that.
using LeaderAsked = std::function<void(const grpc::Status&, const grpc::ClientContext&)>;
using AskReplica =
    std::function<void(const std::shared_ptr<grpc::Channel>& channel, LeaderAsked answered)>;
void AskLeader(const LeaderChannel& channel, AskReplica ask,
               std::function<void(const LeaderAnswer&)> done);

// AskLeader for a unary call of `Service`, each time with a context of `make_context`:
//
//   CallLeader<v1::Queue>(queue, &v1::Queue::StubInterface::async_interface::Stat, request,
//                         [] { return ...; }, [](const LeaderAnswer&, v1::StatResponse&) { ... });
template <typename Service, typename Request, typename Response>
void CallLeader(const LeaderChannel& channel,
                void (Service::StubInterface::async_interface::*method)(
                    grpc::ClientContext*, const Request*, Response*,
                    std::function<void(grpc::Status)>),
                std::type_identity_t<Request> request,
                std::function<std::shared_ptr<grpc::ClientContext>()> make_context,
                std::type_identity_t<std::function<void(const LeaderAnswer&, Response&)>> done) {
  struct Call {
    Request request;
    Response response;
    std::unique_ptr<typename Service::Stub> stub;
    std::shared_ptr<grpc::ClientContext> context;
  };
  auto call = std::make_shared<Call>();
  call->request = std::move(request);
  AskLeader(
      channel,
      [call, method, make_context = std::move(make_context)](
          const std::shared_ptr<grpc::Channel>& replica, LeaderAsked answered) {
        call->stub = Service::NewStub(replica);
        call->context = make_context();
        (call->stub->async()->*method)(
            call->context.get(), &call->request, &call->response,
            [call, context = call->context, answered = std::move(answered)](
                const grpc::Status& status) { answered(status, *context); });
      },
      [call, done = std::move(done)](const LeaderAnswer& answer) { done(answer, call->response); });
}

}  // namespace postfleet::rpc
