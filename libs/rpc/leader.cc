#include "libs/rpc/leader.h"

#include <algorithm>

namespace postfleet::rpc {
namespace {

// Printable ASCII without spaces: all that HTTP/2 takes as a header and an address needs.
bool CanBeAddress(std::string_view text) {
  return !text.empty() && text.size() <= kLeaderAddressBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

grpc::Status NotLeader(grpc::CallbackServerContext* context, std::string_view leader_address) {
  const bool known = CanBeAddress(leader_address);
  context->AddTrailingMetadata(kLeaderMetadata, std::string(known ? leader_address : ""));
  return {grpc::StatusCode::UNAVAILABLE,
          known ? "another replica of the queue leads" : "no replica of the queue leads now"};
}

bool IsNotLeader(const grpc::ClientContext& context) {
  return context.GetServerTrailingMetadata().contains(kLeaderMetadata);
}

std::string LeaderToldBy(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find(kLeaderMetadata);
  if (found == metadata.end()) return "";
  const std::string_view told(found->second.data(), found->second.size());
  return CanBeAddress(told) ? std::string(told) : "";
}

}  // namespace postfleet::rpc
