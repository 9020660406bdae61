#include "services/delivery/local/local_agent.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>

#include "absl/status/status.h"
#include "libs/base/concat.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

// What is posted runs when the test says so: nothing answers before the call returns.
class Turns {
 public:
  void Post(std::function<void()> what) { waiting_.push_back(std::move(what)); }
  void Run() {
    while (!waiting_.empty()) {
      const auto what = std::move(waiting_.front());
      waiting_.pop_front();
      what();
    }
  }

 private:
  std::deque<std::function<void()>> waiting_;
};

class TextReader : public ContentReader {
 public:
  TextReader(Turns& turns, std::string text) : turns_(turns), text_(std::move(text)) {}
  void Next(Done done) override {
    rpc::Payload payload;
    if (offset_ < text_.size()) {
      payload.push_back(grpc::Slice(text_.substr(offset_, 7)));
      offset_ += 7;
    }
    turns_.Post([done = std::move(done), payload] { done(status_of_all, payload); });
  }
  bool Restart() override {
    offset_ = 0;
    return true;
  }
  static inline absl::Status status_of_all = absl::OkStatus();

 private:
  Turns& turns_;
  const std::string text_;
  size_t offset_ = 0;
};

// Reads contents to their end.
void ReadAll(std::shared_ptr<ContentReader> reader, std::string text,
             std::function<void(const absl::Status&, std::string)> done) {
  reader->Next(
      [reader, text, done](const absl::Status& status, const rpc::Payload& payload) mutable {
        if (!status.ok() || payload.empty()) return done(status, text);
        for (const grpc::Slice& slice : payload) text += rpc::AsView(slice);
        ReadAll(reader, text, done);
      });
}

class FakeActions : public UserActions {
 public:
  explicit FakeActions(Turns& turns) : turns_(turns) {}
  uint64_t Deliver(MailboxDelivery delivery, std::unique_ptr<ContentReader> contents,
                   Delivered done) override {
    if (holds) {
      held = std::move(done);
      return 7;
    }
    ReadAll(std::move(contents), "", [this, delivery, done](const absl::Status&, std::string text) {
      files[delivery.path] += delivery.header + text;
      last = delivery;
      done(failure);
    });
    return 7;
  }
  uint64_t ReadFile(UserIds, std::string path, size_t, Read done) override {
    UserFile file;
    if (const auto found = forwards.find(path); found != forwards.end()) {
      file.text = found->second;
      file.is_regular = true;
    } else {
      file.failure = {.kind = ActionFailure::Kind::kFailed, .error_number = ENOENT};
    }
    turns_.Post([done, file] { done(file); });
    return 8;
  }
  uint64_t Run(Command command, std::unique_ptr<ContentReader> contents, Ended done) override {
    commands.push_back(command);
    ReadAll(std::move(contents), "",
            [this, done](const absl::Status&, const std::string&) { done(end); });
    return 9;
  }
  void Cancel(uint64_t number) override {
    if (number == 7 && held) {
      turns_.Post([done = std::exchange(held, nullptr)] {
        done({.kind = ActionFailure::Kind::kCancelled});
      });
    }
  }

  std::map<std::string, std::string> files, forwards;
  std::vector<Command> commands;
  ActionFailure failure;
  CommandEnd end = {.how = CommandEnd::How::kExited, .code = 0};
  MailboxDelivery last;
  bool holds = false;
  Delivered held;

 private:
  Turns& turns_;
};

class FakeForwarder : public Forwarder {
 public:
  void Submit(ForwardedMail mail, Done done) override {
    std::string line = Concat(mail.envelope.sender(), " ->");
    for (const auto& to : mail.recipients) ConcatTo(&line, " ", to.address());
    std::shared_ptr<ContentReader> contents = std::move(mail.contents);
    ReadAll(contents, mail.header,
            [this, line, done](const absl::Status&, const std::string& text) {
              mails.emplace_back(line, text);
              done(status, "NEW");
            });
  }
  std::vector<std::pair<std::string, std::string>> mails;
  absl::Status status;
};

class FakeRoutes : public Routes {
 public:
  explicit FakeRoutes(Turns& turns) : turns_(turns) {}
  void Find(std::string, std::string address, Done done) override {
    if (address.find('@') == std::string::npos) address += "@site.example";
    const Route route = {.transport = address.ends_with("@site.example") ? "local" : "smtp",
                         .recipient = address};
    turns_.Post([done, route] { done(absl::OkStatus(), route); });
  }

 private:
  Turns& turns_;
};

class FakeAccounts : public Accounts {
 public:
  absl::StatusOr<std::optional<User>> ByName(const std::string& name) override {
    if (name != "alice" && name != "bob") return std::nullopt;
    return User{
        .name = name, .ids = {1001, 1001}, .home = Concat("/home/", name), .shell = "/bin/sh"};
  }
  absl::StatusOr<std::optional<User>> ByUid(uid_t) override { return std::nullopt; }
};

class LocalAgentTest : public testing::Test {
 protected:
  LocalAgentTest() {
    options_.forward_path = "$home/.forward";
    options_.forward_expansion_filter = "abcdefghijklmnopqrstuvwxyz/.";
    options_.command_filter = "abcdefghijklmnopqrstuvwxyz@./";
    options_.default_rights = {99, 99};
    options_.mail_spool_directory = "/nonexistent";
    options_.alias_maps = {
        "inline:{ { team = alice, x@far.example }, { run = \"|work\" },"
        " { pair = alice, bob }, { bad = alice, \"|work\", x@far.example } }"};
  }

  Outcome Deliver(const std::string& name, const std::string& header = "Subject: x\n") {
    return Send(name, header).result.outcomes(0);
  }

  AttemptResult Send(const std::string& name, const std::string& header) {
    agent_ = std::make_unique<LocalAgent>(options_,
                                          LocalWorld{.actions = actions_,
                                                     .forwarder = forwarder_,
                                                     .routes = std::make_shared<FakeRoutes>(turns_),
                                                     .accounts = std::make_shared<FakeAccounts>()});
    auto attempt = std::make_unique<Attempt>();
    attempt->delivery.set_id(1);
    attempt->delivery.set_queue_id("OLD");
    attempt->delivery.set_nexthop("site.example");
    attempt->delivery.mutable_envelope()->set_sender(sender_);
    auto* recipient = attempt->delivery.add_recipients();
    recipient->set_number(4);
    recipient->set_address(Concat(name, "@site.example"));
    attempt->contents = std::make_unique<TextReader>(turns_, Concat(header, "\nFrom here\n"));
    std::optional<AttemptResult> result;
    attempt->done = [&](AttemptResult given) { result = std::move(given); };
    agent_->Start(std::move(attempt));
    if (cancels_) {
      turns_.Run();
      agent_->Cancel(1);
    }
    turns_.Run();
    EXPECT_TRUE(result.has_value());
    if (!result) return {};
    for (const Outcome& outcome : result->result.outcomes()) {
      EXPECT_EQ(outcome.recipient_number(), 4u);
    }
    return *std::move(result);
  }

  Turns turns_;
  LocalOptions options_;
  std::shared_ptr<FakeActions> actions_ = std::make_shared<FakeActions>(turns_);
  std::shared_ptr<FakeForwarder> forwarder_ = std::make_shared<FakeForwarder>();
  std::unique_ptr<LocalAgent> agent_;
  std::string sender_ = "s@far.example";
  bool cancels_ = false;
};

TEST_F(LocalAgentTest, MailboxHasTheMessageQuotedBehindItsFields) {
  const Outcome outcome = Deliver("alice");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_SENT);
  EXPECT_EQ(outcome.text(), "delivered to mailbox");
  EXPECT_EQ(outcome.success(), Outcome::SUCCESS_DELIVERED);
  const std::string& text = actions_->files["/nonexistent/alice"];
  EXPECT_EQ(text.substr(0, 20), "From s@far.example  ");
  EXPECT_EQ(text.substr(text.find('\n') + 1),
            "Return-Path: <s@far.example>\nX-Original-To: alice@site.example\n"
            "Delivered-To: alice@site.example\nSubject: x\n\n>From here\n\n");
}

TEST_F(LocalAgentTest, PartsReadTheContentsOneAfterTheOther) {
  EXPECT_EQ(Deliver("team").text(), "delivered to mailbox");
  EXPECT_NE(actions_->files["/nonexistent/alice"].find("\n>From here\n\n"), std::string::npos);
  ASSERT_EQ(forwarder_->mails.size(), 1u);
  EXPECT_EQ(forwarder_->mails[0].first, "s@far.example -> x@far.example");
  EXPECT_EQ(forwarder_->mails[0].second,
            "Delivered-To: team@site.example\nSubject: x\n\nFrom here\n");
}

TEST_F(LocalAgentTest, FailedForwardDefers) {
  forwarder_->status = absl::UnavailableError("no queue");
  const Outcome outcome = Deliver("team");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.text(), "unable to forward message");
}

TEST_F(LocalAgentTest, WorstPartIsTheRecipientsOutcome) {
  actions_->end = {.how = CommandEnd::How::kExited, .code = 75};
  EXPECT_EQ(Deliver("bad").action(), Outcome::ACTION_DEFERRED);
  EXPECT_TRUE(forwarder_->mails.empty()) << "what would be forwarded again later";
  actions_->end.code = 67;
  const Outcome bounced = Deliver("bad");
  EXPECT_EQ(bounced.action(), Outcome::ACTION_BOUNCED);
  EXPECT_EQ(bounced.status(), "5.1.1");
  EXPECT_EQ(forwarder_->mails.size(), 1u);
}

TEST_F(LocalAgentTest, OutcomeNamesThePartsThatFailed) {
  actions_->end = {.how = CommandEnd::How::kExited, .code = 67};
  const Outcome alone = Deliver("run");
  EXPECT_TRUE(alone.parts().empty()) << "the recipient itself";
  options_.alias_maps = {"inline:{ { outer = bad, nosuchuser }, { bad = alice, \"|work\" } }"};
  const Outcome outcome = Deliver("outer");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_BOUNCED);
  ASSERT_EQ(outcome.parts_size(), 2);
  EXPECT_EQ(outcome.parts(0).address(), "bad@site.example");
  EXPECT_EQ(outcome.parts(0).original_address(), "outer@site.example");
  EXPECT_EQ(outcome.parts(0).status(), "5.1.1");
  EXPECT_EQ(outcome.parts(0).diagnostic(), "user unknown");
  EXPECT_EQ(outcome.parts(1).address(), "nosuchuser@site.example");
  EXPECT_EQ(outcome.parts(1).text(), "unknown user: \"nosuchuser\"");
}

TEST_F(LocalAgentTest, PartsPastTheBoundAreCounted) {
  std::string members;
  for (int i = 0; i < LocalAgent::kPartsMax + 3; ++i) ConcatTo(&members, i > 0 ? ", " : "", "u", i);
  options_.alias_maps = {Concat("inline:{ { crowd = ", members, " } }")};
  const Outcome outcome = Deliver("crowd");
  EXPECT_EQ(outcome.parts_size(), LocalAgent::kPartsMax);
  EXPECT_EQ(outcome.parts_more(), 3u);
}

TEST_F(LocalAgentTest, CommandGetsTheMessageAndAnEnvironmentOfHarmlessCharacters) {
  EXPECT_EQ(Deliver("run").text(), "delivered to command: work");
  ASSERT_EQ(actions_->commands.size(), 1u);
  const Command& command = actions_->commands[0];
  EXPECT_EQ(command.user.uid, 99u);
  EXPECT_NE(command.header.find("Delivered-To: run@site.example\n"), std::string::npos);
  bool found = false;
  for (const std::string& variable : command.environment) {
    found = found || variable == "RECIPIENT=run@site.example";
    EXPECT_EQ(variable.find("HOME="), std::string::npos) << "a user's, of nobody's command";
  }
  EXPECT_TRUE(found);
}

TEST_F(LocalAgentTest, ACommandSeesTheEmptySenderOfABounceAndNoLogin) {
  sender_ = "";
  Deliver("run");
  ASSERT_EQ(actions_->commands.size(), 1u);
  const std::vector<std::string>& environment = actions_->commands[0].environment;
  EXPECT_EQ(std::count(environment.begin(), environment.end(), "SENDER="), 1);
  for (const std::string& variable : environment) EXPECT_FALSE(variable.starts_with("SASL_"));
}

TEST_F(LocalAgentTest, MessageThatWasDeliveredHereBounces) {
  const Outcome outcome = Deliver("alice", "Delivered-To: Alice@site.example\nSubject: x\n");
  EXPECT_EQ(outcome.status(), "5.4.6");
  EXPECT_EQ(Deliver("alice", "Subject: x\n\nDelivered-To: alice@site.example\n").action(),
            Outcome::ACTION_SENT)
      << "of the body";
}

TEST(DeliveredTo, IdMayBeOnItsOwnLine) {
  DeliveredTo scan;
  EXPECT_FALSE(scan.Take("Subject: x\nMessage-ID:\n <a@b>\nMessage-Id: <c@d>\nDeliv"));
  EXPECT_TRUE(scan.Take("ered-To:  X@y\n\nDelivered-To: z@y\n"));
  EXPECT_EQ(scan.message_id(), "<a@b>");
  EXPECT_EQ(scan.addresses(), std::set<std::string>{"x@y"});
}

TEST_F(LocalAgentTest, UnreadableContentsDefer) {
  TextReader::status_of_all = absl::DataLossError("damaged");
  EXPECT_EQ(Deliver("alice").action(), Outcome::ACTION_DEFERRED);
  TextReader::status_of_all = absl::OkStatus();
}

TEST_F(LocalAgentTest, UserOfAnotherTransportIsPassedOn) {
  options_.mailbox_transport = "lmtp:unix:/run/x";
  AttemptResult result = Send("alice", "Subject: x\n");
  EXPECT_EQ(result.result.outcomes_size(), 0);
  ASSERT_NE(result.passed_on, nullptr);
  EXPECT_EQ(result.passed_on->delivery.transport(), "lmtp");
  EXPECT_EQ(result.passed_on->delivery.nexthop(), "unix:/run/x");
  ASSERT_EQ(result.passed_on->delivery.recipients_size(), 1);
  EXPECT_EQ(result.passed_on->delivery.recipients(0).number(), 4u);
  ASSERT_NE(result.passed_on->contents, nullptr);
}

TEST_F(LocalAgentTest, SecondPartForAnotherTransportIsForwarded) {
  options_.mailbox_transport = "lmtp:unix:/run/x";
  const AttemptResult result = Send("pair", "Subject: x\n");
  ASSERT_NE(result.passed_on, nullptr);
  EXPECT_EQ(result.passed_on->delivery.recipients(0).address(), "alice@site.example");
  ASSERT_EQ(forwarder_->mails.size(), 1u);
  EXPECT_EQ(forwarder_->mails[0].first, "s@far.example -> bob@site.example");
}

TEST_F(LocalAgentTest, TransportThatOnlyAnswersIsAnsweredHere) {
  options_.mailbox_transport = "error:5.1.1 gone";
  const Outcome outcome = Deliver("alice");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_BOUNCED);
  EXPECT_EQ(outcome.text(), "gone");
}

TEST_F(LocalAgentTest, CancelledDeliveryIsDeferred) {
  actions_->holds = true;
  cancels_ = true;
  const Outcome outcome = Deliver("alice");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.3.2");
}

TEST_F(LocalAgentTest, FullMailboxBounces) {
  actions_->failure = {
      .kind = ActionFailure::Kind::kFailed, .error_number = EFBIG, .text = "error writing message"};
  const Outcome outcome = Deliver("alice");
  EXPECT_EQ(outcome.status(), "5.2.2");
  EXPECT_EQ(outcome.text(),
            "cannot update mailbox /nonexistent/alice for user alice. error writing message: File "
            "too large");
}

TEST_F(LocalAgentTest, HelperThatIsAwayDefers) {
  actions_->failure = {.kind = ActionFailure::Kind::kUnavailable, .text = "no helper"};
  EXPECT_EQ(Deliver("alice").action(), Outcome::ACTION_DEFERRED);
}

}  // namespace
}  // namespace postfleet::delivery
