// Facts of Postfix 3.7 (tests/scenarios/pipe_oracle_test.py).
#include "services/delivery/pipe/command_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

namespace postfleet::delivery {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class CommandWordsTest : public testing::Test {
 protected:
  CommandWordsTest() {
    envelope_.mutable_origin()->set_client_name("client.example");
    envelope_.mutable_origin()->set_client_address("192.0.2.1");
    envelope_.mutable_origin()->set_client_port("4711");
    envelope_.mutable_origin()->set_helo("helo.example");
    envelope_.mutable_origin()->set_protocol("ESMTP");
    rules_.recipient_delimiter = "+";
  }
  absl::StatusOr<std::vector<std::string>> Try(const std::vector<std::string>& words,
                                               const std::vector<std::string>& recipients) {
    std::deque<mail::v1::Recipient> all;
    WordFacts facts = {.envelope = envelope_,
                       .sender = sender_,
                       .nexthop = "Next.Example",
                       .queue_id = "4abc",
                       .message_bytes = 240};
    for (const std::string& recipient : recipients) {
      all.emplace_back().set_address(recipient);
      facts.recipients.push_back(&all.back());
    }
    return ExpandWords(words, rules_, facts);
  }
  std::vector<std::string> Expand(const std::vector<std::string>& words,
                                  const std::vector<std::string>& recipients = {"r@x.example"}) {
    const auto argv = Try(words, recipients);
    EXPECT_TRUE(argv.ok()) << argv.status();
    return argv.ok() ? *argv : std::vector<std::string>();
  }
  std::string Error(const std::string& word) {
    return std::string(Try({word}, {"r@x.example"}).status().message());
  }

  mail::v1::Envelope envelope_;
  std::string sender_ = "s@sender.example";
  WordRules rules_;
};

TEST_F(CommandWordsTest, AllThreeFormsOfAMacroAndTheDollarAreKnown) {
  EXPECT_THAT(Expand({"${sender}", "$(sender)", "a$sender,", "$$x", "x$$", "a  b"}),
              ElementsAre("s@sender.example", "s@sender.example", "as@sender.example,", "$x", "x$",
                          "a  b"));
}

TEST_F(CommandWordsTest, AWordWithAMacroOfRecipientsIsThereForEach) {
  EXPECT_THAT(
      Expand({"x", "$recipient", "y", "<$user>$nexthop", "z", "$extension"},
             {"a+1@x.example", "b@x.example", "c+3@x.example"}),
      ElementsAre("x", "a+1@x.example", "b@x.example", "c+3@x.example", "y", "<a>Next.Example",
                  "<b>Next.Example", "<c>Next.Example", "z", "1", "", "3"));
}

TEST_F(CommandWordsTest, EveryMacroOfTheMessageHasItsValue) {
  EXPECT_THAT(
      Expand({"$client_address|$client_helo|$client_hostname|$client_port|$client_protocol|"
              "$sasl_method|$sasl_sender|$sasl_username|$size|$queue_id|$mailbox|$domain"}),
      ElementsAre("192.0.2.1|helo.example|client.example|4711|ESMTP||||240|4abc|r|x.example"));
}

TEST_F(CommandWordsTest, FlagsFoldAndQuoteWhatTheyAreFor) {
  const std::vector<std::string> words = {"$sender",  "$recipient", "$user",
                                          "$mailbox", "$domain",    "$nexthop"};
  sender_ = "Odd One@Sender.Example";
  EXPECT_THAT(Expand(words, {"Two Words+X@Y.Example"}),
              ElementsAre("Odd One@Sender.Example", "Two Words+X@Y.Example", "Two Words",
                          "Two Words+X", "Y.Example", "Next.Example"));
  rules_.quote_local_part = true;
  EXPECT_THAT(Expand(words, {"Two Words+X@Y.Example"}),
              ElementsAre("\"Odd One\"@Sender.Example", "\"Two Words+X\"@Y.Example", "Two Words",
                          "Two Words+X", "Y.Example", "Next.Example"));
  rules_ = {.fold_user = true, .recipient_delimiter = "+"};
  EXPECT_THAT(Expand(words, {"Two Words+X@Y.Example"}),
              ElementsAre("Odd One@Sender.Example", "two words+x@Y.Example", "two words",
                          "two words+x", "Y.Example", "Next.Example"));
  rules_ = {.fold_host = true, .recipient_delimiter = "+"};
  EXPECT_THAT(Expand(words, {"Two Words+X@Y.Example"}),
              ElementsAre("Odd One@Sender.Example", "Two Words+X@y.example", "Two Words",
                          "Two Words+X", "y.example", "next.example"));
}

TEST_F(CommandWordsTest, WhatAMacroGivesIsOneWordAndNeverLookedInto) {
  sender_ = "$recipient ${x} $(id) `id`; |x\n\"'@s.example";
  EXPECT_THAT(Expand({"$sender"}), ElementsAre(sender_));
  EXPECT_THAT(Expand({"$recipient"}, {"-oQ/tmp $sender\n@x.example"}),
              ElementsAre("-oQ/tmp $sender\n@x.example"));
}

TEST_F(CommandWordsTest, AnEmptySenderIsAnEmptyWordAndAnEmptyUserIsNone) {
  sender_ = "";
  rules_.quote_local_part = true;
  EXPECT_THAT(Expand({"$sender"}), ElementsAre(""));
  EXPECT_THAT(Expand({"$user", "$mailbox"}, {"@x.example"}), IsEmpty());
}

TEST_F(CommandWordsTest, WhatIsNoMacroIsAnError) {
  EXPECT_EQ(Error("$nosuch"), "unknown macro name: \"nosuch\"");
  EXPECT_EQ(Error("${extension?yes}"), "unknown macro name: \"extension?yes\"");
  EXPECT_EQ(Error("${user"), "truncated macro reference: \"${user\"");
  EXPECT_EQ(Error("a$"), "empty macro name: \"a$\"");
  EXPECT_EQ(Error("${}"), "empty macro name: \"${}\"");
}

}  // namespace
}  // namespace postfleet::delivery
