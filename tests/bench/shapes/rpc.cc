// What one item costs over gRPC: unary calls and one multiplexed stream, in
// one process and between two, payload copied through protobuf or carried as
// slices, callback API or completion queue.
//
//   rpc [--rounds=5] [--only=text] [--scale=1.0]
#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "tests/bench/shapes/measure.h"
#include "tests/bench/shapes/rpc_client.h"
#include "tests/bench/shapes/rpc_server.h"

extern char** environ;

namespace postfleet::bench {
namespace {

enum class Transport { kInProcess, kUnix, kTcp };

// A server in a process of its own; it ends when its standard input closes.
// Spawned, not forked: gRPC does not survive a fork once it has started.
class ServerProcess {
 public:
  ServerProcess(ServerKind kind, Transport transport) {
    address_ = transport == Transport::kUnix
                   ? "unix:" + std::string("/tmp/shapes_rpc.") + std::to_string(getpid())
                   : "127.0.0.1:0";
    int in[2], out[2];
    BENCH_CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::string serve = "--serve=" + address_;
    std::string kind_flag = "--kind=" + std::to_string(static_cast<int>(kind));
    char name[] = "rpc";
    char* arguments[] = {name, serve.data(), kind_flag.data(), nullptr};
    BENCH_CHECK(posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    stdin_ = in[1];
    int port = 0;
    BENCH_CHECK(read(out[0], &port, sizeof port) == sizeof port);
    close(out[0]);
    if (transport == Transport::kTcp) {
      address_ = "127.0.0.1:" + std::to_string(port);
    }
  }
  ~ServerProcess() {
    close(stdin_);
    waitpid(pid_, nullptr, 0);
  }
  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }

 private:
  std::string address_;
  pid_t pid_ = 0;
  int stdin_ = -1;
};

int Serve(const std::string& address, ServerKind kind) {
  BenchServer server(kind, address);
  const int port = server.port();
  BENCH_CHECK(write(1, &port, sizeof port) == sizeof port);
  char end;
  while (read(0, &end, 1) > 0) {
  }
  return 0;
}

enum class Shape { kUnary, kStream };

struct Case {
  Transport transport;
  Shape shape;
  ServerKind kind;
  Load load;
};

std::vector<double> Run(const Case& c) {
  std::optional<BenchServer> local;
  std::optional<ServerProcess> remote;
  std::shared_ptr<grpc::Channel> channel;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  pid_t server_pid = 0;
  if (c.transport == Transport::kInProcess) {
    local.emplace(c.kind, "");
    channel = local->server()->InProcessChannel(arguments);
  } else {
    remote.emplace(c.kind, c.transport);
    server_pid = remote->pid();
    channel =
        grpc::CreateCustomChannel(remote->address(), grpc::InsecureChannelCredentials(), arguments);
  }
  auto go = [&](const Load& load) -> uint64_t {
    if (c.shape == Shape::kUnary) {
      RunUnary(channel, c.kind, load);
      return load.items;
    }
    if (c.kind == ServerKind::kQueue || c.kind == ServerKind::kSharedQueue) {
      return RunQueueStream(channel, c.kind == ServerKind::kSharedQueue ? &*local : nullptr, load);
    }
    return RunStream(channel, c.kind, load);
  };
  Load warm = c.load;
  warm.items = c.load.items / 20 + 1;
  go(warm);
  const double wall = WallSeconds();
  const double client = CpuMicroseconds();
  const double server = server_pid != 0 ? CpuMicroseconds(server_pid) : 0;
  const double frames = static_cast<double>(go(c.load));
  const double items = static_cast<double>(c.load.items);
  double cpu = CpuMicroseconds() - client;
  if (server_pid != 0) cpu += CpuMicroseconds(server_pid) - server;
  const double seconds = WallSeconds() - wall;
  static bool printed = false;
  if (!std::exchange(printed, true)) {
    std::fprintf(stderr, "threads: %s\n", ThreadNames().c_str());
  }
  return {cpu / items, items / seconds, items / frames};
}

std::string SizeName(size_t bytes) {
  return bytes < 1024 ? std::to_string(bytes) + " B" : std::to_string(bytes / 1024) + " KiB";
}

constexpr const char* kTransportNames[] = {"in-process", "unix", "tcp"};
constexpr const char* kKindNames[] = {"protobuf", "slices", "slices, cq", "slices, one cq"};

uint64_t Items(size_t payload_bytes, double scale) {
  return static_cast<uint64_t>((payload_bytes >= 65536 ? 3000 : 15000) * scale);
}

void AddUnary(Transport transport, double scale, std::vector<Variant>* out) {
  for (int outstanding : {1, 16, 64}) {
    for (size_t bytes : {size_t{0}, size_t{4096}, size_t{102400}}) {
      for (ServerKind kind : {ServerKind::kProtobuf, ServerKind::kSlices}) {
        if (bytes == 0 && kind == ServerKind::kSlices) continue;
        Case c{transport, Shape::kUnary, kind, {}};
        c.load.outstanding = outstanding;
        c.load.payload_bytes = bytes;
        c.load.items = Items(bytes, scale / 2);
        out->push_back({std::string(kTransportNames[static_cast<int>(transport)]) + ", unary, " +
                            std::to_string(outstanding) + " open, " + SizeName(bytes) + ", " +
                            kKindNames[static_cast<int>(kind)],
                        [c] { return Run(c); }});
      }
    }
  }
}

void AddStream(Transport transport, double scale, std::vector<Variant>* out) {
  auto add = [&](ServerKind kind, size_t bytes, int batch, bool thread) {
    Case c{transport, Shape::kStream, kind, {}};
    c.load.payload_bytes = bytes;
    c.load.items = Items(bytes, scale);
    c.load.items_per_frame_max = batch;
    c.load.producer_thread = thread;
    out->push_back({std::string(kTransportNames[static_cast<int>(transport)]) + ", stream, " +
                        SizeName(bytes) + ", " + (batch == 1 ? "one a frame, " : "coalesced, ") +
                        kKindNames[static_cast<int>(kind)] + (thread ? ", producer thread" : ""),
                    [c] { return Run(c); }});
  };
  for (size_t bytes : {size_t{4096}, size_t{16384}, size_t{32768}, size_t{102400}}) {
    for (int batch : {1, 1000}) {
      add(ServerKind::kProtobuf, bytes, batch, false);
      add(ServerKind::kSlices, bytes, batch, false);
      if (bytes == 4096) add(ServerKind::kQueue, bytes, batch, false);
      if (bytes == 4096 && transport == Transport::kInProcess) {
        add(ServerKind::kSharedQueue, bytes, batch, false);
      }
    }
    add(ServerKind::kSlices, bytes, 1000, true);
  }
}

int Main(int argc, char** argv) {
  const std::string serve = Flag(argc, argv, "serve", "");
  if (!serve.empty()) {
    return Serve(serve, static_cast<ServerKind>(std::stoi(Flag(argc, argv, "kind", "0"))));
  }
  const int rounds = std::stoi(Flag(argc, argv, "rounds", "5"));
  const double scale = std::stod(Flag(argc, argv, "scale", "1"));
  const std::string only = Flag(argc, argv, "only", "");
  const std::vector<std::string> columns = {"CPU us/item", "items/s", "items/frame"};
  std::vector<Variant> unary, stream;
  for (Transport transport : {Transport::kInProcess, Transport::kUnix, Transport::kTcp}) {
    AddUnary(transport, scale, &unary);
    AddStream(transport, scale, &stream);
  }
  RunTable("RPC: one stream, 50 producers", columns, stream, rounds, only);
  RunTable("RPC: unary calls", columns, unary, rounds, only);
  return 0;
}

}  // namespace
}  // namespace postfleet::bench

int main(int argc, char** argv) { return postfleet::bench::Main(argc, argv); }
