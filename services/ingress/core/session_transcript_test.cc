// What is compared with Postfix is in tests/scenarios/notify_classes_test.py.
#include "services/ingress/core/session_transcript.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

SessionConfig Telling(uint32_t classes) {
  SessionConfig config = ScriptedSession::Config();
  config.notify_classes = classes;
  config.error_notice_recipient = "err@here.example";
  config.bounce_notice_recipient = "bnc@here.example";
  config.double_bounce_sender = "double-bounce@here.example";
  config.notice_from = "MAILER-DAEMON@here.example";
  return config;
}

TEST(ErrorClasses, AreThoseOfNotifyClasses) {
  EXPECT_EQ(*ErrorClassesOf({"Policy", "2bounce", "delay", "data"}), kPolicyError | kDataError);
  EXPECT_EQ(*ErrorClassesOf({}), 0u);
  EXPECT_EQ(ErrorClassesOf({"data", "bogus"}).status().message(),
            "unknown notify_classes value \"bogus\"");
}

TEST(Transcript, OfASessionWithAnErrorIsMailedAtItsEnd) {
  ScriptedSession smtp(Telling(kProtocolError));
  smtp.Connect();
  smtp.SayLine("FOO");
  EXPECT_THAT(smtp.submits, IsEmpty());
  smtp.SayLine("QUIT");
  ASSERT_THAT(smtp.submits, SizeIs(1));
  const queue::v1::NewMessage& message = smtp.submits[0].submission.message();
  EXPECT_EQ(message.envelope().sender(), "double-bounce@here.example");
  EXPECT_TRUE(message.envelope().is_notice());
  ASSERT_EQ(message.recipients_size(), 1);
  EXPECT_EQ(message.recipients(0).address(), "err@here.example");
  const std::string& text = smtp.submits[0].content;
  EXPECT_EQ(message.content_bytes(), text.size());
  EXPECT_THAT(text, HasSubstr("\nFrom: Mail Delivery System <MAILER-DAEMON@here.example>\n"
                              "To: Postmaster <err@here.example>\nSubject: "));
  EXPECT_THAT(text, HasSubstr("\n In:  FOO\n Out: 500 5.5.2 Error: command not recognized\n"
                              " In:  QUIT\n Out: 221 2.0.0 Bye\n\n\nFor other details, see the "
                              "local mail logfile\n"));
}

TEST(Transcript, IsNotMailedOfOtherClassesOrWithoutErrors) {
  ScriptedSession other(Telling(kResourceError | kSoftwareError));
  other.Connect();
  other.SayLine("FOO");
  other.SayLine("QUIT");
  EXPECT_THAT(other.submits, IsEmpty());
  ScriptedSession good(Telling(~0u));
  good.Connect();
  good.SayLine("EHLO c");
  good.SayLine("QUIT");
  EXPECT_THAT(good.submits, IsEmpty());
}

TEST(Transcript, OfWhatWouldHaveBouncedGoesToAnother) {
  ScriptedSession smtp(Telling(kBounceError | kPolicyError));
  smtp.Connect();
  smtp.SayLine("HELO c");
  smtp.SayLine("MAIL FROM:<a@b.example>");
  smtp.SayLine("RCPT TO:<nobody@virt.example>");
  smtp.Disconnect();
  ASSERT_THAT(smtp.submits, SizeIs(1));
  EXPECT_EQ(smtp.submits[0].submission.message().recipients(0).address(), "bnc@here.example");
  EXPECT_THAT(smtp.submits[0].content, HasSubstr("\nTo: Postmaster <err@here.example>\n"));
  EXPECT_THAT(smtp.submits[0].content,
              HasSubstr("\n\nSession aborted, reason: lost connection\n\n"));
}

TEST(Transcript, AMessageThatWasTakenForgivesWhatWasWrongBefore) {
  ScriptedSession smtp(Telling(~0u));
  smtp.Connect();
  smtp.SayLine("HELO c");
  smtp.SayLine("FOO");
  smtp.SayLine("MAIL FROM:<a@b.example>");
  smtp.SayLine("RCPT TO:<alice@virt.example>");
  smtp.SayLine("DATA");
  smtp.Say("secret contents\r\n.\r\n");
  smtp.SayLine("QUIT");
  EXPECT_THAT(smtp.submits, SizeIs(1)) << "the message";
}

TEST(Transcript, HasNoContents) {
  ScriptedSession smtp(Telling(kProtocolError));
  smtp.Connect();
  smtp.SayLine("HELO c");
  smtp.SayLine("MAIL FROM:<a@b.example>");
  smtp.SayLine("RCPT TO:<alice@virt.example>");
  smtp.SayLine("DATA");
  smtp.Say("secret contents\r\n.\r\n");
  smtp.SayLine("FOO");
  smtp.SayLine("QUIT");
  ASSERT_THAT(smtp.submits, SizeIs(2));
  EXPECT_THAT(smtp.submits[1].content, HasSubstr("\n In:  DATA\n Out: 354 "));
  EXPECT_THAT(smtp.submits[1].content, Not(HasSubstr("secret")));
}

TEST(Transcript, WithoutAQueueIsLoggedAsLost) {
  for (bool ScriptedSession::*lost :
       {&ScriptedSession::queue_reached, &ScriptedSession::queue_is_there}) {
    ScriptedSession smtp(Telling(kProtocolError));
    smtp.Connect();
    smtp.SayLine("FOO");
    smtp.*lost = false;
    smtp.SayLine("QUIT");
    EXPECT_THAT(smtp.submits, IsEmpty());
    EXPECT_THAT(smtp.log, testing::Contains(HasSubstr("warning: postmaster notify: ")));
  }
}

TEST(Transcript, IsBoundedByItsFirstAndLastLines) {
  SessionTranscript transcript(kProtocolError);
  for (int i = 0; i < 100'000; ++i) transcript.Came(Concat("line ", i));
  transcript.Came(std::string(1'000'000, 'x'));
  EXPECT_LE(transcript.bytes(),
            SessionTranscript::kFirstBytesMax + SessionTranscript::kLastBytesMax);
  const std::string text = transcript.Text();
  EXPECT_THAT(text, HasSubstr(" In:  line 0\n In:  line 1\n"));
  EXPECT_THAT(text, HasSubstr(" lines are left out here)\n In:  line 99"));
  EXPECT_THAT(text, HasSubstr(" In:  line 99999\n"));
  EXPECT_THAT(text, EndsWith("xxx\n"));
}

TEST(Transcript, WhereNothingIsToldOfNothingIsKept) {
  SessionTranscript transcript(0);
  transcript.Came("EHLO c");
  transcript.Sent("250 x\r\n");
  EXPECT_EQ(transcript.bytes(), 0u);
}

TEST(Transcript, LinesAreWrappedAndPrintable) {
  SessionTranscript transcript(kProtocolError);
  transcript.Came(Concat("FOO \x01\xe4\xc3\xa4\n", " ", std::string(80, 'x')));
  transcript.Sent("250-a\r\n250 b\r\n");
  EXPECT_EQ(transcript.Text(), Concat(" In:  FOO ??\xc3\xa4?\n     ", std::string(80, 'x'),
                                      "\n Out: 250-a\n Out: 250 b\n"));
}

}  // namespace
}  // namespace postfleet::ingress
