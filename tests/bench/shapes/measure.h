// What the three benchmarks share: clocks, process counters, flags, and a table
// of interleaved rounds.
//
// CPU time is that of all threads of a process, in microseconds; for another
// process it is read from that process's CPU clock, so both sides of an RPC are
// counted. Tables show the median of the rounds, and min to max behind it.
#ifndef TESTS_BENCH_SHAPES_MEASURE_H_
#define TESTS_BENCH_SHAPES_MEASURE_H_

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::bench {

#define BENCH_CHECK(condition)                                             \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

// Microseconds of CPU that the process used; pid 0 is this process.
double CpuMicroseconds(pid_t pid = 0);
double WallSeconds();

// Bytes this process made dirty in files (write_bytes of /proc/self/io), without
// the file system's journal. Counted by page-cache folio: a few bytes written
// into a cached file of large folios count as up to 2 MB.
int64_t WrittenBytes();
// Bytes the block device under `path` has written, for all processes.
int64_t DeviceWrittenBytes(const std::string& path);
double ResidentMegabytes();
// Names and counts of this process's threads, "grpc_x 2, main 1".
std::string ThreadNames();

// Value of --name=value, or fallback.
std::string Flag(int argc, char** argv, std::string_view name, std::string_view fallback);

// One variant returns one value for each column.
struct Variant {
  std::string name;
  std::function<std::vector<double>()> run;
};

// Runs every variant once per round, all variants of a round before the next
// round, and prints one Markdown row for each: "median (min-max)". Only
// variants whose name contains `only` are run.
void RunTable(const std::string& title, const std::vector<std::string>& columns,
              const std::vector<Variant>& variants, int rounds, const std::string& only);

}  // namespace postfleet::bench

#endif  // TESTS_BENCH_SHAPES_MEASURE_H_
