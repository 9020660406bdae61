// What a log line costs: its making, and its way through the log to a file.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "libs/base/maillog.h"

namespace postfleet::maillog {
namespace {

void WriteLine(int i) {
  Info("smtp", Fact("queue_id", "4jXVqC48Jhz1cXNP"), ": to=<", Fact("to", "r@peer.example"),
       ">, relay=", Fact("relay", "127.0.0.1[127.0.0.1]:25"),
       ", delay=", NumberText{"delay", "0.05"}, ", delays=", Fact("delays", "0.01/0/0.02/0.02"),
       ", dsn=", Fact("dsn", "2.0.0"), ", status=", Fact("status", "sent"), " (",
       Fact("text", "250 2.0.0 Ok: queued as 12345"), ' ', i, ')', Event("delivery"));
}

std::string FileOfBench() {
  const char* folder = getenv("TMPDIR");
  return Concat(folder != nullptr ? folder : "/tmp", "/maillog_bench.", getpid());
}

void LineToFile(benchmark::State& state, Format format) {
  const std::string path = FileOfBench();
  if (!Open({.path = path, .hostname = "mx1", .format = format}).ok()) return;
  const uint64_t lost = LostLines();
  int i = 0;
  for (auto _ : state) {
    WriteLine(++i);
    // No more at once than the log keeps: what is measured is a line that is written.
    if (i % 10'000 == 0) Flush();
  }
  Flush();
  state.counters["lost"] = static_cast<double>(LostLines() - lost);
  unlink(path.c_str());
}
BENCHMARK_CAPTURE(LineToFile, postfix, Format::kPostfix);
BENCHMARK_CAPTURE(LineToFile, json, Format::kJson);

// Beside: a write(2) for each line, as postlogd does.
void WriteForEachLine(benchmark::State& state) {
  const std::string path = FileOfBench();
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  const std::string line(210, 'x');
  for (auto _ : state) {
    if (write(fd, line.data(), line.size()) < 0) state.SkipWithError("write");
  }
  close(fd);
  unlink(path.c_str());
}
BENCHMARK(WriteForEachLine);

}  // namespace
}  // namespace postfleet::maillog
