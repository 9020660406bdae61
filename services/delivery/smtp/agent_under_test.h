// What tests of the SMTP agent stand on: a loop, a clock, a DNS and a server of their own, and
// attempts whose results are kept.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/concat.h"
#include "libs/dns/fake_resolver.h"
#include "services/delivery/smtp/scripted_server.h"
#include "services/delivery/smtp/smtp_agent.h"

namespace postfleet::delivery::smtp {

// Contents in pieces, each given by a post.
class PiecesReader : public ContentReader {
 public:
  // `stalls`: behind the pieces nothing comes.
  PiecesReader(asio::io_context& io, std::vector<std::string> pieces,
               absl::Status end = absl::OkStatus(), bool stalls = false)
      : io_(io), pieces_(std::move(pieces)), end_(std::move(end)), stalls_(stalls) {}

  void Next(Done done) override {
    if (stalls_ && next_ == pieces_.size()) return;
    asio::post(io_, [this, alive = std::weak_ptr(alive_), done = std::move(done)] {
      if (alive.expired()) return;
      if (next_ == pieces_.size()) return done(end_, {});
      done(absl::OkStatus(), {rpc::OwningSlice(pieces_[next_++])});
    });
  }

 private:
  asio::io_context& io_;
  std::vector<std::string> pieces_;
  absl::Status end_;
  bool stalls_;
  size_t next_ = 0;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

inline std::string Describe(const mail::v1::Outcome& outcome) {
  const char* action = outcome.action() == mail::v1::Outcome::ACTION_SENT       ? "sent"
                       : outcome.action() == mail::v1::Outcome::ACTION_DEFERRED ? "deferred"
                                                                                : "bounced";
  return Concat(action, " ", outcome.status(), " ", outcome.text());
}

class SmtpAgentTest : public ::testing::Test {
 protected:
  SmtpAgentTest() {
    options_.myhostname = options_.helo_name = "client.test";
    options_.port = options_.loop_port = server_.port();
    options_.tick = std::chrono::milliseconds(1);
    resolver_.AddAddress("mx.test", "127.0.0.1");
    resolver_.AddMx("example.test", 10, "mx.test");
  }

  SmtpAgent& agent() {
    if (agent_ == nullptr) {
      agent_ = std::make_unique<SmtpAgent>(
          options_, SmtpWorld{.loop = &loop_,
                              .resolver = &resolver_,
                              .native_resolver = &native_resolver_,
                              .clock = &clock_,
                              .random = [](uint32_t bound) { return bound - 1; }});
    }
    return *agent_;
  }

  template <typename Condition>
  void RunUntil(Condition condition) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit) << "nothing happened";
      loop_.io().run_one_for(std::chrono::seconds(1));
    }
  }

  // Whatever there is to do is done, ticks included.
  void RunTicks() {
    for (int i = 0; i < 10; ++i) loop_.io().run_one_for(std::chrono::milliseconds(5));
  }

  struct Given {
    std::string nexthop = "example.test";
    std::vector<std::string> recipients = {"one@example.test"};
    std::vector<std::string> pieces = {"Subject: x\n\nbody\n"};
    absl::Status end = absl::OkStatus();
    // Negative: as many as the pieces have.
    int64_t content_bytes = -1;
    bool stalls = false;
  };

  uint64_t Start(Given given) {
    auto attempt = std::make_unique<Attempt>();
    attempt->contents =
        std::make_unique<PiecesReader>(loop_.io(), given.pieces, given.end, given.stalls);
    scheduler::v1::Delivery& delivery = attempt->delivery;
    delivery.set_id(++last_id_);
    delivery.set_queue_id("4jXVqC48Jhz1cXNP");
    delivery.set_nexthop(given.nexthop);
    delivery.mutable_envelope()->set_sender("from@client.test");
    uint32_t number = 0;
    for (const std::string& recipient : given.recipients) {
      auto* added = delivery.add_recipients();
      added->set_address(recipient);
      added->set_number(number++);
    }
    size_t bytes = 0;
    for (const std::string& piece : given.pieces) bytes += piece.size();
    delivery.set_content_bytes(
        given.content_bytes < 0 ? bytes : static_cast<uint64_t>(given.content_bytes));
    attempt->done = [this, id = last_id_](AttemptResult result) {
      EXPECT_FALSE(results_.contains(id)) << "answered twice";
      results_[id] = result.result;
      passed_on_[id] = std::move(result.passed_on);
    };
    agent().Start(std::move(attempt));
    return last_id_;
  }

  scheduler::v1::DeliveryResult Wait(uint64_t id) {
    RunUntil([&] { return results_.contains(id); });
    return results_[id];
  }
  scheduler::v1::DeliveryResult Deliver(Given given) { return Wait(Start(std::move(given))); }

  // By recipient number.
  std::vector<std::string> Texts(const scheduler::v1::DeliveryResult& result) {
    std::map<uint32_t, std::string> by_number;
    for (const mail::v1::Outcome& outcome : result.outcomes()) {
      by_number[outcome.recipient_number()] = Describe(outcome);
    }
    std::vector<std::string> texts;
    for (auto& [number, text] : by_number) texts.push_back(text);
    return texts;
  }

  // Two attempts that overlap make their destination a reused one.
  void WarmUp() {
    const uint64_t first = Start({});
    const uint64_t second = Start({});
    Wait(first);
    Wait(second);
  }

  runtime::EventLoop loop_{"test"};
  FakeClock clock_;
  dns::FakeResolver resolver_{loop_.io()};
  dns::FakeResolver native_resolver_{loop_.io()};
  ScriptedServer server_{loop_.io()};
  SmtpOptions options_;
  std::unique_ptr<SmtpAgent> agent_;
  uint64_t last_id_ = 0;
  std::map<uint64_t, scheduler::v1::DeliveryResult> results_;
  std::map<uint64_t, std::unique_ptr<Attempt>> passed_on_;
};

}  // namespace postfleet::delivery::smtp
