// Against Postfix's smtp-sink, an SMTP server that we did not write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <chrono>
#include <optional>

#include "libs/base/concat.h"
#include "libs/dns/fake_resolver.h"
#include "services/delivery/smtp/smtp_agent.h"

namespace postfleet::delivery::smtp {
namespace {

using asio::ip::tcp;

constexpr char kSink[] = "/usr/sbin/smtp-sink";

uint16_t FreePort() {
  asio::io_context io;
  return tcp::acceptor(io, {asio::ip::address_v4::loopback(), 0}).local_endpoint().port();
}

// A private smtp-sink with the options given; ended with this object.
class Sink {
 public:
  explicit Sink(std::vector<std::string> options) : port_(FreePort()) {
    options.insert(options.begin(), kSink);
    // Root's sink must become another user; nobody else's may.
    if (geteuid() == 0) options.insert(options.end(), {"-u", "nobody"});
    options.insert(options.end(), {Concat("127.0.0.1:", port_), "100"});
    std::vector<char*> arguments;
    for (std::string& option : options) arguments.push_back(option.data());
    arguments.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, kSink, nullptr, nullptr, arguments.data(), environ), 0);
  }
  ~Sink() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  // Until it takes connections.
  bool AwaitReady(asio::io_context& io) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < limit) {
      tcp::socket socket(io);
      std::error_code error;
      socket.connect({asio::ip::address_v4::loopback(), port_}, error);
      if (!error) return true;
      sched_yield();
    }
    return false;
  }
  std::string nexthop() const { return Concat("[127.0.0.1]:", port_); }

 private:
  const uint16_t port_;
  pid_t pid_ = 0;
};

class TextReader : public ContentReader {
 public:
  TextReader(asio::io_context& io, std::string text) : io_(io), text_(std::move(text)) {}
  void Next(Done done) override {
    asio::post(io_, [done = std::move(done), text = std::exchange(text_, {})] {
      rpc::Payload payload;
      if (!text.empty()) payload.push_back(rpc::OwningSlice(text));
      done(absl::OkStatus(), std::move(payload));
    });
  }

 private:
  asio::io_context& io_;
  std::string text_;
};

class SinkTest : public ::testing::Test {
 protected:
  // Sends `count` messages, `at_once` at a time; the outcomes' texts.
  std::vector<std::string> Send(Sink& sink, size_t count, size_t at_once) {
    EXPECT_TRUE(sink.AwaitReady(loop_.io()));
    std::vector<std::string> texts;
    size_t started = 0;
    while (texts.size() < count) {
      while (started < count && started - texts.size() < at_once) Start(sink, ++started, &texts);
      if (loop_.io().run_one_for(std::chrono::seconds(20)) == 0) break;
    }
    return texts;
  }

  void Start(Sink& sink, uint64_t id, std::vector<std::string>* texts) {
    auto attempt = std::make_unique<Attempt>();
    attempt->delivery.set_id(id);
    attempt->delivery.set_queue_id("4jXVqC48Jhz1cXNP");
    attempt->delivery.set_nexthop(sink.nexthop());
    attempt->delivery.mutable_envelope()->set_sender("from@client.test");
    attempt->delivery.add_recipients()->set_address("to@example.test");
    const std::string text = "Subject: x\n\n.\n" + std::string(4000, 'x') + "\n";
    attempt->delivery.set_content_bytes(text.size());
    attempt->contents = std::make_unique<TextReader>(loop_.io(), text);
    attempt->done = [texts](AttemptResult result) {
      for (const auto& outcome : result.result.outcomes()) texts->push_back(outcome.text());
    };
    agent_.Start(std::move(attempt));
  }

  runtime::EventLoop loop_{"test"};
  dns::FakeResolver resolver_{loop_.io()};
  SmtpAgent agent_{{},
                   {.loop = &loop_, .resolver = &resolver_, .random = [](uint32_t) { return 0u; }}};
};

TEST_F(SinkTest, AHundredMessagesOnTenConnections) {
  Sink sink({});
  const auto texts = Send(sink, 100, 10);
  EXPECT_THAT(texts, ::testing::SizeIs(100));
  EXPECT_THAT(texts, ::testing::Each(::testing::StartsWith("250 2.0.0 Ok")));
  // The first attempt begins alone; all others meet company and keep their connections.
  EXPECT_LE(agent_.connections_opened(), 12u);
}

TEST_F(SinkTest, WithoutPipelining) {
  Sink sink({"-p"});
  EXPECT_THAT(Send(sink, 10, 2), ::testing::Each(::testing::StartsWith("250 2.0.0 Ok")));
}

TEST_F(SinkTest, WithoutEhlo) {
  Sink sink({"-e"});
  EXPECT_THAT(Send(sink, 10, 2), ::testing::Each(::testing::StartsWith("250 2.0.0 Ok")));
}

TEST_F(SinkTest, RefusedRecipientsBounce) {
  Sink sink({"-r", "rcpt"});
  const auto texts = Send(sink, 5, 1);
  EXPECT_THAT(texts, ::testing::SizeIs(5));
  EXPECT_THAT(texts, ::testing::Each(::testing::EndsWith("(in reply to RCPT TO command)")));
}

TEST_F(SinkTest, HangingUpAfterDataDefers) {
  Sink sink({"-q", "data"});
  EXPECT_THAT(Send(sink, 2, 1),
              ::testing::Each(::testing::HasSubstr("lost connection with 127.0.0.1")));
}

}  // namespace
}  // namespace postfleet::delivery::smtp
