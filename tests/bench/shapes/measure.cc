#include "tests/bench/shapes/measure.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

namespace postfleet::bench {

double CpuMicroseconds(pid_t pid) {
  clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  if (pid != 0) BENCH_CHECK(clock_getcpuclockid(pid, &clock) == 0);
  timespec now;
  BENCH_CHECK(clock_gettime(clock, &now) == 0);
  return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

double WallSeconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

int64_t WrittenBytes() {
  std::ifstream in("/proc/self/io");
  std::string name;
  int64_t value = 0;
  while (in >> name >> value) {
    if (name == "write_bytes:") return value;
  }
  return 0;
}

int64_t DeviceWrittenBytes(const std::string& path) {
  struct stat info;
  BENCH_CHECK(stat(path.c_str(), &info) == 0);
  std::ostringstream name;
  name << "/sys/dev/block/" << major(info.st_dev) << ":" << minor(info.st_dev) << "/stat";
  std::ifstream in(name.str());
  int64_t value = 0;
  // The seventh field counts written sectors of 512 bytes.
  for (int field = 0; field < 7; ++field) in >> value;
  return value * 512;
}

double ResidentMegabytes() {
  std::ifstream in("/proc/self/statm");
  int64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

std::string ThreadNames() {
  std::map<std::string, int> count;
  DIR* tasks = opendir("/proc/self/task");
  while (dirent* entry = readdir(tasks)) {
    if (entry->d_name[0] == '.') continue;
    std::ifstream in("/proc/self/task/" + std::string(entry->d_name) + "/comm");
    std::string name;
    if (std::getline(in, name)) ++count[name];
  }
  closedir(tasks);
  std::ostringstream out;
  for (const auto& [name, n] : count) out << name << " " << n << ", ";
  return out.str();
}

std::string Flag(int argc, char** argv, std::string_view name, std::string_view fallback) {
  const std::string prefix = "--" + std::string(name) + "=";
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    if (argument.substr(0, prefix.size()) == prefix) {
      return std::string(argument.substr(prefix.size()));
    }
  }
  return std::string(fallback);
}

namespace {

std::string Number(double value) {
  char text[32];
  const int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string Cell(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::string median = Number(values[values.size() / 2]);
  const std::string low = Number(values.front());
  const std::string high = Number(values.back());
  if (low == high) return median;
  return median + " (" + low + "-" + high + ")";
}

}  // namespace

void RunTable(const std::string& title, const std::vector<std::string>& columns,
              const std::vector<Variant>& variants, int rounds, const std::string& only) {
  std::vector<std::vector<std::vector<double>>> cells(
      variants.size(), std::vector<std::vector<double>>(columns.size()));
  for (int round = 0; round < rounds; ++round) {
    for (size_t v = 0; v < variants.size(); ++v) {
      if (variants[v].name.find(only) == std::string::npos) continue;
      std::vector<double> row = variants[v].run();
      BENCH_CHECK(row.size() == columns.size());
      for (size_t c = 0; c < row.size(); ++c) cells[v][c].push_back(row[c]);
      std::fprintf(stderr, "round %d: %s: %s %s\n", round + 1, variants[v].name.c_str(),
                   Number(row[0]).c_str(), columns[0].c_str());
    }
  }
  std::printf("### %s\n\n| variant |", title.c_str());
  for (const std::string& column : columns) std::printf(" %s |", column.c_str());
  std::printf("\n|---|");
  for (size_t c = 0; c < columns.size(); ++c) std::printf("---:|");
  std::printf("\n");
  for (size_t v = 0; v < variants.size(); ++v) {
    if (cells[v][0].empty()) continue;
    std::printf("| %s |", variants[v].name.c_str());
    for (const auto& cell : cells[v]) std::printf(" %s |", Cell(cell).c_str());
    std::printf("\n");
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace postfleet::bench
