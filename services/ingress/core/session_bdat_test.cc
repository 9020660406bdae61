#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "libs/base/concat.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using queue::v1::EnqueueResult;
using testing::Contains;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A session in which a message to one recipient has begun.
class Chunks : public ScriptedSession {
 public:
  explicit Chunks(SessionConfig config = Config()) : ScriptedSession(std::move(config)) {
    Connect();
    SayLine("EHLO a");
    SayLine("MAIL FROM:<a@b.example>");
    SayLine("RCPT TO:<bob@localhost>");
  }

  std::string Bdat(std::string_view content, std::string_view last = "") {
    return Say(Concat("BDAT ", content.size(), last, "\r\n", content));
  }
};

constexpr std::string_view kLast = " LAST";

TEST(Rfc3030, AMessageComesInChunks) {
  Chunks client;
  EXPECT_EQ(client.Bdat("Subject: x\r\n\r\nab"), "250 2.0.0 Ok: 16 bytes\r\n");
  EXPECT_EQ(client.Bdat("cd\r"), "250 2.0.0 Ok: 3 bytes\r\n");
  EXPECT_TRUE(client.submits.empty());
  EXPECT_EQ(client.Bdat("\n.\r\n..\r\n", kLast),
            "250 2.0.0 Ok: 27 bytes queued as 4jXQUEUEID1\r\n");
  EXPECT_THAT(client.LastContent(), EndsWith("Subject: x\n\nabcd\n.\n..\n"));
  client.SayLine("QUIT");
  EXPECT_THAT(client.log, Contains(HasSubstr(" bdat=3 quit=1 commands=7")));
}

TEST(Rfc3030, AnUnfinishedLastLineIsEnded) {
  Chunks client;
  EXPECT_EQ(client.Bdat("abcd", kLast), "250 2.0.0 Ok: 6 bytes queued as 4jXQUEUEID1\r\n");
  EXPECT_THAT(client.LastContent(), EndsWith("\nabcd\n"));
}

TEST(Rfc3030, TheLastChunkMayBeEmptyAnotherMayNot) {
  Chunks client;
  EXPECT_EQ(client.Bdat("ab\r\n"), "250 2.0.0 Ok: 4 bytes\r\n");
  EXPECT_EQ(client.SayLine("BDAT 0 last"), "250 2.0.0 Ok: 4 bytes queued as 4jXQUEUEID1\r\n");

  Chunks other;
  other.Bdat("ab\r\n");
  EXPECT_EQ(other.SayLine("BDAT 0"), "551 5.7.1 Null BDAT request\r\n");
  EXPECT_EQ(other.SayLine("BDAT 0 LAST"), "551 5.0.0 Discarded 0 bytes after earlier error\r\n");
  EXPECT_TRUE(other.submits.empty());
  EXPECT_THAT(
      other.log,
      Contains(EndsWith("warning: 4jXQUEUEID1: null BDAT request from unknown[127.0.0.3]")));
}

TEST(Rfc3030, MessagesMayBePipelined) {
  Chunks client;
  EXPECT_EQ(client.Say("BDAT 4\r\nab\r\nBDAT 4 LAST\r\ncd\r\nMAIL FROM:<a@b.example>\r\n"
                       "RCPT TO:<bob@localhost>\r\nBDAT 2 LAST\r\nx\nQUIT\r\n"),
            "250 2.0.0 Ok: 4 bytes\r\n250 2.0.0 Ok: 8 bytes queued as 4jXQUEUEID1\r\n"
            "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.0.0 Ok: 3 bytes queued as 4jXQUEUEID2\r\n"
            "221 2.0.0 Bye\r\n");
  EXPECT_EQ(client.submits.size(), 2u);
}

TEST(Rfc3030, ABadCountEndsTheSession) {
  for (const char* line : {"BDAT", "BDAT x", "BDAT -1", "BDAT +4", "BDAT 4 FOO", "BDAT 1 LAST x",
                           "BDAT 99999999999999999999", "BDAT 0x10"}) {
    Chunks client;
    EXPECT_EQ(client.SayLine(line), "521 5.5.4 Syntax: BDAT count [LAST]\r\n") << line;
    EXPECT_TRUE(client.closed);
    EXPECT_THAT(client.log, Contains(HasSubstr(": malformed BDAT command syntax from ")));
    EXPECT_THAT(client.log.back(), EndsWith(" bdat=0/1 commands=3/4"));
  }
}

TEST(Rfc3030, WhereItIsNotOfferedItEndsTheSession) {
  SessionConfig config = ScriptedSession::Config();
  config.discarded_keywords = smtp::EhloKeywords("chunking");
  Chunks client(config);
  EXPECT_EQ(client.Bdat("NOOP\r\n"), "521 5.5.1 Error: command not implemented\r\n");
  EXPECT_TRUE(client.closed);
}

TEST(Rfc3030, ContentBehindARefusalIsNeverTakenForCommands) {
  ScriptedSession client;
  client.Connect();
  client.SayLine("EHLO a");
  EXPECT_EQ(client.Say("BDAT 6\r\nQUIT\r\n"), "503 5.5.1 Error: need RCPT command\r\n");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "503 5.5.1 Error: MAIL after BDAT\r\n");
  EXPECT_EQ(client.Say("BDAT 6 LAST\r\nQUIT\r\n"),
            "551 5.0.0 Discarded 6 bytes after earlier error\r\n");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(client.Say("BDAT 6 LAST\r\nQUIT\r\n"), "554 5.5.1 Error: no valid recipients\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "503 5.5.1 Error: need MAIL command\r\n");
  EXPECT_FALSE(client.closed);
}

TEST(Rfc3030, OtherCommandsOfTheTransactionAreRefusedBetweenChunks) {
  Chunks client;
  client.Bdat("ab\r\n");
  EXPECT_EQ(client.SayLine("DATA"), "503 5.5.1 Error: DATA after BDAT\r\n");
  EXPECT_EQ(client.SayLine("MAIL FROM:<x@y>"), "503 5.5.1 Error: nested MAIL command\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "503 5.5.1 Error: RCPT after BDAT\r\n");
  EXPECT_EQ(client.SayLine("NOOP"), "250 2.0.0 Ok\r\n");
  EXPECT_EQ(client.Bdat("cd\r\n", kLast), "250 2.0.0 Ok: 8 bytes queued as 4jXQUEUEID1\r\n");
}

TEST(Rfc3030, RsetAndEhloForgetTheChunks) {
  for (const char* line : {"RSET", "EHLO b"}) {
    Chunks client;
    client.Bdat("ab\r\n");
    client.SayLine(line);
    EXPECT_EQ(client.Bdat("ab\r\n", kLast), "503 5.5.1 Error: need RCPT command\r\n");
    EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
    EXPECT_TRUE(client.submits.empty());
  }
}

TEST(Rfc3030, ChunksBeyondTheSizeLimitAreThrownAway) {
  Chunks client;
  EXPECT_EQ(client.Bdat(Concat(std::string(59'998, 'x'), "\r\n")), "250 2.0.0 Ok: 60000 bytes\r\n");
  EXPECT_EQ(client.Bdat(Concat(std::string(59'998, 'x'), "\r\n")),
            "552 5.3.4 Chunk exceeds message size limit\r\n");
  EXPECT_EQ(client.Bdat("abcd", kLast), "551 5.0.0 Discarded 4 bytes after earlier error\r\n");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  EXPECT_THAT(client.log, Contains(EndsWith("exceeds message size limit")));
  EXPECT_LE(client.buffered_bytes_peak, 200'000u);
}

TEST(Rfc3030, RestrictionsOfDataHoldForTheFirstChunk) {
  SessionConfig config = ScriptedSession::Config();
  config.data_restrictions = {config::Restriction::kReject};
  Chunks client(config);
  EXPECT_EQ(client.Bdat("ab\r\n"), "554 5.7.1 <DATA>: Data command rejected: Access denied\r\n");
  EXPECT_EQ(client.Bdat("ab\r\n", kLast), "551 5.0.0 Discarded 4 bytes after earlier error\r\n");
  EXPECT_THAT(client.log, Contains(HasSubstr(": reject: BDAT from unknown[127.0.0.3]: 554 5.7.1")));
}

TEST(Rfc3030, AQueueThatFailsIsSaidAtTheNextChunk) {
  SessionConfig config = ScriptedSession::Config();
  config.message_size_limit = 0;
  config.chunk_bytes = 1000;
  Chunks client(config);
  client.queue_code = EnqueueResult::DISK_FULL;
  const std::string content = Concat("\r\n", std::string(2'000, 'x'), "\r\n");
  // The queue's answer comes later.
  EXPECT_EQ(client.Bdat(content), "250 2.0.0 Ok: 2004 bytes\r\n");
  EXPECT_EQ(client.Bdat(content), "452 4.3.1 Insufficient system storage\r\n");
  EXPECT_THAT(client.Bdat(content, kLast), StartsWith("551 5.0.0 Discarded"));
  EXPECT_FALSE(client.accepted);
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
}

TEST(Rfc3030, ALostConnectionSaysHowMuchOfTheContentCame) {
  Chunks client;
  client.Say("BDAT 3000\r\nab");
  client.Disconnect();
  EXPECT_THAT(client.log,
              Contains(EndsWith("lost connection after BDAT (2 bytes) from unknown[127.0.0.3]")));
  EXPECT_TRUE(client.submits.empty());
}

TEST(Rfc3030, BareNewlinesAreRefusedWhereThatIsWanted) {
  SessionConfig config = ScriptedSession::Config();
  config.bare_newline = smtp::BareNewline::kReject;
  Chunks client(config);
  constexpr std::string_view kRefused = "550 5.5.2 mx.example.com Error: bare <LF> received\r\n";
  EXPECT_EQ(client.Bdat("a\nb"), kRefused);
  EXPECT_EQ(client.Bdat("c\r\n", kLast), "551 5.0.0 Discarded 3 bytes after earlier error\r\n");
  EXPECT_FALSE(client.closed);
  EXPECT_FALSE(client.accepted);
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  client.SayLine("RCPT TO:<bob@localhost>");
  EXPECT_EQ(client.Bdat("a\nb\n", kLast), kRefused);
}

TEST(Rfc3030, ABareNewlineClosesWithACodeThatDoes) {
  SessionConfig config = ScriptedSession::Config();
  config.bare_newline = smtp::BareNewline::kReject;
  config.bare_newline_reject_code = 521;
  for (std::string_view last : {std::string_view(), kLast}) {
    Chunks client(config);
    EXPECT_EQ(client.Bdat("a\nb\n", last),
              "521 5.5.2 mx.example.com Error: bare <LF> received\r\n");
    EXPECT_TRUE(client.closed) << last;
  }
}

// The same content and replies, wherever reads and chunks are cut.
TEST(Rfc3030, AnyCutOfChunksAndReadsGivesTheSameMessage) {
  const std::string content = "Subject: x\r\n\r\n.\r\na\r\r\nb\rc\r\n..\r\nend\r\n";
  Chunks whole;
  whole.Bdat(content, kLast);
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    std::string wire;
    for (size_t at = 0; at < content.size();) {
      const size_t size = std::min<size_t>(1 + random() % 9, content.size() - at);
      const bool last = at + size == content.size();
      ConcatTo(&wire, "BDAT ", size, last ? kLast : "", "\r\n", content.substr(at, size));
      at += size;
    }
    Chunks client;
    std::string replies;
    for (size_t at = 0; at < wire.size();) {
      const size_t size = std::min<size_t>(1 + random() % 20, wire.size() - at);
      replies += client.Say(wire.substr(at, size));
      at += size;
    }
    EXPECT_THAT(replies, EndsWith(" bytes queued as 4jXQUEUEID1\r\n")) << seed;
    EXPECT_EQ(client.LastContent(), whole.LastContent()) << seed;
  }
}

}  // namespace
}  // namespace postfleet::ingress
