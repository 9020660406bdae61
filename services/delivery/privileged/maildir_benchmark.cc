// Maildir deliveries a second through the helper, and the CPU that they take.
//
//   maildir_benchmark HELPER FOLDER [messages] [bytes] [connections] [mailboxes] [outstanding]
//
// As root the mailboxes are owned by uid and gid 5000, else by the caller. The folder's file system
// decides: a tmpfs shows the CPU alone.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "services/delivery/privileged/helper_connections.h"
#include "services/delivery/privileged/spawn.h"

namespace postfleet::delivery::privileged {
namespace {

class OneSlice : public ContentReader {
 public:
  OneSlice(runtime::EventLoop& loop, grpc::Slice slice) : loop_(loop), slice_(std::move(slice)) {}
  void Next(Done done) override {
    loop_.Post([this, done = std::move(done)] {
      if (std::exchange(given_, true)) return done(absl::OkStatus(), {});
      done(absl::OkStatus(), {slice_});
    });
  }

 private:
  runtime::EventLoop& loop_;
  const grpc::Slice slice_;
  bool given_ = false;
};

struct Load {
  std::string base;
  int messages = 10000;
  int bytes = 4096;
  int mailboxes = 100;
  int outstanding = 100;
  uid_t uid = 5000;
  gid_t gid = 5000;
};

class Run {
 public:
  Run(runtime::EventLoop& loop, HelperConnections& connections, const Load& load)
      : loop_(loop), connections_(connections), load_(load), slice_(std::string(load.bytes, 'x')) {}

  int Failures() {
    for (int i = 0; i < load_.outstanding; ++i) Next();
    loop_.io().run();
    return failures_;
  }

 private:
  void Next() {
    if (started_ == load_.messages) return;
    Handover handover;
    handover.request.content_bytes = load_.bytes;
    handover.request.seconds = 1800000000;
    handover.request.microseconds = static_cast<uint32_t>(started_);
    handover.request.host = "bench";
    handover.request.base = load_.base;
    handover.request.targets = {
        {.uid = load_.uid,
         .gid = load_.gid,
         .path = "example.com/user" + std::to_string(started_ % load_.mailboxes) + "/",
         .header = "Return-Path: <a@b>\nX-Original-To: c@d\nDelivered-To: c@d\n"}};
    handover.contents = std::make_unique<OneSlice>(loop_, slice_);
    handover.done = [this](const absl::Status& status, std::vector<TargetResult> results) {
      if (!status.ok() || results[0].code != Code::kDelivered) ++failures_;
      if (++ended_ == load_.messages) return loop_.io().stop();
      Next();
    };
    ++started_;
    connections_.Deliver(std::move(handover));
  }

  runtime::EventLoop& loop_;
  HelperConnections& connections_;
  const Load& load_;
  const grpc::Slice slice_;
  int started_ = 0;
  int ended_ = 0;
  int failures_ = 0;
};

double CpuMicros(int who) {
  struct rusage usage;
  getrusage(who, &usage);
  return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + usage.ru_utime.tv_usec +
         usage.ru_stime.tv_usec;
}

int Main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: %s HELPER FOLDER [numbers]\n", argv[0]), 2;
  auto number = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
  Load load = {.base = argv[2],
               .messages = number(3, 10000),
               .bytes = number(4, 4096),
               .mailboxes = number(6, 100),
               .outstanding = number(7, 100)};
  const int connection_count = number(5, kConnectionsDefault);
  std::filesystem::create_directories(load.base);
  if (getuid() != 0) load.uid = getuid(), load.gid = getgid();
  if (getuid() == 0 && chown(load.base.c_str(), load.uid, load.gid) != 0) return 1;

  HelperProcess helper = SpawnHelper({.path = argv[1], .connections = connection_count});
  if (!helper.error.empty()) return std::fprintf(stderr, "%s\n", helper.error.c_str()), 1;
  runtime::EventLoop loop("benchmark");
  auto connections = std::make_unique<HelperConnections>(loop, helper.sockets);
  Load warm = load;
  warm.messages = load.mailboxes;
  Run(loop, *connections, warm).Failures();
  loop.io().restart();

  const double own_before = CpuMicros(RUSAGE_SELF);
  const auto start = std::chrono::steady_clock::now();
  const int failures = Run(loop, *connections, load).Failures();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double own = CpuMicros(RUSAGE_SELF) - own_before;
  connections.reset();
  waitpid(helper.pid, nullptr, 0);
  const double helpers =
      CpuMicros(RUSAGE_CHILDREN) * load.messages / (load.messages + load.mailboxes);
  std::printf(
      "%d messages of %d bytes, %d connections, %d mailboxes: %.0f a second, %.1f us CPU "
      "each (helper %.1f, server %.1f), %d failed\n",
      load.messages, load.bytes, connection_count, load.mailboxes, load.messages / seconds,
      (own + helpers) / load.messages, helpers / load.messages, own / load.messages, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace postfleet::delivery::privileged

int main(int argc, char** argv) { return postfleet::delivery::privileged::Main(argc, argv); }
