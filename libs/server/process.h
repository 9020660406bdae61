// The skeleton of a server process: arguments, configuration, log, signals, the gRPC server with
// health, and HTTP for /metrics, /healthz and /readyz.
//
//   std::unique_ptr<Process> process = Process::Begin("queue", argc, argv);   // null: said why;
//   exit 1
//   ... make services from process->config() ...
//   absl::Status served = process->Serve({...}, {address});
//   process->SetReady([&] { return queue->Ready(); });
//   process->OnReload([&](const config::Config& config) -> absl::StatusOr<Process::Commit> { ...
//   }); process->WaitForStop();                                                   // SIGTERM,
//   SIGINT
//   ... drain ...
//   process->End();
//
// Arguments: -c DIR (default /etc/postfix, or $MAIL_CONFIG), --listen NAME=FD (a listening socket
// made by the launcher; NAME is the service's first column in master.cf), --helper FD (a connection
// to the privileged helper), --log FD (maillog_file, open).
//
// SIGHUP: the log file is opened anew, and main.cf and master.cf are read. All that OnReload named
// take them over, or none does: an error is one line in the log, and the configuration that was
// goes on. What only a start can change (reload.h) keeps its value, with a warning.
//
// Fatal errors are one line, in the log and on standard error: "postfix/queue: fatal: ...".
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/leader_channel.h"
#include "libs/runtime/event_loop.h"
#include "libs/runtime/http_server.h"
#include "libs/server/program_start.h"

namespace postfleet::server {

struct Arguments {
  std::string config_directory;
  std::multimap<std::string, int> listen_fds;
  std::vector<int> helper_fds;
  int log_fd = -1;
};
absl::StatusOr<Arguments> ParseArguments(int argc, char** argv);

class Process {
 public:
  static std::unique_ptr<Process> Begin(std::string name, int argc, char** argv);
  ~Process();

  const Arguments& arguments() const { return arguments_; }
  // The one in force. The thread of WaitForStop only.
  const config::Config& config() const { return *config_; }
  metrics::Registry& metrics() { return metrics_; }
  const std::string& name() const { return name_; }

  // Serves on addresses of gRPC's form ("127.0.0.1:7001", "unix:/path"). The services outlive End.
  // `rest`, if there is one, answers all calls of other services.
  absl::Status Serve(const std::vector<grpc::Service*>& services,
                     const std::vector<std::string>& addresses,
                     grpc::CallbackGenericService* rest = nullptr);
  // Ends it, so that others can be served at the same addresses; before SetReady. Streams that are
  // left are cut.
  void StopServing();
  // To this process's own services.
  std::shared_ptr<grpc::Channel> InProcessChannel();
  // To another process, by a parameter that names its address; empty is an error.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> Channel(const std::string& parameter) const;

  // To the queue, or to each of its replicas (libs/config/queue_addresses.h); none is an error.
  absl::StatusOr<rpc::LeaderChannel> QueueChannel() const;

  // To another process at that address.
  static std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address);

  // What /readyz and the gRPC health service say: mail would be accepted. `up`, which `postfix
  // start` waits for (health service kUpService), is less: the start is over, even if the disk is
  // full. Without it: the same. Any thread.
  void SetReady(std::function<bool()> ready, std::function<bool()> up = nullptr);

  // Takes part in a reload: finds out whether it can go by `config`, and gives what puts it into
  // force, which is called once all others can too. In the order of the calls, on the thread of
  // WaitForStop.
  using Commit = std::function<void()>;
  using Prepare = std::function<absl::StatusOr<Commit>(const config::Config& config)>;
  void OnReload(Prepare prepare) { prepares_.push_back(std::move(prepare)); }

  // For a start that takes its time: true once `done` says so, which is asked every
  // kStartPollInterval; false on SIGTERM or SIGINT. Nothing is reloaded meanwhile.
  static constexpr std::chrono::milliseconds kStartPollInterval{20};
  bool WaitForStart(const std::function<bool()>& done);

  // Returns on SIGTERM or SIGINT.
  void WaitForStop();
  // Shuts the gRPC server down; streams that are left are cut. Flushes the log.
  void End();

  // Says why and begins the program anew in this process (program_start.h), at once, as after a
  // crash. Any thread.
  [[noreturn]] void Restart(std::string_view why);

  // Says why and ends the process at once: nothing that is not durable is acknowledged. Any thread.
  [[noreturn]] static void Die(const absl::Status& status);

 private:
  Process(std::string name, Arguments arguments, ProgramStart start);
  absl::Status LoadConfig();
  absl::Status OpenLog();
  absl::Status ServeHttp();
  void TellHealth();
  void Reload();
  // Changes nothing on an error.
  absl::Status TakeOver(config::Config config);
  void SayPhase(std::string_view phase) const;

  const std::string name_;
  const Arguments arguments_;
  const ProgramStart start_;
  std::unique_ptr<config::Config> config_;
  std::unique_ptr<const config::Config> started_with_;
  std::vector<Prepare> prepares_;
  metrics::Registry metrics_;
  std::unique_ptr<grpc::Server> server_;
  std::mutex ready_mutex_;
  std::function<bool()> ready_;
  std::function<bool()> up_;
  runtime::EventLoop http_loop_{"http"};
  runtime::Timer health_timer_{http_loop_};
  std::unique_ptr<runtime::HttpServer> http_;
};

// What a server cannot start without.
template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) Process::Die(value.status());
  return *std::move(value);
}

}  // namespace postfleet::server
