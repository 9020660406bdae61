#include "libs/server/process.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/config/queue_addresses.h"
#include "libs/log/log_options.h"
#include "libs/rpc/payload.h"
#include "libs/server/instance.h"
#include "libs/server/node_credentials.h"
#include "libs/server/reload.h"

namespace postfleet::server {
namespace {

constexpr std::string_view kVersion = "0.1";
constexpr std::chrono::seconds kStreamsCutAfter{2};
// A peer whose machine is gone, or behind a cut wire, is given up after twice that.
constexpr int kKeepaliveMs = 2'000;

// The signals that this process waits for. Blocked before any thread starts, so that all threads
// inherit it.
sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

std::string_view* FatalProgram() {
  static std::string_view program = "master";
  return &program;
}

void SayFatal(std::string_view program, const absl::Status& status) {
  const std::string text(status.message());
  maillog::Fatal(program, text);
  const std::string line = Concat("postfix/", program, ": fatal: ", text, "\n");
  std::fputs(line.c_str(), stderr);
}

absl::StatusOr<int> ParseFd(std::string_view text) {
  int fd = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc() || end != text.data() + text.size() || fd < 0) {
    return absl::InvalidArgumentError(Concat("bad file descriptor \"", text, "\""));
  }
  return fd;
}

}  // namespace

absl::StatusOr<Arguments> ParseArguments(int argc, char** argv) {
  const char* from_environment = std::getenv("MAIL_CONFIG");
  Arguments arguments{.config_directory =
                          from_environment != nullptr ? from_environment : "/etc/postfix"};
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (i + 1 == argc)
      return absl::InvalidArgumentError(Concat("option ", option, " needs a value"));
    const std::string_view value = argv[i + 1];
    if (option == "-c") {
      arguments.config_directory = value;
    } else if (option == "--helper" || option == "--log") {
      const absl::StatusOr<int> fd = ParseFd(value);
      if (!fd.ok()) return fd.status();
      if (option == "--log") arguments.log_fd = *fd;
      if (option == "--helper") arguments.helper_fds.push_back(*fd);
    } else if (option == "--listen") {
      const size_t equals = value.rfind('=');
      if (equals == std::string_view::npos) {
        return absl::InvalidArgumentError(Concat("bad --listen ", value, ": want NAME=FD"));
      }
      const absl::StatusOr<int> fd = ParseFd(value.substr(equals + 1));
      if (!fd.ok()) return fd.status();
      arguments.listen_fds.emplace(value.substr(0, equals), *fd);
    } else {
      return absl::InvalidArgumentError(Concat("unknown option ", option));
    }
  }
  return arguments;
}

std::unique_ptr<Process> Process::Begin(std::string name, int argc, char** argv) {
  ProgramStart start = ProgramStart::Of(argc, argv);
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  pthread_setname_np(pthread_self(), Concat("pf-", name).substr(0, 15).c_str());
  // Debian builds abseil with lock-order checks on: 60 ns for each nested lock of gRPC's and ours.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  static std::string program;  // lives as long as the process
  program = name;
  *FatalProgram() = program;
  absl::StatusOr<Arguments> arguments = ParseArguments(argc, argv);
  if (!arguments.ok()) {
    SayFatal(name, arguments.status());
    return nullptr;
  }
  std::unique_ptr<Process> process(
      new Process(std::move(name), *std::move(arguments), std::move(start)));
  absl::Status status = process->LoadConfig();
  if (status.ok()) status = UseNodeCredentials(*process->config_);
  if (status.ok()) status = process->ServeHttp();
  if (!status.ok()) {
    SayFatal(process->name_, status);
    return nullptr;
  }
  return process;
}

Process::Process(std::string name, Arguments arguments, ProgramStart start)
    : name_(std::move(name)),
      arguments_(std::move(arguments)),
      start_(std::move(start)),
      ready_([] { return false; }) {}

Process::~Process() { End(); }

absl::Status Process::LoadConfig() {
  config::Diagnostics diagnostics;
  absl::StatusOr<config::Config> config =
      config::Config::Load(arguments_.config_directory, diagnostics);
  if (!config.ok()) return config.status();
  config_ = std::make_unique<config::Config>(*std::move(config));
  started_with_ = std::make_unique<const config::Config>(*config_);
  if (const absl::Status opened = OpenLog(); !opened.ok()) return opened;
  for (const config::Diagnostic& warning : diagnostics.warnings()) {
    maillog::Warning(name_, warning.text);
  }
  return absl::OkStatus();
}

absl::Status Process::OpenLog() {
  maillog::Options options = log::LogOptionsOf(*config_);
  options.fd = arguments_.log_fd;
  maillog::FlushOnCrash();
  return maillog::Open(options);
}

absl::Status Process::ServeHttp() {
  http_loop_.Start();
  const std::string address = config_->GetString("postfleet_metrics_listen");
  metrics_
      .AddGauge("build_info", "1, with the version as a label.",
                {{"version", std::string(kVersion)}})
      .Set(1);
  metrics::Counter& lost =
      metrics_.AddCounter("log_lines_lost_total",
                          "Lines that reached nobody: the log was slow, or could not be written.");
  metrics_.OnCollect([&lost] {
    const auto now = static_cast<double>(maillog::LostLines());
    if (now > lost.Value()) lost.Increment(now - lost.Value());
  });
  if (address.empty()) return absl::OkStatus();
  auto ready = [this] {
    std::lock_guard lock(ready_mutex_);
    return ready_();
  };
  absl::StatusOr<std::unique_ptr<runtime::HttpServer>> listening = runtime::HttpServer::Listen(
      http_loop_, address,
      {{"/metrics",
        [this] {
          return runtime::HttpResponse{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                                       .body = metrics_.Expose()};
        }},
       {"/healthz", [] { return runtime::HttpResponse{.body = "ok\n"}; }},
       {"/readyz", [ready] {
          return ready() ? runtime::HttpResponse{.body = "ready\n"}
                         : runtime::HttpResponse{.status = 503, .body = "not ready\n"};
        }}});
  if (!listening.ok()) {
    return absl::Status(
        listening.status().code(),
        Concat("postfleet_metrics_listen: ", std::string(listening.status().message())));
  }
  http_ = *std::move(listening);
  return absl::OkStatus();
}

absl::Status Process::Serve(const std::vector<grpc::Service*>& services,
                            const std::vector<std::string>& addresses,
                            grpc::CallbackGenericService* rest) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  // Another process on the same port must be an error.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kKeepaliveMs / 4);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (rest != nullptr) builder.RegisterCallbackGenericService(rest);
  std::vector<int> bound(addresses.size(), 0);
  for (size_t i = 0; i < addresses.size(); ++i) {
    builder.AddListeningPort(addresses[i], ServerCredentials(addresses[i]), &bound[i]);
  }
  server_ = builder.BuildAndStart();
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (server_ != nullptr && bound[i] != 0) continue;
    return absl::UnavailableError(Concat("cannot listen on ", addresses[i],
                                         ": is another instance running, or the path not writable? "
                                         "Choose another address, or stop it"));
  }
  if (server_ == nullptr) return absl::UnavailableError("cannot start the gRPC server");
  server_->GetHealthCheckService()->SetServingStatus(false);  // until SetReady
  return absl::OkStatus();
}

void Process::StopServing() {
  // Whoever tells health its state stands back until there is a server again.
  std::unique_ptr<grpc::Server> server;
  {
    std::lock_guard lock(ready_mutex_);
    server = std::move(server_);
  }
  if (server == nullptr) return;
  server->Shutdown(std::chrono::system_clock::now() + kStreamsCutAfter);
  server->Wait();
}

std::shared_ptr<grpc::Channel> Process::InProcessChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  return server_->InProcessChannel(arguments);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Process::Channel(
    const std::string& parameter) const {
  const std::string address = config_->GetString(parameter);
  if (address.empty()) {
    return absl::InvalidArgumentError(
        Concat("parameter ", parameter,
               " is empty: give the address of that service, host:port or unix:/path"));
  }
  return ChannelTo(address);
}

absl::StatusOr<rpc::LeaderChannel> Process::QueueChannel() const {
  std::vector<rpc::Replica> replicas;
  for (const std::string& address : config::QueueAddressesOf(*config_)) {
    replicas.push_back({address, ChannelTo(address)});
  }
  if (!replicas.empty()) return rpc::LeaderChannel(std::move(replicas));
  return absl::InvalidArgumentError(
      "parameter postfleet_queue_address is empty: give the address of the queue, host:port or "
      "unix:/path, or those of its replicas");
}

std::shared_ptr<grpc::Channel> Process::ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  return grpc::CreateCustomChannel(address, ChannelCredentials(address), arguments);
}

void Process::SetReady(std::function<bool()> ready, std::function<bool()> up) {
  std::lock_guard lock(ready_mutex_);
  ready_ = std::move(ready);
  up_ = up != nullptr ? std::move(up) : ready_;
  TellHealth();
}

// Again every second: readiness changes with the disk and with other services. Under ready_mutex_.
void Process::TellHealth() {
  if (server_ == nullptr || server_->GetHealthCheckService() == nullptr) return;
  server_->GetHealthCheckService()->SetServingStatus(ready_());
  server_->GetHealthCheckService()->SetServingStatus(std::string(kUpService), up_());
  http_loop_.Post([this] {
    health_timer_.Set(std::chrono::seconds(1), [this] {
      std::lock_guard lock(ready_mutex_);
      TellHealth();
    });
  });
}

// As master(8) does.
void Process::SayPhase(std::string_view phase) const {
  maillog::Info(name_, phase, " -- version ",
                maillog::Fact("version", config_->GetString("mail_version")), ", configuration ",
                maillog::Fact("configuration", config_->directory()));
}

bool Process::WaitForStart(const std::function<bool()>& done) {
  const sigset_t signals = StopSignals();
  const timespec interval = {.tv_sec = 0,
                             .tv_nsec = std::chrono::nanoseconds(kStartPollInterval).count()};
  while (!done()) {
    const int signal = sigtimedwait(&signals, nullptr, &interval);
    if (signal != SIGTERM && signal != SIGINT) continue;
    maillog::Info(name_, "terminating on signal ", signal);
    return false;
  }
  return true;
}

void Process::WaitForStop() {
  const sigset_t signals = StopSignals();
  int signal = 0;
  SayPhase("daemon started");
  while (sigwait(&signals, &signal) == 0 && signal == SIGHUP) Reload();
  maillog::Info(name_, "terminating on signal ", signal);
  SetReady([] { return false; });
}

void Process::Reload() {
  if (const absl::Status reopened = maillog::Reopen(); !reopened.ok()) {
    maillog::Error(name_, std::string(reopened.message()));
  }
  config::Diagnostics diagnostics;
  absl::StatusOr<config::Config> loaded =
      config::Config::Load(arguments_.config_directory, diagnostics);
  std::vector<std::string> ignored;
  if (loaded.ok()) loaded = KeepWhatOnlyAStartChanges(*started_with_, *loaded, &ignored);
  absl::Status done = loaded.status();
  if (done.ok()) done = TakeOver(*std::move(loaded));
  if (!done.ok()) {
    maillog::Error(name_, std::string(done.message()),
                   "; nothing was reloaded: the configuration that was goes on");
    return;
  }
  for (const config::Diagnostic& warning : diagnostics.warnings()) {
    maillog::Warning(name_, warning.text);
  }
  for (const std::string& line : ignored) maillog::Warning(name_, line);
  SayPhase("reload");
}

absl::Status Process::TakeOver(config::Config config) {
  std::vector<Commit> commits;
  for (const Prepare& prepare : prepares_) {
    absl::StatusOr<Commit> commit = prepare(config);
    if (!commit.ok()) return commit.status();
    commits.push_back(*std::move(commit));
  }
  // A new maillog_file may be out of reach, which must not keep the rest from the change.
  if (const absl::Status opened = maillog::Open(log::LogOptionsOf(config)); !opened.ok()) {
    maillog::Error(name_, std::string(opened.message()), "; the log goes on where it was");
  }
  *config_ = std::move(config);
  for (const Commit& commit : commits) commit();
  return absl::OkStatus();
}

void Process::End() {
  http_.reset();
  http_loop_.Stop();
  StopServing();
  maillog::Flush();
}

void Process::Restart(std::string_view why) {
  maillog::Info(name_, "starting anew: ", why);
  maillog::Flush();
  Die(start_.Again());
}

void Process::Die(const absl::Status& status) {
  SayFatal(*FatalProgram(), status);
  _exit(1);
}

}  // namespace postfleet::server
