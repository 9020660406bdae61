#include "services/delivery/bounce/bounce_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <optional>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"

namespace postfleet::delivery {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The test gives the pieces.
struct Contents {
  std::deque<std::string> pieces;
  absl::Status end;
  int asked = 0;
  ContentReader::Done done;

  class Reader : public ContentReader {
   public:
    explicit Reader(Contents* contents) : contents_(contents) {}
    ~Reader() override { contents_->done = nullptr; }
    void Next(Done done) override {
      ++contents_->asked;
      contents_->done = std::move(done);
    }

   private:
    Contents* contents_;
  };

  // As the loop would: not inside Next.
  void Run() {
    while (done) {
      auto now = std::exchange(done, nullptr);
      if (pieces.empty()) {
        now(end, {});
      } else {
        rpc::Payload payload = {grpc::Slice(pieces.front())};
        pieces.pop_front();
        now(absl::OkStatus(), payload);
      }
    }
  }
};

class BounceAgentTest : public ::testing::Test {
 protected:
  std::unique_ptr<Attempt> NewAttempt(std::vector<std::string> pieces) {
    auto attempt = std::make_unique<Attempt>();
    scheduler::v1::Delivery& delivery = attempt->delivery;
    delivery.set_id(7);
    delivery.set_queue_id("4jXckZ5tKjz1bgVq");
    delivery.set_notice_queue_id("4jXckZ66YFz1bgW9");
    delivery.mutable_envelope()->set_sender("alice@v.test");
    delivery.mutable_envelope()->set_arrival_ms(clock_.WallMillis() - 5000);
    auto* bounced = delivery.add_bounced();
    bounced->mutable_recipient()->set_address("nobody@r.test");
    bounced->mutable_outcome()->set_status("5.1.1");
    bounced->mutable_outcome()->set_text("no");
    size_t bytes = 0;
    for (const std::string& piece : pieces) bytes += piece.size();
    delivery.set_content_bytes(bytes);
    contents_.pieces.assign(pieces.begin(), pieces.end());
    attempt->contents = std::make_unique<Contents::Reader>(&contents_);
    attempt->done = [this](AttemptResult result) {
      EXPECT_FALSE(answer_.has_value());
      answer_ = std::move(result);
    };
    return attempt;
  }

  void Run(std::unique_ptr<Attempt> attempt) {
    agent_.Start(std::move(attempt));
    contents_.Run();
    ASSERT_TRUE(answer_.has_value());
    EXPECT_EQ(answer_->result.id(), 7u);
    EXPECT_EQ(answer_->result.outcomes_size(), 0);
  }

  std::string Notice() const {
    std::string text;
    for (const grpc::Slice& slice : answer_->notice_contents) text += rpc::AsView(slice);
    return text;
  }

  Contents contents_;
  std::optional<AttemptResult> answer_;
  FakeClock clock_;
  BounceAgent agent_{{.names = {.myhostname = "mx.test", .myorigin = "test"}, .size_limit = 1000},
                     clock_};
};

TEST_F(BounceAgentTest, TheNoticeIsOneChunkForTheSender) {
  Run(NewAttempt({"Subject: x\n\n", "body\n"}));
  ASSERT_TRUE(answer_->result.has_notice());
  EXPECT_FALSE(answer_->result.notice_failed());
  const queue::v1::Submission& notice = answer_->result.notice();
  EXPECT_EQ(notice.queue_id(), "4jXckZ66YFz1bgW9");
  EXPECT_EQ(notice.chunk(), 0u);
  EXPECT_EQ(notice.payload_bytes(), Notice().size());
  EXPECT_EQ(notice.payload_crc32c(), Crc32c(Notice()));
  EXPECT_FALSE(notice.abandon());
  EXPECT_EQ(notice.message().content_bytes(), Notice().size());
  EXPECT_EQ(notice.message().envelope().content_lines(),
            static_cast<uint64_t>(std::ranges::count(Notice(), '\n')));
  EXPECT_EQ(notice.message().envelope().sender(), "");
  EXPECT_TRUE(notice.message().envelope().is_notice());
  EXPECT_TRUE(notice.message().envelope().body_8bitmime());
  EXPECT_EQ(notice.message().envelope().arrival_ms(), clock_.WallMillis());
  ASSERT_EQ(notice.message().recipients_size(), 1);
  EXPECT_EQ(notice.message().recipients(0).address(), "alice@v.test");
  EXPECT_THAT(Notice(), HasSubstr("message/rfc822\n"));
  EXPECT_THAT(Notice(), HasSubstr("\nReturn-Path: <alice@v.test>\nSubject: x\n\nbody\n"));
  EXPECT_THAT(Notice(), HasSubstr("From: Mail Delivery System <MAILER-DAEMON@test>\n"));
}

TEST_F(BounceAgentTest, BytesOver127StayAndAreDeclared) {
  Run(NewAttempt({"Subject: h\xc3\xa9\n\nb\xe9\n"}));
  EXPECT_THAT(Notice(), HasSubstr("Subject: h\xc3\xa9\n\nb\xe9\n"));
  EXPECT_TRUE(answer_->result.notice().message().envelope().body_8bitmime());
}

TEST_F(BounceAgentTest, WhereTheHeaderSays8BitTheEnvelopeDoes) {
  Run(NewAttempt({"x\n"}));
  EXPECT_THAT(Notice(), HasSubstr("\nContent-Transfer-Encoding: 8bit\nMessage-Id:"));
  EXPECT_TRUE(answer_->result.notice().message().envelope().body_8bitmime());
  answer_.reset();
  BounceAgent ascii{{.names = {.myhostname = "mx.test", .myorigin = "test", .smtputf8 = false}},
                    clock_};
  ascii.Start(NewAttempt({"x\n"}));
  contents_.Run();
  ASSERT_TRUE(answer_.has_value());
  EXPECT_THAT(Notice(), Not(HasSubstr("8bit")));
  EXPECT_FALSE(answer_->result.notice().message().envelope().body_8bitmime());
}

TEST_F(BounceAgentTest, AMessageOverTheLimitReturnsItsHeaderAndIsReadNoFurther) {
  std::vector<std::string> pieces = {"Subject: x\nX-Fol", "ded: a\n b\n\nbo"};
  for (int i = 0; i < 100; ++i) pieces.push_back(std::string(100, 'b') + "\n");
  Run(NewAttempt(pieces));
  EXPECT_EQ(contents_.asked, 2);
  EXPECT_THAT(Notice(), HasSubstr("text/rfc822-headers"));
  EXPECT_THAT(Notice(), HasSubstr("\nSubject: x\nX-Folded: a\n b\n\n--"));
  EXPECT_THAT(Notice(), Not(HasSubstr("bbb")));
}

TEST_F(BounceAgentTest, ALimitIsReachedOnlyAboveIt) {
  const std::string contents = "A: b\n\n" + std::string(993, 'x') + "\n";
  ASSERT_EQ(contents.size(), 1000u);
  Run(NewAttempt({contents}));
  EXPECT_THAT(Notice(), HasSubstr("message/rfc822\n"));
}

TEST_F(BounceAgentTest, AWarningOfDelayHasTheHeaderOnlyHoweverSmallTheMessage) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_DELAY);
  attempt->delivery.set_retry_until_ms(clock_.WallMillis() + 1000);
  Run(std::move(attempt));
  ASSERT_TRUE(answer_->result.has_notice());
  EXPECT_EQ(answer_->result.notice().message().recipients(0).address(), "alice@v.test");
  EXPECT_TRUE(answer_->result.notice().message().envelope().is_notice());
  EXPECT_THAT(Notice(), HasSubstr("\nSubject: Delayed Mail (still being retried)\n"));
  EXPECT_THAT(Notice(), HasSubstr("\nAction: delayed\n"));
  EXPECT_THAT(Notice(), HasSubstr("text/rfc822-headers"));
  EXPECT_THAT(Notice(), HasSubstr("\nReturn-Path: <alice@v.test>\nSubject: x\n\n--"));
  EXPECT_THAT(Notice(), Not(HasSubstr("body\n")));
}

TEST_F(BounceAgentTest, NobodyIsToldOfANullSendersMail) {
  auto attempt = NewAttempt({"x\n"});
  attempt->delivery.mutable_envelope()->set_sender("");
  Run(std::move(attempt));
  EXPECT_FALSE(answer_->result.has_notice());
  EXPECT_FALSE(answer_->result.notice_failed());
  EXPECT_EQ(contents_.asked, 0);
}

TEST_F(BounceAgentTest, NobodyIsToldOfANoticeOrADoubleBounce) {
  auto attempt = NewAttempt({"x\n"});
  attempt->delivery.mutable_envelope()->set_is_notice(true);
  Run(std::move(attempt));
  EXPECT_FALSE(answer_->result.has_notice());
  answer_.reset();
  attempt = NewAttempt({"x\n"});
  attempt->delivery.mutable_envelope()->set_sender("Double-Bounce@test");
  Run(std::move(attempt));
  EXPECT_FALSE(answer_->result.has_notice());
}

// Who is told of what: an agent with copies of all classes.
class PostmasterTest : public BounceAgentTest {
 protected:
  void RunWith(std::unique_ptr<Attempt> attempt) {
    attempt->delivery.set_copy_queue_id("4jXcopyOfIt");
    agent_with_copies_.Start(std::move(attempt));
    contents_.Run();
    ASSERT_TRUE(answer_.has_value());
  }
  // "notice alice@v.test; copy pm@b from double-bounce@test"
  std::string Told() const {
    std::string told;
    const auto name = [&](const char* what, const queue::v1::Submission& submission) {
      const auto& message = submission.message();
      told += Concat(what, " ", message.recipients(0).address(), " from <",
                     message.envelope().sender(), ">; ");
      EXPECT_TRUE(message.envelope().is_notice());
      EXPECT_EQ(message.content_bytes(), submission.payload_bytes());
    };
    if (answer_->result.has_notice()) name("notice", answer_->result.notice());
    if (answer_->result.has_copy()) name("copy", answer_->result.copy());
    return told;
  }

  BounceAgent agent_with_copies_{{.names = {.myhostname = "mx.test", .myorigin = "test"},
                                  .size_limit = 1000,
                                  .bounce_recipient = "pm@b",
                                  .double_bounce_recipient = "pm@2",
                                  .null_success_recipient = "pm@n",
                                  .delay_recipient = "pm@d"},
                                 clock_};
};

TEST_F(PostmasterTest, GetsTheHeaderOfWhatFailed) {
  RunWith(NewAttempt({"Subject: x\n\nbody\n"}));
  EXPECT_EQ(Told(), "notice alice@v.test from <>; copy pm@b from <double-bounce@test>; ");
  const queue::v1::Submission& copy = answer_->result.copy();
  EXPECT_EQ(copy.queue_id(), "4jXcopyOfIt");
  const std::string both = Notice();
  ASSERT_EQ(both.size(), answer_->result.notice().payload_bytes() + copy.payload_bytes());
  const std::string text = both.substr(answer_->result.notice().payload_bytes());
  EXPECT_EQ(copy.payload_crc32c(), Crc32c(text));
  EXPECT_THAT(text, HasSubstr("\nSubject: Postmaster Copy: Undelivered Mail\n"));
  EXPECT_THAT(text, HasSubstr("text/rfc822-headers"));
  EXPECT_THAT(text, Not(HasSubstr("body\n")));
}

// An alias that was expanded, of which a part failed.
void FailInPart(uint32_t notify, Attempt* attempt) {
  auto* bounced = attempt->delivery.mutable_bounced(0);
  bounced->mutable_recipient()->set_dsn_notify(notify);
  mail::v1::Outcome* outcome = bounced->mutable_outcome();
  outcome->set_action(mail::v1::Outcome::ACTION_BOUNCED);
  outcome->set_success(mail::v1::Outcome::SUCCESS_EXPANDED);
  outcome->set_success_text("delivery via local: alias expanded");
}

TEST_F(BounceAgentTest, OfAFailureInPartSuccessIsToldToo) {
  using mail::v1::NOTIFY_FLAG_FAILURE, mail::v1::NOTIFY_FLAG_SUCCESS;
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.set_copy_queue_id("4jXcopyOfIt");
  FailInPart(NOTIFY_FLAG_SUCCESS | NOTIFY_FLAG_FAILURE, attempt.get());
  Run(std::move(attempt));
  ASSERT_TRUE(answer_->result.has_notice());
  ASSERT_TRUE(answer_->result.has_copy());
  EXPECT_EQ(answer_->result.copy().message().recipients(0).address(), "alice@v.test");
  const std::string success = Notice().substr(answer_->result.notice().payload_bytes());
  EXPECT_THAT(success, HasSubstr("\nSubject: Successful Mail Delivery Report\n"));
  EXPECT_THAT(success, HasSubstr("\nAction: expanded\nStatus: 2.0.0\nDiagnostic-Code: X-Postfix; "
                                 "delivery via local: alias expanded\n"));

  answer_.reset();
  attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.set_copy_queue_id("4jXcopyOfIt");
  FailInPart(NOTIFY_FLAG_SUCCESS, attempt.get());
  Run(std::move(attempt));
  EXPECT_FALSE(answer_->result.has_copy());
  EXPECT_THAT(Notice(), HasSubstr("\nSubject: Successful Mail Delivery Report\n"));
}

TEST_F(PostmasterTest, HasTheCopyWhereSuccessInPartWouldBeTold) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  FailInPart(mail::v1::NOTIFY_FLAG_SUCCESS | mail::v1::NOTIFY_FLAG_FAILURE, attempt.get());
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "notice alice@v.test from <>; copy pm@b from <double-bounce@test>; ");
}

TEST_F(PostmasterTest, GetsTheWholeOfANullSendersMailThatFailed) {
  for (const bool notice : {false, true}) {
    answer_.reset();
    auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
    attempt->delivery.mutable_envelope()->set_sender("");
    attempt->delivery.mutable_envelope()->set_is_notice(notice);
    RunWith(std::move(attempt));
    EXPECT_EQ(Told(), "copy pm@2 from <double-bounce@test>; ");
    EXPECT_THAT(Notice(), HasSubstr("\nSubject: x\n\nbody\n"));
  }
}

// RET is a word to the sender's notices.
TEST_F(PostmasterTest, GetsTheWholeOfANullSendersMailWithRetHdrs) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.mutable_envelope()->set_sender("");
  attempt->delivery.mutable_envelope()->set_dsn_return(mail::v1::Envelope::RETURN_HDRS);
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "copy pm@2 from <double-bounce@test>; ");
  EXPECT_THAT(Notice(), HasSubstr("\nSubject: x\n\nbody\n"));
}

TEST_F(PostmasterTest, IsNotToldOfANullSendersMailThatIsLate) {
  auto attempt = NewAttempt({"x\n"});
  attempt->delivery.mutable_envelope()->set_sender("");
  attempt->delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_DELAY);
  attempt->delivery.mutable_bounced(0)->mutable_recipient()->set_dsn_notify(
      mail::v1::NOTIFY_FLAG_DELAY);
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "");
  EXPECT_EQ(contents_.asked, 0);
}

TEST_F(PostmasterTest, IsToldInTheNullSendersPlaceOfWhatArrived) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.mutable_envelope()->set_sender("");
  attempt->delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_SUCCESS);
  attempt->delivery.mutable_bounced(0)->mutable_recipient()->set_dsn_notify(
      mail::v1::NOTIFY_FLAG_SUCCESS);
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "notice pm@n from <double-bounce@test>; ");
  EXPECT_THAT(Notice(), HasSubstr("\nTo: pm@n\n"));
}

TEST_F(PostmasterTest, IsToldOfDelayNotOfSuccess) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_DELAY);
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "notice alice@v.test from <>; copy pm@d from <double-bounce@test>; ");
  answer_.reset();
  attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_SUCCESS);
  attempt->delivery.mutable_bounced(0)->mutable_recipient()->set_dsn_notify(
      mail::v1::NOTIFY_FLAG_SUCCESS);
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "notice alice@v.test from <>; ");
  EXPECT_THAT(Notice(), Not(HasSubstr("body\n")));
}

TEST_F(PostmasterTest, IsToldOfRecipientsWhoseSenderWantsToKnowNothing) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.mutable_bounced(0)->mutable_recipient()->set_dsn_notify(
      mail::v1::NOTIFY_FLAG_NEVER);
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "copy pm@b from <double-bounce@test>; ");
  EXPECT_THAT(Notice(), Not(HasSubstr("body\n")));
}

TEST_F(PostmasterTest, ACopyThatFailsMakesNoOther) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.mutable_envelope()->set_sender("double-bounce@test");
  attempt->delivery.mutable_envelope()->set_is_notice(true);
  RunWith(std::move(attempt));
  EXPECT_EQ(Told(), "");
  EXPECT_EQ(contents_.asked, 0);
}

TEST_F(BounceAgentTest, RetHdrsReturnsTheHeader) {
  auto attempt = NewAttempt({"Subject: x\n\nbody\n"});
  attempt->delivery.mutable_envelope()->set_dsn_return(mail::v1::Envelope::RETURN_HDRS);
  Run(std::move(attempt));
  EXPECT_THAT(Notice(), HasSubstr("text/rfc822-headers"));
  EXPECT_THAT(Notice(), Not(HasSubstr("body\n")));
}

TEST_F(BounceAgentTest, NobodyIsToldWhoWantsToKnowNothing) {
  auto attempt = NewAttempt({"x\n"});
  attempt->delivery.mutable_bounced(0)->mutable_recipient()->set_dsn_notify(
      mail::v1::NOTIFY_FLAG_NEVER);
  Run(std::move(attempt));
  EXPECT_FALSE(answer_->result.has_notice());
  EXPECT_FALSE(answer_->result.notice_failed());
}

BounceOptions Read(std::string_view main_cf) {
  config::Diagnostics diagnostics;
  const absl::StatusOr<config::Config> config =
      config::Config::FromText(Concat("compatibility_level = 3.6\nmyorigin = o.test\n", main_cf),
                               "", {"mx.test", {}}, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  return BounceOptions::FromConfig(*config);
}

TEST(BounceOptions, NobodyHasCopiesOfClassesThatAreNotNamed) {
  const BounceOptions options = Read("notify_classes = resource, software\n");
  EXPECT_EQ(options.bounce_recipient, "");
  EXPECT_EQ(options.double_bounce_recipient, "");
  EXPECT_EQ(options.delay_recipient, "");
}

TEST(BounceOptions, TheClassBounceImpliesDoubleBounces) {
  const BounceOptions options = Read(
      "notify_classes = bounce\nbounce_notice_recipient = b\n"
      "2bounce_notice_recipient = d@elsewhere.test\n");
  EXPECT_EQ(options.bounce_recipient, "b@o.test");
  EXPECT_EQ(options.double_bounce_recipient, "d@elsewhere.test");
  EXPECT_EQ(options.null_success_recipient, "") << "of failures alone";
  EXPECT_EQ(options.delay_recipient, "");
}

TEST(BounceOptions, TheClassOfDoubleBouncesImpliesNoOther) {
  const BounceOptions options = Read("notify_classes = 2bounce\n");
  EXPECT_EQ(options.bounce_recipient, "");
  EXPECT_EQ(options.double_bounce_recipient, "postmaster@o.test");
  EXPECT_EQ(options.null_success_recipient, "postmaster@o.test");
}

TEST(BounceOptions, SmtpUtf8IsDetectedInTheClassesThatAreNamed) {
  EXPECT_FALSE(Read("smtputf8_autodetect_classes = sendmail, verify\n").detect_smtputf8);
  EXPECT_TRUE(Read("smtputf8_autodetect_classes = smtpd, bounce\n").detect_smtputf8);
  EXPECT_TRUE(Read("smtputf8_autodetect_classes = all\n").detect_smtputf8);
  EXPECT_FALSE(Read("smtputf8_autodetect_classes = all\nsmtputf8_enable = no\n").detect_smtputf8);
}

TEST_F(BounceAgentTest, UnreadableContentsFailTheNotice) {
  for (const absl::Status& error : {absl::UnavailableError("x"), absl::DataLossError("y")}) {
    answer_.reset();
    auto attempt = NewAttempt({"A: b\n\nxx\n"});
    contents_.pieces = {"A: b\n"};
    contents_.end = error;
    Run(std::move(attempt));
    EXPECT_TRUE(answer_->result.notice_failed());
    EXPECT_FALSE(answer_->result.has_notice());
  }
}

TEST_F(BounceAgentTest, ContentsThatEndEarlyFailTheNotice) {
  auto attempt = NewAttempt({"A: b\n\nxx\n"});
  contents_.pieces = {"A: b\n"};
  Run(std::move(attempt));
  EXPECT_TRUE(answer_->result.notice_failed());
}

TEST_F(BounceAgentTest, ACancelledNoticeIsTriedAgain) {
  agent_.Start(NewAttempt({"x\n"}));
  agent_.Cancel(7);
  ASSERT_TRUE(answer_.has_value());
  EXPECT_TRUE(answer_->result.notice_failed());
  contents_.Run();
  agent_.Cancel(7);
}

}  // namespace
}  // namespace postfleet::delivery
