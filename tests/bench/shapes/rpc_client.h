// The closed-loop clients of the RPC benchmark. Each returns once every item
// was acknowledged.
#ifndef TESTS_BENCH_SHAPES_RPC_CLIENT_H_
#define TESTS_BENCH_SHAPES_RPC_CLIENT_H_

#include <grpcpp/channel.h>

#include <cstdint>
#include <memory>

#include "tests/bench/shapes/rpc_server.h"

namespace postfleet::bench {

struct Load {
  int outstanding = 50;
  uint64_t items = 0;
  size_t payload_bytes = 0;
  // Most items in one frame; a frame also ends at kFrameBytesMax.
  int items_per_frame_max = 1;
  // Producers live on a thread of their own, as SMTP sessions do; otherwise
  // the next item is made where the acknowledgement arrives.
  bool producer_thread = false;
};

// Past this a frame takes no further item: well below gRPC's 4 MB limit.
inline constexpr size_t kFrameBytesMax = 1 << 20;

void RunUnary(std::shared_ptr<grpc::Channel> channel, ServerKind kind, const Load& load);
// Returns the number of frames written.
uint64_t RunStream(std::shared_ptr<grpc::Channel> channel, ServerKind kind, const Load& load);
// Slices over completion queues; with a shared queue one thread drives both.
uint64_t RunQueueStream(std::shared_ptr<grpc::Channel> channel, BenchServer* shared,
                        const Load& load);

}  // namespace postfleet::bench

#endif  // TESTS_BENCH_SHAPES_RPC_CLIENT_H_
