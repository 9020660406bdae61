#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/dns/records.h"
#include "libs/dns/resolver.h"

namespace postfleet::dns {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

std::string MxData(std::string_view wire_name, uint8_t preference = 10) {
  return std::string{0, static_cast<char>(preference)} + std::string(wire_name);
}

TEST(HostName, TakesLettersDigitsHyphensAndUnderscores) {
  EXPECT_TRUE(IsHostName("mx1.example.com"));
  EXPECT_TRUE(IsHostName("mx_1.Example.com."));
  EXPECT_TRUE(IsHostName(std::string(63, 'a') + ".example"));
}

TEST(HostName, RefusesWhatCannotBeAHost) {
  for (const char* name : {"", ".", "a..b", "-a.example", "a-.example", "a b", "a/b", "192.0.2.1",
                           "[192.0.2.1]", "ex\xc3\xa4mple.com"}) {
    EXPECT_FALSE(IsHostName(name)) << name;
  }
  EXPECT_FALSE(IsHostName(std::string(64, 'a') + ".example"));
  EXPECT_FALSE(IsHostName(std::string(200, 'a') + std::string(100, '.')));
}

TEST(FailureText, IsPostfixsOwn) {
  EXPECT_EQ(FailureText(Result::kNoName, Type::kAaaa, "example.com"),
            "Host or domain name not found. Name service error for name=example.com type=AAAA: "
            "Host not found");
  EXPECT_EQ(FailureText(Result::kTemporary, Type::kMx, "example.com"),
            "Host or domain name not found. Name service error for name=example.com type=MX: "
            "Host not found, try again");
}

TEST(Records, ExchangeIsLowerCaseWithoutTheFinalDot) {
  const std::string rdata = MxData(std::string_view("\2MX\7Example\3com\0", 16));
  const Answer answer = ParseRecords(Type::kMx, {rdata});
  ASSERT_TRUE(answer.found());
  EXPECT_THAT(answer.mx, ElementsAre(MxRecord{.preference = 10, .exchange = "mx.example.com"}));
}

TEST(Rfc7505, RootAsExchangeIsTheNullMx) {
  const std::string rdata = MxData(std::string_view("\0", 1), 0);
  EXPECT_THAT(ParseRecords(Type::kMx, {rdata}).mx,
              ElementsAre(MxRecord{.preference = 0, .exchange = ""}));
}

TEST(Records, ExchangesThatAreNoHostNamesAreDropped) {
  const std::string with_crlf = MxData(std::string_view("\4a\r\nb\3com\0", 10));
  const std::string dot_in_label = MxData(std::string_view("\3a.b\3com\0", 9));
  const std::string cut = MxData(std::string_view("\7exam", 5));
  const std::string tail = MxData(std::string_view("\1a\3com\0xx", 9));
  const std::string good = MxData(std::string_view("\1a\3com\0", 7));
  EXPECT_THAT(ParseRecords(Type::kMx, {with_crlf, dot_in_label, cut, tail, good}).mx, SizeIs(1));
  EXPECT_EQ(ParseRecords(Type::kMx, {with_crlf}).result, Result::kMalformed);
}

TEST(Records, AnAddressInWordsEndsWhereItsNameEnds) {
  const std::string address = MxData(std::string_view("\0012\0011\0011\0017\0", 9));
  EXPECT_THAT(ParseRecords(Type::kMx, {address}).mx, SizeIs(1));
  const std::string zero_byte = MxData(std::string_view("\0012\0011\0011\0037\0x\0", 11));
  EXPECT_EQ(ParseRecords(Type::kMx, {zero_byte}).result, Result::kMalformed);
}

TEST(Records, AddressesOfAnotherLengthAreDropped) {
  EXPECT_EQ(ParseRecords(Type::kA, {std::string_view("\x7f\0\0", 3)}).result, Result::kMalformed);
  EXPECT_EQ(ParseRecords(Type::kA, {std::string_view("\x7f\0\0\1", 4)}).addresses[0].to_string(),
            "127.0.0.1");
}

TEST(Records, AHundredAreLookedAt) {
  const std::vector<std::string_view> rdata(150, std::string_view("\x7f\0\0\1", 4));
  EXPECT_THAT(ParseRecords(Type::kA, rdata).addresses, SizeIs(kRecordsMax));
}

TEST(Records, ServicesHavePriorityWeightPortAndTarget) {
  const std::string_view rdata("\0\1\0\2\2\x4b\1a\3com\0", 13);
  const std::string_view none("\0\0\0\0\0\0\0", 7);
  const std::string_view cut("\0\1\0\2\2\x4b", 6);
  EXPECT_THAT(ParseRecords(Type::kSrv, {rdata, none, cut}).srv,
              ElementsAre(SrvRecord{.priority = 1, .weight = 2, .port = 587, .target = "a.com"},
                          SrvRecord{}));
  EXPECT_EQ(ParseRecords(Type::kSrv, {cut}).result, Result::kMalformed);
}

TEST(Records, AnExchangeMayBeAnAddressInWords) {
  const std::string rdata =
      MxData(std::string_view("\x03"
                              "127\1"
                              "0\1"
                              "1\1"
                              "1\0",
                              11));
  EXPECT_THAT(ParseRecords(Type::kMx, {rdata}).mx,
              ElementsAre(MxRecord{.preference = 10, .exchange = "127.0.1.1"}));
}

}  // namespace
}  // namespace postfleet::dns
