// With the real helper; as root the mailboxes are nobody's, otherwise they belong to who runs the
// test.
#include "services/delivery/mailbox/virtual_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "libs/base/maillog.h"
#include "services/delivery/privileged/helper_actions.h"
#include "services/delivery/privileged/spawn.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
namespace fs = std::filesystem;

constexpr char kContents[] = "Subject: hello\n\nbody\n";

class OnePiece : public ContentReader {
 public:
  OnePiece(runtime::EventLoop& loop, std::string text, absl::Status status = {})
      : loop_(loop), all_(std::move(text)), text_(all_), status_(std::move(status)) {}
  bool Restart() override {
    text_ = all_;
    return true;
  }
  void Next(Done done) override {
    loop_.Post([this, alive = std::weak_ptr(alive_), done] {
      if (alive.expired()) return;
      if (!status_.ok()) return done(status_, {});
      const std::string text = std::exchange(text_, "");
      done(status_, text.empty() ? rpc::Payload() : rpc::Payload{grpc::Slice(text)});
    });
  }

 private:
  runtime::EventLoop& loop_;
  const std::string all_;
  std::string text_;
  absl::Status status_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

std::string Read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class VirtualAgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = "/var/tmp/postfleet-virtual-" + std::to_string(getpid());
    fs::create_directories(base_);
    if (getuid() == 0) {
      uid_ = getpwnam("nobody")->pw_uid;
      gid_ = getpwnam("nobody")->pw_gid;
    }
    ASSERT_EQ(chown(base_.c_str(), uid_, gid_), 0);
    log_ = base_ + ".log";
    fs::remove(log_);
    ASSERT_TRUE(maillog::Open({.path = log_}).ok());
    const std::string uids = std::to_string(uid_);
    options_.host = "mx1";
    options_.base = base_;
    options_.recipient_delimiter = "+";
    options_.mailbox_maps = {
        "inline:{ {alice@v.test = v.test/alice/}, "
        " {@catch.test = catch/}, {mbox@v.test = v.test/mbox}, {dots@v.test = ../dots/},"
        " {lowuid@v.test = l/}, {nouid@v.test = l/}, {baduid@v.test = l/}, {nogid@v.test = l/} }"};
    options_.uid_maps = {"inline:{ {alice@v.test = " + uids + "}, {@catch.test = " + uids +
                         "}, {mbox@v.test = " + uids + "}, {dots@v.test = " + uids +
                         "}, {nogid@v.test = " + uids +
                         "}, {lowuid@v.test = 50}, {baduid@v.test = bad} }"};
    options_.gid_maps = {"inline:{ {@v.test = " + std::to_string(gid_) +
                         "}, {@catch.test = " + std::to_string(gid_) + "}, {nogid@v.test = 0} }"};
    helper_ = privileged::SpawnHelper(
        {.path = "services/delivery/privileged/helper", .connections = 2, .minimum_uid = 100});
    ASSERT_EQ(helper_.error, "");
    connections_ = std::make_shared<privileged::HelperConnections>(loop_, helper_.sockets);
    actions_ = std::make_shared<privileged::HelperActions>(loop_, connections_, "mx1", clock_);
    while (connections_->worker() == 0) loop_.io().run_one();
    loop_.io().restart();
  }

  void TearDown() override {
    agent_.reset();
    actions_.reset();
    connections_.reset();
    loop_.Stop();
    waitpid(helper_.pid, nullptr, 0);
    fs::remove_all(base_);
    fs::remove(log_);
  }

  std::unique_ptr<Attempt> NewAttempt(const std::vector<std::string>& recipients,
                                      const std::string& contents = kContents) {
    auto attempt = std::make_unique<Attempt>();
    scheduler::v1::Delivery& delivery = attempt->delivery;
    delivery.set_id(++last_id_);
    delivery.set_queue_id("4jXckZ5tKjz1bgVq");
    delivery.mutable_envelope()->set_sender("a b@sender.test");
    delivery.mutable_envelope()->set_arrival_ms(clock_.WallMillis() - 1200);
    delivery.set_active_ms(clock_.WallMillis() - 1000);
    delivery.set_content_bytes(contents.size());
    for (const std::string& recipient : recipients) {
      mail::v1::Recipient* added = delivery.add_recipients();
      added->set_number(10 + delivery.recipients_size());
      added->set_address(recipient);
    }
    attempt->contents = std::make_unique<OnePiece>(loop_, contents);
    return attempt;
  }

  std::vector<Outcome> Run(std::unique_ptr<Attempt> attempt) {
    if (agent_ == nullptr)
      agent_ = std::make_unique<VirtualAgent>(options_, connections_, actions_, clock_);
    AttemptResult answer;
    int answers = 0;
    const uint64_t id = attempt->delivery.id();
    attempt->done = [&](AttemptResult result) {
      answer = std::move(result);
      ++answers;
      loop_.io().stop();
    };
    agent_->Start(std::move(attempt));
    if (during_) during_(id);
    if (answers == 0) loop_.io().run();
    loop_.io().restart();
    EXPECT_EQ(answers, 1);
    EXPECT_EQ(answer.result.id(), id);
    return {answer.result.outcomes().begin(), answer.result.outcomes().end()};
  }
  Outcome RunOne(const std::string& recipient) {
    const auto outcomes = Run(NewAttempt({recipient}));
    EXPECT_EQ(outcomes.size(), 1u);
    return outcomes.at(0);
  }

  std::vector<std::string> Messages(const std::string& path) {
    std::vector<std::string> messages;
    const fs::path folder = fs::path(base_) / path / "new";
    if (!fs::exists(folder)) return messages;
    for (const auto& entry : fs::directory_iterator(folder)) messages.push_back(Read(entry));
    return messages;
  }
  std::string Log() {
    maillog::Flush();
    return Read(log_);
  }

  runtime::EventLoop loop_{"test"};
  FakeClock clock_;
  VirtualOptions options_;
  std::string base_;
  std::string log_;
  uid_t uid_ = getuid();
  gid_t gid_ = getgid();
  privileged::HelperProcess helper_;
  std::shared_ptr<privileged::HelperConnections> connections_;
  std::shared_ptr<UserActions> actions_;
  std::unique_ptr<VirtualAgent> agent_;
  uint64_t last_id_ = 0;
  std::function<void(uint64_t)> during_;
};

TEST_F(VirtualAgentTest, AMessageIsInTheMaildirWithVirtualsHeaders) {
  const Outcome outcome = RunOne("Alice+Ext@v.test");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_SENT);
  EXPECT_EQ(outcome.status(), "2.0.0");
  EXPECT_THAT(outcome.text(), EndsWith("delivered to maildir"));
  EXPECT_EQ(outcome.recipient_number(), 11u);
  ASSERT_EQ(Messages("v.test/alice").size(), 1u);
  EXPECT_EQ(Messages("v.test/alice")[0],
            "Return-Path: <\"a b\"@sender.test>\n"
            "X-Original-To: Alice+Ext@v.test\n"
            "Delivered-To: Alice+Ext@v.test\n"
            "Subject: hello\n\nbody\n");
  EXPECT_THAT(Log(), HasSubstr("postfix/virtual["));
  EXPECT_THAT(Log(),
              HasSubstr("4jXckZ5tKjz1bgVq: to=<Alice+Ext@v.test>, relay=virtual, delay=1.2, "
                        "delays=0.2/1/0/0, dsn=2.0.0, status=sent (delivered to maildir)\n"));
}

TEST_F(VirtualAgentTest, TheAddressBeforeAliasingIsXOriginalTo) {
  auto attempt = NewAttempt({"alice@v.test"});
  attempt->delivery.mutable_recipients(0)->set_original_address("info@v.test");
  attempt->delivery.mutable_envelope()->clear_sender();
  Run(std::move(attempt));
  ASSERT_EQ(Messages("v.test/alice").size(), 1u);
  EXPECT_THAT(
      Messages("v.test/alice")[0],
      HasSubstr("Return-Path: <>\nX-Original-To: info@v.test\nDelivered-To: alice@v.test\n"));
}

TEST_F(VirtualAgentTest, AnUnknownUserIsBounced) {
  const Outcome outcome = RunOne("No.Such+e@v.test");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_BOUNCED);
  EXPECT_EQ(outcome.status(), "5.1.1");
  EXPECT_EQ(outcome.text(), "unknown user: \"no.such+e@v.test\"");
}

TEST_F(VirtualAgentTest, WrongTablesDeferWithPostfixsWarnings) {
  const std::pair<const char*, const char*> cases[] = {
      {"lowuid@v.test", "warning: recipient lowuid@v.test: bad uid 50 in virtual_uid_maps"},
      {"baduid@v.test", "warning: recipient baduid@v.test: bad uid bad in virtual_uid_maps"},
      {"nouid@v.test", "warning: recipient nouid@v.test: not found in virtual_uid_maps"},
      {"nogid@v.test", "warning: recipient nogid@v.test: bad gid 0 in virtual_gid_maps"},
  };
  for (const auto& [recipient, warning] : cases) {
    const Outcome outcome = RunOne(recipient);
    EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED) << recipient;
    EXPECT_EQ(outcome.status(), "4.3.5");
    EXPECT_EQ(outcome.text(), "mail system configuration error");
    EXPECT_THAT(Log(), HasSubstr(warning));
  }
}

TEST_F(VirtualAgentTest, ATableThatCannotBeReadOrIsWrongDefers) {
  options_.mailbox_maps = {"texthash:" + base_ + "/missing"};
  EXPECT_EQ(RunOne("alice@v.test").status(), "4.3.5");
  agent_.reset();
  options_.mailbox_maps = {"nosuchtype:x"};
  EXPECT_EQ(RunOne("alice@v.test").status(), "4.3.5");
}

TEST_F(VirtualAgentTest, TextAndStaticTablesWork) {
  std::ofstream(base_ + ".maps") << "alice@v.test  from-text/\n";
  options_.mailbox_maps = {"texthash:" + base_ + ".maps"};
  options_.uid_maps = {"static:" + std::to_string(uid_)};
  options_.gid_maps = {"static:" + std::to_string(gid_)};
  EXPECT_EQ(RunOne("alice@v.test").action(), Outcome::ACTION_SENT);
  EXPECT_EQ(Messages("from-text").size(), 1u);
  fs::remove(base_ + ".maps");
}

TEST_F(VirtualAgentTest, APathWithoutASlashIsAnMboxFile) {
  fs::create_directories(base_ + "/v.test");
  ASSERT_EQ(chown((base_ + "/v.test").c_str(), uid_, gid_), 0);
  const auto outcomes =
      Run(NewAttempt({"alice@v.test", "mbox@v.test"}, "Subject: x\n\nFrom here\nno newline"));
  ASSERT_EQ(outcomes.size(), 2u);
  EXPECT_EQ(outcomes[0].text(), "delivered to maildir");
  EXPECT_EQ(outcomes[1].text(), "delivered to mailbox");
  EXPECT_EQ(Messages("v.test/alice").size(), 1u);
  const std::string mbox = Read(base_ + "/v.test/mbox");
  EXPECT_THAT(mbox, StartsWith("From \"a b\"@sender.test  "));
  EXPECT_THAT(mbox, HasSubstr("\nDelivered-To: mbox@v.test\nSubject: x\n"));
  EXPECT_THAT(mbox, EndsWith("\n>From here\nno newline\n\n"));
}

TEST_F(VirtualAgentTest, AnMboxFileThatCannotBeWrittenIsTriedAgain) {
  const Outcome outcome = RunOne("mbox@v.test");  // there is no folder
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.2.0");
  const std::string path = base_ + "/v.test/mbox";
  EXPECT_EQ(outcome.text(), "delivery failed to mailbox " + path + ": unable to create lock file " +
                                path + ".lock: No such file or directory");
}

TEST_F(VirtualAgentTest, AnMboxFileOutOfTheBaseIsRefused) {
  options_.mailbox_maps = {"inline:{ {alice@v.test = ../alice} }"};
  const Outcome outcome = RunOne("alice@v.test");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.3.5");
  EXPECT_THAT(outcome.text(), EndsWith("mailbox path with \"..\""));
}

TEST_F(VirtualAgentTest, APathOutOfTheBaseIsRefusedByTheHelper) {
  const Outcome outcome = RunOne("dots@v.test");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.3.5");
  EXPECT_EQ(outcome.text(), "maildir delivery failed: mailbox path with \"..\"");
}

TEST_F(VirtualAgentTest, AMessageOverTheLimitIsBounced) {
  options_.file_bytes_max = 30;
  const Outcome outcome = RunOne("alice@v.test");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_BOUNCED);
  EXPECT_EQ(outcome.status(), "5.2.2");
  EXPECT_EQ(outcome.text(), "maildir delivery failed: error writing message: File too large");
}

TEST_F(VirtualAgentTest, EachRecipientHasItsOwnOutcome) {
  const auto outcomes = Run(NewAttempt(
      {"alice@v.test", "nobody@v.test", "x@catch.test", "lowuid@v.test", "y@catch.test"}));
  std::map<uint32_t, Outcome::Action> actions;
  for (const Outcome& outcome : outcomes) actions[outcome.recipient_number()] = outcome.action();
  const std::map<uint32_t, Outcome::Action> expected = {{11, Outcome::ACTION_SENT},
                                                        {12, Outcome::ACTION_BOUNCED},
                                                        {13, Outcome::ACTION_SENT},
                                                        {14, Outcome::ACTION_DEFERRED},
                                                        {15, Outcome::ACTION_SENT}};
  EXPECT_EQ(actions, expected);
  EXPECT_EQ(Messages("v.test/alice").size(), 1u);
  ASSERT_EQ(Messages("catch").size(), 2u);
  EXPECT_NE(Messages("catch")[0], Messages("catch")[1]);
}

TEST_F(VirtualAgentTest, UnreadableContentsDefer) {
  for (const absl::Status& error : {absl::UnavailableError("gone"), absl::DataLossError("bad")}) {
    auto attempt = NewAttempt({"alice@v.test"});
    attempt->contents = std::make_unique<OnePiece>(loop_, "", error);
    const auto outcomes = Run(std::move(attempt));
    EXPECT_EQ(outcomes.at(0).action(), Outcome::ACTION_DEFERRED);
    EXPECT_EQ(outcomes.at(0).status(), "4.3.0");
    EXPECT_THAT(outcomes.at(0).text(), HasSubstr(std::string(error.message())));
  }
  EXPECT_THAT(Messages("v.test/alice"), IsEmpty());
}

TEST_F(VirtualAgentTest, ACancelledAttemptIsDeferred) {
  during_ = [this](uint64_t id) { agent_->Cancel(id); };
  const Outcome outcome = RunOne("alice@v.test");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.3.2");
  EXPECT_THAT(Messages("v.test/alice"), IsEmpty());
  agent_->Cancel(4711);
}

TEST_F(VirtualAgentTest, WithoutAHelperMailWaits) {
  connections_ = std::make_shared<privileged::HelperConnections>(loop_, std::vector<int>{});
  const Outcome outcome = RunOne("alice@v.test");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.3.0");
  EXPECT_THAT(outcome.text(), HasSubstr("helper"));
}

TEST(MailboxHeader, NoAddressCanEndItsLine) {
  mail::v1::Recipient recipient;
  recipient.set_address("a\nX-Evil: 1@v.test");
  EXPECT_THAT(MailboxHeader("s\r\nt@x", recipient), Not(HasSubstr("\nX-Evil")));
}

TEST(OutcomeOf, OnlyTheMailboxsOwnLimitsBounce) {
  for (int error : {EFBIG, EDQUOT}) {
    EXPECT_EQ(OutcomeOf({privileged::Code::kFailed, error, "x"}).status(), "5.2.2");
  }
  for (int error : {ENOSPC, EIO, EROFS}) {
    EXPECT_EQ(OutcomeOf({privileged::Code::kFailed, error, "x"}).status(), "4.3.0");
  }
  for (int error : {EACCES, ENOTDIR, ELOOP, ESTALE, 0}) {
    EXPECT_EQ(OutcomeOf({privileged::Code::kFailed, error, "x"}).status(), "4.2.0");
  }
}

TEST_F(VirtualAgentTest, TheStatusFilterIsAskedOfSuccessAndFailure) {
  options_.service = "boxes";
  options_.status_filter = {
      .parameter = "virtual_delivery_status_filter",
      .maps = {"regexp:{{/^5.1.1 (.*)/ 4.1.1 not yet: $1}, {/^2.0.0/ 2.1.5 in the box}}"}};
  const Outcome unknown = RunOne("nobody@v.test");
  EXPECT_EQ(unknown.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(unknown.text(), "not yet: unknown user: \"nobody@v.test\"");
  const Outcome sent = RunOne("alice@v.test");
  EXPECT_EQ(sent.action(), Outcome::ACTION_SENT);
  EXPECT_THAT(sent.text(), EndsWith("in the box"));
  EXPECT_THAT(Log(), HasSubstr("dsn=2.1.5, status=sent (in the box)"));
  EXPECT_THAT(Log(), HasSubstr("relay=boxes,"));
}

}  // namespace
}  // namespace postfleet::delivery
