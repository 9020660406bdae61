#include "services/delivery/pipe/pipe_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <vector>

#include "libs/base/concat.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;
using testing::ElementsAre;
using testing::MatchesRegex;

// What is to be called later, as on a loop.
using Turns = std::deque<std::function<void()>>;

class Pieces : public ContentReader {
 public:
  Pieces(Turns& turns, std::vector<std::string> pieces, absl::Status end)
      : turns_(turns), pieces_(std::move(pieces)), end_(std::move(end)) {}
  void Next(Done done) override {
    turns_.push_back([this, done = std::move(done)] {
      if (next_ == pieces_.size()) return done(end_, {});
      done(absl::OkStatus(), {rpc::OwningSlice(pieces_[next_++])});
    });
  }
  bool Restart() override {
    next_ = 0;
    return true;
  }

 private:
  Turns& turns_;
  const std::vector<std::string> pieces_;
  const absl::Status end_;
  size_t next_ = 0;
};

// Reads all of its input, and ends as told.
class FakeActions : public UserActions {
 public:
  explicit FakeActions(Turns& turns) : turns_(turns) {}
  uint64_t Deliver(MailboxDelivery, std::unique_ptr<ContentReader>, Delivered) override {
    return 0;
  }
  uint64_t ReadFile(UserIds, std::string, size_t, Read) override { return 0; }
  uint64_t Run(Command command, std::unique_ptr<ContentReader> contents, Ended done) override {
    command_ = std::move(command);
    contents_ = std::move(contents);
    done_ = std::move(done);
    input = command_.header;
    if (!holds) ReadOn();
    return 7;
  }
  void Cancel(uint64_t number) override {
    EXPECT_EQ(number, 7u);
    turns_.push_back([this] {
      CommandEnd cancelled;
      cancelled.failure.kind = ActionFailure::Kind::kCancelled;
      done_(cancelled);
    });
  }
  const Command& command() const { return command_; }

  CommandEnd end = {.how = CommandEnd::How::kExited};
  std::string input;
  bool holds = false;

 private:
  void ReadOn() {
    contents_->Next([this](const absl::Status& status, const rpc::Payload& piece) {
      if (!status.ok()) {
        end = {};
        end.failure = {.kind = ActionFailure::Kind::kContents,
                       .text = std::string(status.message()),
                       .contents_damaged = absl::IsDataLoss(status)};
      }
      if (!status.ok() || piece.empty()) return done_(end);
      for (const grpc::Slice& slice : piece) input += rpc::AsView(slice);
      ReadOn();
    });
  }

  Turns& turns_;
  Command command_;
  std::unique_ptr<ContentReader> contents_;
  Ended done_;
};

class PipeAgentTest : public testing::Test {
 protected:
  PipeAgentTest() {
    options_.name = "vac";
    options_.service.user = "daemon";
    options_.service.argv = {"/bin/vac", "$recipient"};
    options_.directory = "/queue";
    options_.environment = {"LANG=C"};
  }

  // "sent 2.0.0 (text)" of each recipient.
  std::vector<std::string> Deliver(const std::vector<std::string>& recipients = {"r@x.example"}) {
    Begin(recipients);
    return Outcomes();
  }
  void Begin(const std::vector<std::string>& recipients) {
    agent_ = std::make_unique<PipeAgent>(options_, actions_, clock_);
    auto attempt = std::make_unique<Attempt>();
    attempt->delivery.set_id(3);
    attempt->delivery.set_queue_id("4abc");
    attempt->delivery.mutable_envelope()->set_sender(sender_);
    attempt->delivery.mutable_envelope()->set_content_lines(lines_);
    attempt->delivery.set_content_bytes(Concat(contents_[0], contents_[1]).size());
    for (const std::string& recipient : recipients) {
      attempt->delivery.add_recipients()->set_address(recipient);
    }
    attempt->contents = std::make_unique<Pieces>(turns_, contents_, contents_end_);
    attempt->done = [this](AttemptResult result) { result_ = std::move(result.result); };
    agent_->Start(std::move(attempt));
  }
  std::vector<std::string> Outcomes() {
    while (!turns_.empty()) {
      const auto turn = std::move(turns_.front());
      turns_.pop_front();
      turn();
    }
    std::vector<std::string> all;
    for (const Outcome& outcome : result_.outcomes()) {
      all.push_back(Concat(outcome.action() == Outcome::ACTION_SENT       ? "sent "
                           : outcome.action() == Outcome::ACTION_DEFERRED ? "deferred "
                                                                          : "bounced ",
                           outcome.status(), " (", outcome.text(), ")"));
    }
    return all;
  }

  Turns turns_;
  FakeClock clock_;
  PipeOptions options_;
  std::string sender_ = "s p@sender.example";
  std::vector<std::string> contents_ = {"A: b\nFr", "om x\n\n.\nlast"};
  absl::Status contents_end_;
  size_t lines_ = 0;
  const std::shared_ptr<FakeActions> actions_ = std::make_shared<FakeActions>(turns_);
  std::unique_ptr<PipeAgent> agent_;
  scheduler::v1::DeliveryResult result_;
};

TEST_F(PipeAgentTest, ACommandGetsTheMessageAndItsWordsAndNothingElse) {
  options_.time_limit = std::chrono::seconds(5);
  EXPECT_THAT(Deliver({"a@x.example", "b@x.example"}),
              ElementsAre("sent 2.0.0 (delivered via vac service)",
                          "sent 2.0.0 (delivered via vac service)"));
  const Command& command = actions_->command();
  EXPECT_THAT(command.argv, ElementsAre("/bin/vac", "a@x.example", "b@x.example"));
  EXPECT_THAT(command.environment, ElementsAre("LANG=C"));
  EXPECT_EQ(command.user.uid, 1u);
  EXPECT_EQ(command.user.gid, 1u);
  EXPECT_EQ(command.directory, "/queue");
  EXPECT_EQ(command.chroot, "");
  EXPECT_EQ(command.time_limit, std::chrono::seconds(5));
  EXPECT_EQ(actions_->input, "A: b\nFrom x\n\n.\nlast\n");
  EXPECT_EQ(result_.outcomes(0).success(), Outcome::SUCCESS_RELAYED);
}

TEST_F(PipeAgentTest, FlagsPutHeadersInFrontAndChangeLines) {
  config::PipeService& service = options_.service;
  service.from_line = service.return_path = service.original_to = service.delivered_to = true;
  service.blank_line = service.double_dots = service.quote_from = service.final_delivery = true;
  service.eol = "\r\n";
  service.chroot = "/jail";
  EXPECT_THAT(Deliver(), ElementsAre("sent 2.0.0 (delivered via vac service)"));
  EXPECT_THAT(actions_->input,
              MatchesRegex("From \"s p\"@sender\\.example  [A-Z][^\r]+ [0-9]{4}\r\n"
                           "Return-Path: <\"s p\"@sender\\.example>\r\n"
                           "X-Original-To: r@x\\.example\r\nDelivered-To: r@x\\.example\r\n"
                           "A: b\r\n>From x\r\n\r\n\\.\\.\r\nlast\r\n\r\n"));
  EXPECT_EQ(actions_->command().directory, "");
  EXPECT_EQ(actions_->command().chroot, "/jail");
  EXPECT_EQ(result_.outcomes(0).success(), Outcome::SUCCESS_DELIVERED);
}

TEST_F(PipeAgentTest, TheNullSenderHasAReplacement) {
  sender_ = "";
  options_.service.return_path = true;
  options_.service.argv = {"/bin/vac", "$sender"};
  Deliver();
  EXPECT_THAT(actions_->command().argv, ElementsAre("/bin/vac", "MAILER-DAEMON"));
  EXPECT_THAT(actions_->input, testing::StartsWith("Return-Path: <MAILER-DAEMON>\n"));
  options_.service.null_sender = "";
  Deliver();
  EXPECT_THAT(actions_->command().argv, ElementsAre("/bin/vac", ""));
  EXPECT_THAT(actions_->input, testing::StartsWith("Return-Path: <>\n"));
}

TEST_F(PipeAgentTest, TheCommandsEndIsWhatBecomesOfTheMail) {
  actions_->end = {.how = CommandEnd::How::kExited, .output = std::string(150, 'x') + "\n"};
  EXPECT_THAT(Deliver(), ElementsAre("sent 2.0.0 (delivered via vac service (" +
                                     std::string(100, 'x') + "))"));
  actions_->end = {.how = CommandEnd::How::kExited, .code = 75};
  EXPECT_THAT(Deliver(), ElementsAre("deferred 4.3.0 (temporary failure)"));
  actions_->end = {.how = CommandEnd::How::kExited, .code = 1};
  EXPECT_THAT(Deliver(), ElementsAre("bounced 5.3.0 (Command died with status 1: \"/bin/vac\")"));
  options_.soft_bounce = true;
  EXPECT_THAT(Deliver(), ElementsAre("deferred 4.3.0 (Command died with status 1: \"/bin/vac\")"));
}

TEST_F(PipeAgentTest, MailThatWasHereBeforeIsReturned) {
  contents_ = {"Received: x\nDelivered-To: R@X.", "example\n\nbody\n"};
  Deliver();
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.0.0 (delivered via vac service)"));
  options_.service.delivered_to = true;
  actions_->input = "";
  EXPECT_THAT(Deliver(), ElementsAre("bounced 5.4.6 (mail forwarding loop for r@x.example)"));
  EXPECT_EQ(actions_->input, "");
}

TEST_F(PipeAgentTest, AMessageOverTheSizeIsReturned) {
  lines_ = 6;
  const size_t bytes = contents_[0].size() + contents_[1].size() + lines_;
  options_.service.message_bytes_max = bytes;
  EXPECT_THAT(Deliver(), ElementsAre("sent 2.0.0 (delivered via vac service)"));
  options_.service.message_bytes_max = bytes - 1;
  EXPECT_THAT(Deliver(), ElementsAre("bounced 5.2.3 (message too large)"));
}

TEST_F(PipeAgentTest, WhatIsMisconfiguredDefersAndRunsNothing) {
  actions_->input = "none ran";
  const auto unavailable = ElementsAre("deferred 4.3.0 (mail transport unavailable)");
  options_.misconfigured = "unknown flag: Z";
  EXPECT_THAT(Deliver(), unavailable);
  options_.misconfigured = "";
  options_.service.user = "root";
  EXPECT_THAT(Deliver(), unavailable);
  options_.service.user = "no-such-user";
  EXPECT_THAT(Deliver(), unavailable);
  options_.service.user = "daemon";
  options_.service.group = "root";
  EXPECT_THAT(Deliver(), unavailable);
  options_.service.group = "";
  options_.mail_owner = "daemon";
  EXPECT_THAT(Deliver(), unavailable);
  options_.mail_owner = "no-such-user";
  options_.setgid_group = "daemon";
  EXPECT_THAT(Deliver(), unavailable);
  options_.setgid_group = "no-such-group";
  options_.service.argv = {"/bin/vac", "$nosuch"};
  EXPECT_THAT(Deliver(), ElementsAre("deferred 4.3.5 (mail system configuration error)"));
  EXPECT_EQ(actions_->input, "none ran");
}

TEST_F(PipeAgentTest, WhatSpeaksOfOneRecipientIsNotDoneForTwo) {
  const std::string misconfigured = "deferred 4.3.5 (mail system configuration error)";
  options_.service.delivered_to = true;
  EXPECT_THAT(Deliver({"a@x.example", "b@x.example"}), ElementsAre(misconfigured, misconfigured));
  options_.service.delivered_to = false;
  options_.service.original_to = true;
  EXPECT_THAT(Deliver({"a@x.example", "b@x.example"}), ElementsAre(misconfigured, misconfigured));
  EXPECT_THAT(Deliver(), ElementsAre("sent 2.0.0 (delivered via vac service)"));
}

TEST_F(PipeAgentTest, DamagedContentsAreSaidToBeSo) {
  contents_end_ = absl::DataLossError("damaged");
  EXPECT_THAT(Deliver(), ElementsAre("deferred 4.3.0 (mail system error: damaged)"));
  EXPECT_TRUE(result_.contents_damaged());
  options_.service.delivered_to = true;
  contents_ = {"A: b\n", "C: d\n"};
  EXPECT_THAT(Deliver(), ElementsAre("deferred 4.3.0 (mail system error: damaged)"));
  EXPECT_TRUE(result_.contents_damaged());
}

TEST_F(PipeAgentTest, ACancelledDeliveryIsDeferred) {
  actions_->holds = true;
  Begin({"r@x.example"});
  agent_->Cancel(3);
  agent_->Cancel(4);
  EXPECT_THAT(Outcomes(), ElementsAre("deferred 4.3.2 (delivery was called off)"));
}

TEST_F(PipeAgentTest, RefusalsAreInPostfixsWords) {
  const auto refused = [&] { return std::string(FindPipeRights(options_).status().message()); };
  EXPECT_EQ(refused(), "");
  options_.service.user = "root";
  EXPECT_EQ(refused(), "user= command-line attribute specifies root privileges");
  options_.service.user = "daemon";
  options_.service.group = "root";
  EXPECT_EQ(refused(), "user= command-line attribute specifies privileged group id 0");
  options_.service.group = "no-such-group";
  EXPECT_EQ(refused(), "get_service_attr: unknown group: no-such-group");
  options_.service.group = "";
  options_.mail_owner = "daemon";
  EXPECT_EQ(refused(), "user= command-line attribute specifies mail system owner daemon");
}

}  // namespace
}  // namespace postfleet::delivery
