// The three servers of the RPC benchmark: callback API with protobuf objects,
// callback API with slices, and a completion queue with slices. Each answers
// an item as soon as it is read; acknowledgements that gather while one is
// being written go out together.
#ifndef TESTS_BENCH_SHAPES_RPC_SERVER_H_
#define TESTS_BENCH_SHAPES_RPC_SERVER_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace postfleet::bench {

enum class ServerKind { kProtobuf, kSlices, kQueue, kSharedQueue };

// One side of a stream that is driven by tags of a completion queue.
class TagHandler {
 public:
  virtual ~TagHandler() = default;
  virtual void Handle(int tag, bool ok) = 0;
  // Accept no further stream.
  virtual void Stop() {}
};

// Tags below this are the client's, the others the server's.
inline constexpr int kServerTags = 100;

class BenchServer {
 public:
  // An empty address listens nowhere: only in-process channels.
  BenchServer(ServerKind kind, const std::string& address);
  ~BenchServer();

  grpc::Server* server() { return server_.get(); }
  int port() const { return port_; }

  // kSharedQueue only: the caller drives both sides from this queue.
  grpc::CompletionQueue* queue() { return queue_.get(); }
  TagHandler* handler() { return handler_.get(); }

 private:
  std::unique_ptr<grpc::Service> service_;
  grpc::AsyncGenericService generic_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<TagHandler> handler_;
  std::thread thread_;
  int port_ = 0;
};

}  // namespace postfleet::bench

#endif  // TESTS_BENCH_SHAPES_RPC_SERVER_H_
