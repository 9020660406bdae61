// How a replica of the queue that does not lead says who does: the call ends with UNAVAILABLE and,
// as trailing metadata, the leader's address; an empty one: it knows of none. Nothing of a unary
// call that ends so has happened, so it may be made again at another replica; what may have been
// committed all the same ends otherwise.
//
// What a peer names is a hint, and the peer may lie: whoever follows it decides whether that
// address may be asked.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace postfleet::rpc {

inline constexpr char kLeaderMetadata[] = "postfleet-leader";
inline constexpr size_t kLeaderAddressBytesMax = 512;

// For the call of `context`, which has not ended.
grpc::Status NotLeader(grpc::CallbackServerContext* context, std::string_view leader_address);

// The ended call was told so.
bool IsNotLeader(const grpc::ClientContext& context);
// The address that it was told; empty: none, or what cannot be one.
std::string LeaderToldBy(const grpc::ClientContext& context);

}  // namespace postfleet::rpc
