#include "services/ingress/ingress.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <future>
#include <mutex>
#include <thread>

#include "libs/base/crc32c.h"
#include "libs/submission/fake_services.h"

namespace postfleet::ingress {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// A blocking SMTP client.
class Peer {
 public:
  explicit Peer(uint16_t port) : socket_(io_) {
    socket_.connect({asio::ip::address_v4::loopback(), port});
    const timeval limit{.tv_sec = 20};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }
  // One reply; empty: the connection ended.
  std::string Read() {
    std::string reply;
    while (true) {
      const size_t end = received_.find("\r\n");
      if (end == std::string::npos) {
        char buffer[4096];
        const ssize_t count = ::recv(socket_.native_handle(), buffer, sizeof(buffer), 0);
        if (count <= 0) return reply;
        received_.append(buffer, static_cast<size_t>(count));
        continue;
      }
      const std::string line = received_.substr(0, end + 2);
      received_.erase(0, end + 2);
      reply += line;
      if (line.size() < 4 || line[3] != '-') return reply;
    }
  }
  void Write(std::string_view bytes) {
    std::error_code ignored;
    asio::write(socket_, asio::buffer(bytes), ignored);
  }
  std::string Say(const std::string& line) {
    Write(line + "\r\n");
    return Read();
  }
  std::string SendMessage(std::string_view content) {
    Say("MAIL FROM:<a@b.example>");
    Say("RCPT TO:<user@here.example>");
    Say("DATA");
    Write(content);
    return Say(".");
  }
  // Something has come, or comes within `wait`.
  bool HasInput(std::chrono::milliseconds wait) {
    if (!received_.empty()) return true;
    pollfd input{.fd = socket_.native_handle(), .events = POLLIN, .revents = 0};
    return ::poll(&input, 1, static_cast<int>(wait.count())) > 0;
  }
  void Close() { socket_.close(); }

 private:
  asio::io_context io_;
  asio::ip::tcp::socket socket_;
  std::string received_;
};

SessionConfig Config() {
  SessionConfig config;
  config.myhostname = "mx.example.com";
  config.banner = "mx.example.com ESMTP Postfleet";
  config.relay_restrictions = {config::Restriction::kRejectUnauthDestination};
  config.client_limits.connection_count = 0;
  return config;
}

class IngressTest : public testing::Test {
 protected:
  ListenerOptions ListenerOf(const SessionConfig& config) const {
    ListenerOptions listener;
    listener.host = "127.0.0.1";
    listener.session = config;
    listener.stressed_session = stressed_;
    listener.sessions_max = sessions_max_;
    listener.behind_proxy = behind_proxy_;
    listener.proxy_timeout = proxy_timeout_;
    return listener;
  }
  IngressOptions OptionsOf(const SessionConfig& config) const {
    IngressOptions options;
    options.listeners.push_back(ListenerOf(config));
    for (int i = 1; i < loops_; ++i) {
      options.further_loops.emplace_back();
      options.further_loops.back().push_back(ListenerOf(config));
    }
    return options;
  }
  void Start(const SessionConfig& config = Config(), size_t buffer_bytes_max = 64u << 20) {
    IngressOptions options = OptionsOf(config);
    options.queue = services_.channel();
    options.lookup = services_.channel();
    options.metrics = &registry_;
    options.ingress_buffer_bytes_max = buffer_bytes_max;
    ingress_ = Ingress::Start(std::move(options)).value();
    port_ = ingress_->ports().at(0);
  }
  int loops_ = 1;
  bool behind_proxy_ = false;
  std::chrono::milliseconds proxy_timeout_{60'000};
  size_t sessions_max_ = 0;
  std::shared_ptr<SessionConfig> stressed_;
  metrics::Registry registry_;
  submission::FakeServices services_;
  std::unique_ptr<Ingress> ingress_;
  uint16_t port_ = 0;
};

// ---- Behind a proxy ----

TEST_F(IngressTest, AProxySaysWhoTheClientIs) {
  behind_proxy_ = true;
  Start();
  Peer peer(port_);
  peer.Write("PROXY TCP4 192.0.2.7 192.");
  peer.Write("0.2.1 25041 25\r\n");
  EXPECT_THAT(peer.Read(), StartsWith("220 "));
  peer.Say("EHLO client.example");
  EXPECT_THAT(peer.SendMessage("Subject: x\r\n\r\nhello\r\n"), StartsWith("250 2.0.0 Ok"));
  const mail::v1::Origin origin = services_.messages().at(0).message.envelope().origin();
  EXPECT_EQ(origin.client_address(), "192.0.2.7");
}

TEST_F(IngressTest, AProxyMaySpeakForItself) {
  behind_proxy_ = true;
  Start();
  Peer peer(port_);
  peer.Write(std::string("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16));
  EXPECT_THAT(peer.Read(), StartsWith("220 "));
  peer.Say("EHLO client.example");
  EXPECT_THAT(peer.SendMessage("Subject: x\r\n\r\nhello\r\n"), StartsWith("250 2.0.0 Ok"));
  const mail::v1::Origin origin = services_.messages().at(0).message.envelope().origin();
  EXPECT_EQ(origin.client_address(), "127.0.0.1");
}

TEST_F(IngressTest, WhoIsNoProxyIsSentAway) {
  behind_proxy_ = true;
  Start();
  Peer peer(port_);
  peer.Write("EHLO client.example\r\n");
  EXPECT_THAT(peer.Read(), ::testing::MatchesRegex("421 4.3.0 .* Server local error\r\n"));
  EXPECT_EQ(peer.Read(), "");
}

TEST_F(IngressTest, AProxyThatSaysNothingIsNotWaitedForForEver) {
  behind_proxy_ = true;
  proxy_timeout_ = std::chrono::milliseconds(1);
  Start();
  Peer peer(port_);
  EXPECT_THAT(peer.Read(), StartsWith("421 4.3.0 "));
  EXPECT_EQ(peer.Read(), "");
}

TEST_F(IngressTest, AMessageReachesTheQueueWhole) {
  Start();
  Peer peer(port_);
  peer.Read();
  EXPECT_THAT(peer.Say("EHLO client.example"), EndsWith("250 CHUNKING\r\n"));
  EXPECT_THAT(peer.SendMessage("Subject: x\r\n\r\nhello\r\n"),
              StartsWith("250 2.0.0 Ok: queued as "));
  EXPECT_EQ(peer.Say("QUIT"), "221 2.0.0 Bye\r\n");
  EXPECT_EQ(peer.Read(), "");
  const std::vector<submission::FakeServices::Message> messages = services_.messages();
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_THAT(messages[0].content, EndsWith("\nSubject: x\n\nhello\n"));
  EXPECT_EQ(messages[0].message.recipients(0).address(), "user@here.example");
  EXPECT_THAT(registry_.Expose(), HasSubstr("postfleet_smtpd_messages_accepted_total{auth=\"no\","
                                            "listener=\"smtpd\"} 1"));
}

TEST_F(IngressTest, PipelinedRepliesComeInOrder) {
  Start();
  Peer peer(port_);
  peer.Read();
  peer.Say("EHLO x");
  peer.Write(
      "MAIL FROM:<a@b>\r\nRCPT TO:<u@here.example>\r\nRCPT TO:<u@there.example>\r\nDATA\r\n");
  EXPECT_EQ(peer.Read(), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(peer.Read(), "250 2.1.5 Ok\r\n");
  EXPECT_EQ(peer.Read(), "554 5.7.1 <u@there.example>: Relay access denied\r\n");
  EXPECT_THAT(peer.Read(), StartsWith("354 "));
  EXPECT_THAT(registry_.Expose(), HasSubstr("smtpd_rejects_total{code=\"554\",reason=\"relay\","
                                            "stage=\"rcpt\"} 1"));
}

TEST_F(IngressTest, FiftyMegabytesTakeBoundedMemory) {
  SessionConfig config = Config();
  config.message_size_limit = 0;
  Start(config);
  Peer peer(port_);
  peer.Read();
  peer.Say("EHLO x");
  peer.Say("MAIL FROM:<a@b>");
  peer.Say("RCPT TO:<u@here.example>");
  peer.Say("DATA");
  std::string block;
  while (block.size() < 1'000'000) block += std::string(98, 'x') + "\r\n";
  peer.Write("Subject: big\r\n\r\n");
  uint32_t crc = 0;
  for (int i = 0; i < 50; ++i) peer.Write(block);
  EXPECT_THAT(peer.Say("."), StartsWith("250 2.0.0 Ok: queued as "));
  const std::vector<submission::FakeServices::Message> messages = services_.messages();
  ASSERT_EQ(messages.size(), 1u);
  std::string stored;
  for (size_t i = 0; i + 1 < block.size(); ++i) {
    if (block[i] == '\r') continue;
    stored += block[i];
  }
  stored += block.back();
  uint32_t expected = 0;
  for (int i = 0; i < 50; ++i) expected = Crc32c(stored, expected);
  const size_t body = messages[0].content.find("\n\n") + 2;
  crc = Crc32c(std::string_view(messages[0].content).substr(body), crc);
  EXPECT_EQ(crc, expected);
  EXPECT_EQ(messages[0].message.content_bytes(), messages[0].content.size());
  // Two chunks with the queue, one that fills, and one read.
  EXPECT_LE(ingress_->figures().buffered_bytes_peak, 3u * 128 * 1024 + 64 * 1024);
  EXPECT_EQ(ingress_->figures().buffered_bytes, 0u);
}

TEST_F(IngressTest, WhatWasNotAcknowledgedIsSentAgainUnderTheSameId) {
  services_.hold_results = true;
  Start();
  Peer peer(port_);
  peer.Read();
  peer.Say("EHLO x");
  peer.Say("MAIL FROM:<a@b>");
  peer.Say("RCPT TO:<u@here.example>");
  peer.Say("DATA");
  peer.Write("x\r\n.\r\n");
  const queue::v1::SubmissionId first = services_.WaitForSubmission();
  services_.CutEnqueueStreams();
  const queue::v1::SubmissionId second = services_.WaitForSubmission();
  EXPECT_EQ(first.sequence(), second.sequence());
  EXPECT_EQ(first.incarnation(), second.incarnation());
  services_.Release();
  EXPECT_THAT(peer.Read(), StartsWith("250 2.0.0 Ok: queued as "));
}

TEST_F(IngressTest, AForgottenIncarnationIsRegisteredAnew) {
  Start();
  Peer peer(port_);
  peer.Read();
  peer.Say("EHLO x");
  services_.next_code = queue::v1::EnqueueResult::EXPIRED;
  EXPECT_EQ(peer.SendMessage("x\r\n"), "451 4.3.0 Error: queue file write error\r\n");
  services_.next_code = queue::v1::EnqueueResult::COMMITTED;
  services_.WaitForEnqueueStreams(2);
  EXPECT_EQ(services_.registrations(), 2);
  EXPECT_THAT(peer.SendMessage("x\r\n"), StartsWith("250 2.0.0 Ok: queued as "));
}

TEST_F(IngressTest, WhileTheQueueIsAwayClientsAreToldAtOnce) {
  constexpr char kRefusal[] = "451 4.3.0 Error: queue file write error\r\n";
  Start();
  Peer at_mail(port_);
  at_mail.Read();
  at_mail.Say("EHLO x");
  Peer at_data(port_);
  at_data.Read();
  at_data.Say("EHLO x");
  at_data.Say("MAIL FROM:<a@b>");
  at_data.Say("RCPT TO:<u@here.example>");
  services_.WaitForEnqueueStreams(1);
  services_.queue_away = true;
  services_.CutEnqueueStreams();
  services_.WaitForRefusals(1);
  EXPECT_EQ(at_mail.Say("MAIL FROM:<a@b>"), kRefusal);
  EXPECT_EQ(at_data.Say("DATA"), kRefusal);
  services_.queue_away = false;
  services_.WaitForEnqueueStreams(2);
  EXPECT_THAT(at_mail.SendMessage("x\r\n"), StartsWith("250 2.0.0 Ok: queued as "));
  EXPECT_THAT(at_data.Say("DATA"), StartsWith("354 "));
  at_data.Write("x\r\n");
  EXPECT_THAT(at_data.Say("."), StartsWith("250 2.0.0 Ok: queued as "));
  EXPECT_EQ(services_.messages().size(), 2u);
}

TEST_F(IngressTest, LostLookupsAreAskedAgain) {
  services_.hold_answers = true;
  Start();
  services_.WaitForQueries(1);  // the sign of life
  services_.CutResolveStreams();
  services_.ReleaseAnswers();
  Peer peer(port_);
  EXPECT_THAT(peer.Read(), StartsWith("220 "));
  peer.Say("EHLO x");
  peer.Say("MAIL FROM:<a@b>");
  EXPECT_EQ(peer.Say("RCPT TO:<u@here.example>"), "250 2.1.5 Ok\r\n");
}

TEST_F(IngressTest, ConnectionsOfOneClientAreLimited) {
  SessionConfig config = Config();
  config.client_limits.connection_count = 2;
  Start(config);
  Peer first(port_);
  first.Read();
  Peer second(port_);
  second.Read();
  Peer third(port_);
  EXPECT_EQ(third.Read(),
            "421 4.7.0 mx.example.com Error: too many connections from 127.0.0.1\r\n");
  EXPECT_EQ(third.Read(), "");
  first.Say("QUIT");
  EXPECT_EQ(first.Read(), "");
  Peer fourth(port_);
  EXPECT_THAT(fourth.Read(), StartsWith("220 "));
}

TEST_F(IngressTest, LimitsHoldOverAllLoops) {
  loops_ = 3;
  SessionConfig config = Config();
  config.client_limits.connection_count = 4;
  Start(config);
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 4; ++i) {
    peers.push_back(std::make_unique<Peer>(port_));
    EXPECT_THAT(peers.back()->Read(), StartsWith("220 "));
  }
  Peer fifth(port_);
  EXPECT_THAT(fifth.Read(), StartsWith("421 4.7.0 "));
  // It is counted until its connection has ended.
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (ingress_->figures().sessions != 4 && std::chrono::steady_clock::now() < patience) {
    std::this_thread::yield();
  }
  EXPECT_EQ(ingress_->figures().sessions, 4u);
}

TEST_F(IngressTest, SeveralLoopsTakeMailAndEndTogether) {
  loops_ = 3;
  Start();
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 12; ++i) {
    peers.push_back(std::make_unique<Peer>(port_));
    peers.back()->Read();
    peers.back()->Say("EHLO client.example");
    EXPECT_THAT(peers.back()->SendMessage("x\r\n"), StartsWith("250 2.0.0 Ok: queued as "));
  }
  EXPECT_EQ(services_.messages().size(), 12u);
  EXPECT_EQ(ingress_->figures().messages_accepted, 12u);
  EXPECT_TRUE(ingress_->Drain(std::chrono::seconds(10)));
  for (const auto& peer : peers) EXPECT_THAT(peer->Read(), StartsWith("421 4.3.2 "));
}

// A session that ends on one loop makes room for a client that waits, whichever loop takes it.
TEST_F(IngressTest, RoomIsToldToAllLoops) {
  loops_ = 3;
  sessions_max_ = 1;
  Start();
  for (int i = 0; i < 6; ++i) {
    Peer peer(port_);
    EXPECT_THAT(peer.Read(), StartsWith("220 "));
    peer.Say("QUIT");
    peer.Read();
  }
}

TEST_F(IngressTest, EtrnReachesTheQueue) {
  config::Diagnostics diagnostics;
  const auto config =
      config::Config::FromText("fast_flush_domains = relay.example\n", "", {}, diagnostics);
  SessionConfig session = Config();
  session.flush_domains = std::make_shared<tables::FastFlushDomains>(
      tables::FastFlushDomains::Open(config.value()).value());
  Start(session);
  Peer peer(port_);
  peer.Read();
  EXPECT_EQ(peer.Say("ETRN Relay.Example"), "250 Queuing started\r\n");
  EXPECT_THAT(services_.flushed_sites(), testing::ElementsAre("relay.example"));
  services_.queue_away = true;
  EXPECT_EQ(peer.Say("ETRN relay.example"), "458 Unable to queue messages\r\n");
}

TEST_F(IngressTest, ASilentClientIsTimedOut) {
  SessionConfig config = Config();
  config.timeout_ms = 20;
  Start(config);
  Peer peer(port_);
  EXPECT_THAT(peer.Read(), StartsWith("220 "));
  EXPECT_EQ(peer.Read(), "421 4.4.2 mx.example.com Error: timeout exceeded\r\n");
  EXPECT_EQ(peer.Read(), "");
}

// A byte in a while keeps a connection, unless limits are for whole commands.
TEST_F(IngressTest, AClientThatDripsIsTimedOutWhereACommandHasADeadline) {
  SessionConfig config = Config();
  config.timeout_ms = 200;
  config.per_request_deadline = true;
  Start(config);
  Peer peer(port_);
  peer.Read();
  size_t dripped = 0;
  while (!peer.HasInput(std::chrono::milliseconds(10)) && dripped < 1'000) {
    peer.Write("N");
    ++dripped;
  }
  EXPECT_GT(dripped, 3u);
  EXPECT_EQ(peer.Read(), "421 4.4.2 mx.example.com Error: timeout exceeded\r\n");
}

TEST_F(IngressTest, AClientThatDripsStaysWhereItHasNone) {
  SessionConfig config = Config();
  config.timeout_ms = 500;
  Start(config);
  Peer peer(port_);
  peer.Read();
  const auto begun = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begun < std::chrono::milliseconds(1'000)) {
    ASSERT_FALSE(peer.HasInput(std::chrono::milliseconds(10)));
    peer.Write("N");
  }
}

// With a rate that is met each byte is time for more; with one that is not it is none.
TEST_F(IngressTest, ContentHasToComeAtTheLeastRate) {
  for (const bool fast_enough : {true, false}) {
    SessionConfig config = Config();
    config.timeout_ms = 500;
    config.per_request_deadline = true;
    config.min_data_rate = fast_enough ? 1 : 1'000'000;
    Start(config);
    Peer peer(port_);
    peer.Read();
    peer.Say("MAIL FROM:<a@b.example>");
    peer.Say("RCPT TO:<user@here.example>");
    peer.Say("DATA");
    const auto begun = std::chrono::steady_clock::now();
    bool ended = false;
    while (!ended && std::chrono::steady_clock::now() - begun < std::chrono::seconds(2)) {
      ended = peer.HasInput(std::chrono::milliseconds(10));
      if (!ended) peer.Write("x\r\n");
    }
    EXPECT_NE(ended, fast_enough);
    EXPECT_THAT(fast_enough ? peer.Say(".") : peer.Read(),
                StartsWith(fast_enough ? "250 2.0.0 Ok" : "421 4.4.2 "));
  }
}

TEST_F(IngressTest, AServiceHasAsManySessionsAsItMay) {
  sessions_max_ = 2;
  Start();
  Peer first(port_);
  first.Read();
  Peer second(port_);
  second.Read();
  Peer third(port_);
  EXPECT_FALSE(third.HasInput(std::chrono::milliseconds(100)));
  first.Say("QUIT");
  EXPECT_THAT(third.Read(), StartsWith("220 "));
}

TEST_F(IngressTest, TheLastPlacesOfAServiceAreForSessionsUnderStress) {
  sessions_max_ = 4;
  stressed_ = std::make_shared<SessionConfig>(Config());
  stressed_->banner = "under stress";
  Start();
  std::vector<std::unique_ptr<Peer>> peers;
  std::vector<std::string> banners;
  for (int i = 0; i < 4; ++i) {
    peers.push_back(std::make_unique<Peer>(port_));
    banners.push_back(peers.back()->Read());
  }
  const std::string usual = "220 mx.example.com ESMTP Postfleet\r\n";
  const std::string stressed = "220 under stress\r\n";
  EXPECT_THAT(banners, testing::ElementsAre(usual, usual, stressed, stressed));
}

TEST_F(IngressTest, ErrorsAreSlowedDown) {
  SessionConfig config = Config();
  config.soft_error_limit = 1;
  config.error_sleep_ms = 30;
  Start(config);
  Peer peer(port_);
  peer.Read();
  peer.Say("FOO");
  const auto before = std::chrono::steady_clock::now();
  EXPECT_THAT(peer.Say("FOO"), StartsWith("500 "));
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(30));
}

// ---- Another configuration ----

TEST_F(IngressTest, AnotherConfigurationIsForTheSessionsThatBeginAfterIt) {
  loops_ = 2;
  Start();
  std::vector<std::unique_ptr<Peer>> before;
  for (int i = 0; i < 8; ++i) {
    before.push_back(std::make_unique<Peer>(port_));
    EXPECT_THAT(before.back()->Read(), HasSubstr("ESMTP Postfleet"));
  }
  SessionConfig config = Config();
  config.banner = "mx.example.com after";
  for (int round = 0; round < 3; ++round) ingress_->Reconfigure(OptionsOf(config));
  for (int i = 0; i < 8; ++i) {
    Peer after(port_);
    EXPECT_EQ(after.Read(), "220 mx.example.com after\r\n");
    after.Say("EHLO client.example");
    EXPECT_THAT(after.SendMessage("after\r\n"), StartsWith("250 "));
  }
  for (const auto& peer : before) {
    peer->Say("EHLO client.example");
    EXPECT_THAT(peer->SendMessage("before\r\n"), StartsWith("250 "));
    EXPECT_THAT(peer->Say("QUIT"), StartsWith("221 "));
  }
  EXPECT_EQ(ingress_->figures().messages_accepted, 16u);
}

TEST_F(IngressTest, AServiceThatIsGoneClosesItsPortAndKeepsItsSessions) {
  Start();
  Peer before(port_);
  EXPECT_THAT(before.Read(), StartsWith("220 "));
  ingress_->Reconfigure({});
  EXPECT_THROW(Peer after(port_), std::system_error);
  before.Say("EHLO client.example");
  EXPECT_THAT(before.SendMessage("before\r\n"), StartsWith("250 "));
  // What has no socket any more is not opened anew.
  ingress_->Reconfigure(OptionsOf(Config()));
  EXPECT_THROW(Peer after(port_), std::system_error);
}

TEST_F(IngressTest, OtherLimitsHoldAtOnce) {
  sessions_max_ = 1;
  Start();
  Peer first(port_);
  EXPECT_THAT(first.Read(), StartsWith("220 "));
  Peer second(port_);
  EXPECT_FALSE(second.HasInput(std::chrono::milliseconds(50)));
  sessions_max_ = 2;
  SessionConfig config = Config();
  config.client_limits.connection_count = 1;
  ingress_->Reconfigure(OptionsOf(config));
  EXPECT_THAT(second.Read(), StartsWith("220 "));
  Peer third(port_);
  first.Close();
  EXPECT_THAT(third.Read(), StartsWith("421 4.7.0 "));
}

TEST_F(IngressTest, DrainEndsIdleSessionsAndWaitsForMessages) {
  services_.hold_results = true;
  Start();
  Peer idle(port_);
  idle.Read();
  Peer busy(port_);
  busy.Read();
  busy.Say("EHLO x");
  busy.Say("MAIL FROM:<a@b>");
  busy.Say("RCPT TO:<u@here.example>");
  busy.Say("DATA");
  busy.Write("x\r\n.\r\n");
  services_.WaitForSubmission();
  auto drained =
      std::async(std::launch::async, [this] { return ingress_->Drain(std::chrono::seconds(20)); });
  EXPECT_EQ(idle.Read(), "421 4.3.2 mx.example.com Service currently unavailable\r\n");
  services_.Release();
  EXPECT_THAT(busy.Read(), StartsWith("250 2.0.0 Ok: queued as "));
  EXPECT_THAT(busy.Read(), StartsWith("421 4.3.2 "));
  EXPECT_TRUE(drained.get());
  ingress_->Stop();
  EXPECT_FALSE(ingress_->Ready());
}

TEST_F(IngressTest, StopWithOpenSessionsReturns) {
  Start();
  Peer peer(port_);
  peer.Read();
  peer.Say("EHLO x");
  ingress_->Stop();
  EXPECT_EQ(peer.Read(), "");
}

TEST_F(IngressTest, APortInUseIsAnError) {
  Start();
  IngressOptions options;
  ListenerOptions listener;
  listener.host = "127.0.0.1";
  listener.port = port_;
  options.listeners.push_back(std::move(listener));
  options.queue = options.lookup = services_.channel();
  EXPECT_THAT(std::string(Ingress::Start(std::move(options)).status().message()),
              HasSubstr("Address already in use"));
}

TEST_F(IngressTest, AThousandIdleSessionsCostLittle) {
  constexpr int kSessions = 1000;
  constexpr size_t kBytesEachMax = 6 * 1024;
  Start();
  {
    Peer warm(port_);
    warm.Read();
    warm.Say("EHLO x");
  }
  std::vector<std::unique_ptr<Peer>> peers;
  const size_t before = mallinfo2().uordblks;
  for (int i = 0; i < kSessions; ++i) {
    peers.push_back(std::make_unique<Peer>(port_));
    peers.back()->Read();
    peers.back()->Say("EHLO x");
  }
  const size_t each = (mallinfo2().uordblks - before) / kSessions;
  std::printf("bytes per idle session, its test client included: %zu\n", each);
  RecordProperty("bytes_per_idle_session", static_cast<int>(each));
  EXPECT_LE(each, kBytesEachMax);
}

}  // namespace
}  // namespace postfleet::ingress
