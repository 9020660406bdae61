// What a message costs in CPU, with a queue and a lookup that answer at once (their cost is in the
// sum; the thread "ingress" is ours alone). Needs smtp-source of Debian's postfix.
//
//   ingress_bench [messages] [sessions] [bytes] [reuse]
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/maillog.h"
#include "libs/submission/fake_services.h"
#include "services/ingress/ingress.h"

extern char** environ;

namespace postfleet::ingress {
namespace {

double SecondsOf(const rusage& usage) {
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double ProcessSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return SecondsOf(usage);
}

// CPU of the threads by name, from the kernel's schedstat: nanoseconds.
double ThreadSeconds(const std::string& name) {
  double seconds = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string thread;
    std::getline(std::ifstream(entry.path() / "comm"), thread);
    if (thread != name) continue;
    double nanoseconds = 0;
    std::ifstream(entry.path() / "schedstat") >> nanoseconds;
    seconds += nanoseconds / 1e9;
  }
  return seconds;
}

void RunSource(uint16_t port, const std::string& messages, const std::string& sessions,
               const std::string& bytes, bool reuse) {
  const std::string target = "127.0.0.1:" + std::to_string(port);
  std::vector<std::string> arguments = {
      "/usr/sbin/smtp-source", "-m", messages,        "-s", sessions, "-l", bytes, "-f",
      "a@b.example",           "-t", "u@here.example"};
  if (reuse) arguments.push_back("-d");
  arguments.push_back(target);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ) == 0) {
    waitpid(pid, nullptr, 0);
  }
}

int Main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  const std::string messages = argument(1, "20000");
  submission::FakeServices services(false);
  (void)maillog::Open({.path = "/dev/null"});
  IngressOptions options;
  ListenerOptions listener;
  listener.host = "127.0.0.1";
  listener.session.relay_restrictions = {config::Restriction::kRejectUnauthDestination};
  listener.session.client_limits.connection_count = 0;
  options.listeners.push_back(std::move(listener));
  options.queue = options.lookup = services.channel();
  auto ingress = Ingress::Start(std::move(options)).value();
  RunSource(ingress->ports()[0], "500", "20", "4096", false);

  const uint64_t accepted_before = ingress->figures().messages_accepted;
  const double process_before = ProcessSeconds();
  const double loop_before = ThreadSeconds("ingress");
  const auto start = std::chrono::steady_clock::now();
  RunSource(ingress->ports()[0], messages, argument(2, "50"), argument(3, "4096"),
            argument(4, "") == "reuse");
  const double wall =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto count = static_cast<double>(ingress->figures().messages_accepted - accepted_before);
  std::printf(
      "%.0f messages, %.0f a second, CPU us each: loop %.1f, process (fakes included) %.1f\n",
      count, count / wall, (ThreadSeconds("ingress") - loop_before) / count * 1e6,
      (ProcessSeconds() - process_before) / count * 1e6);
  return 0;
}

}  // namespace
}  // namespace postfleet::ingress

int main(int argc, char** argv) { return postfleet::ingress::Main(argc, argv); }
