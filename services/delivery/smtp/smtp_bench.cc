// What a message costs the SMTP client: CPU of the loop's thread, system calls included.
//
//   smtp_bench PORT [MESSAGES [AT_ONCE [BYTES]]]
//
// against a server on loopback, such as: smtp-sink -u nobody 127.0.0.1:PORT 1000
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/delivery/smtp/smtp_agent.h"

namespace postfleet::delivery::smtp {
namespace {

class NoResolver : public dns::Resolver {
  void Lookup(dns::Type, std::string_view, Done) override { std::abort(); }
};

// As the delivery service's reader of contents that came along.
class SliceReader : public ContentReader {
 public:
  SliceReader(runtime::EventLoop& loop, const grpc::Slice& slice) : loop_(loop), slice_(slice) {}
  void Next(Done done) override {
    loop_.Post([this, done = std::move(done)] { done(absl::OkStatus(), {slice_}); });
  }

 private:
  runtime::EventLoop& loop_;
  const grpc::Slice slice_;
};

double CpuMicros() {
  rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  const auto micros = [](const timeval& t) {
    return 1e6 * static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

struct Run {
  runtime::EventLoop loop{"bench"};
  NoResolver resolver;
  SmtpAgent agent{{},
                  {.loop = &loop, .resolver = &resolver, .random = [](uint32_t) { return 0u; }}};
  std::string nexthop;
  grpc::Slice contents;
  uint64_t started = 0;
  uint64_t done = 0;
  uint64_t sent = 0;

  void Start() {
    auto attempt = std::make_unique<Attempt>();
    scheduler::v1::Delivery& delivery = attempt->delivery;
    delivery.set_id(++started);
    delivery.set_queue_id("4jXVqC48Jhz1cXNP");
    delivery.set_nexthop(nexthop);
    delivery.mutable_envelope()->set_sender("from@client.test");
    delivery.add_recipients()->set_address("to@example.test");
    delivery.set_content_bytes(contents.size());
    attempt->contents = std::make_unique<SliceReader>(loop, contents);
    attempt->done = [this](AttemptResult result) {
      ++done;
      sent += result.result.outcomes(0).action() == mail::v1::Outcome::ACTION_SENT;
    };
    agent.Start(std::move(attempt));
  }
};

int Main(int argc, char** argv) {
  if (argc < 2) return 1;
  const auto number = [&](int index, uint64_t otherwise) {
    return argc > index ? std::strtoull(argv[index], nullptr, 10) : otherwise;
  };
  const uint64_t messages = number(2, 20'000);
  const uint64_t at_once = number(3, 20);
  (void)maillog::Open({.path = "/dev/null"});
  Run run;
  run.nexthop = Concat("[127.0.0.1]:", argv[1]);
  std::string text = "Subject: bench\n\n";
  while (text.size() < number(4, 4096)) text += std::string(71, 'x') + "\n";
  run.contents = rpc::OwningSlice(text);
  const auto begin = std::chrono::steady_clock::now();
  const double cpu = CpuMicros();
  while (run.done < messages) {
    while (run.started < messages && run.started - run.done < at_once) run.Start();
    run.loop.io().run_one();
  }
  const double used = CpuMicros() - cpu;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%llu of %llu sent, %llu connections, %.0f a second, %.1f us CPU a message\n",
              static_cast<unsigned long long>(run.sent), static_cast<unsigned long long>(messages),
              static_cast<unsigned long long>(run.agent.connections_opened()),
              static_cast<double>(messages) / seconds, used / static_cast<double>(messages));
  return run.sent == messages ? 0 : 1;
}

}  // namespace
}  // namespace postfleet::delivery::smtp

int main(int argc, char** argv) { return postfleet::delivery::smtp::Main(argc, argv); }
