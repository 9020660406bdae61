#include "services/delivery/privileged/protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::delivery::privileged {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Request TwoTargets() {
  Request request;
  request.content_bytes = 0x123456789abc;
  request.file_bytes_max = 51200000;
  request.seconds = 1800000000;
  request.microseconds = 999999;
  request.host = "mx1.example.com";
  request.base = "/var/mail/vhosts";
  request.targets = {{.uid = 5000, .gid = 5001, .path = "a/b/", .header = "Delivered-To: x\n"},
                     {.uid = 0xfffffffe, .gid = 1, .path = "c/", .header = ""}};
  return request;
}

std::string Body(const Request& request) { return EncodeRequest(request).substr(kPrefixBytes); }

TEST(Protocol, ARequestArrivesAsItWasSent) {
  const Request sent = TwoTargets();
  const std::string frame = EncodeRequest(sent);
  uint32_t length = 0;
  ASSERT_TRUE(
      DecodePrefix(frame.substr(0, kPrefixBytes), kRequestMagic, kRequestBytesMax, &length));
  EXPECT_EQ(length, frame.size() - kPrefixBytes);
  Request got;
  ASSERT_TRUE(DecodeRequest(frame.substr(kPrefixBytes), &got));
  EXPECT_EQ(got.content_bytes, sent.content_bytes);
  EXPECT_EQ(got.file_bytes_max, sent.file_bytes_max);
  EXPECT_EQ(got.seconds, sent.seconds);
  EXPECT_EQ(got.microseconds, sent.microseconds);
  EXPECT_EQ(got.host, sent.host);
  EXPECT_EQ(got.base, sent.base);
  ASSERT_EQ(got.targets.size(), 2u);
  EXPECT_EQ(got.targets[0].uid, 5000u);
  EXPECT_EQ(got.targets[0].gid, 5001u);
  EXPECT_EQ(got.targets[0].path, "a/b/");
  EXPECT_EQ(got.targets[0].header, "Delivered-To: x\n");
  EXPECT_EQ(got.targets[1].uid, 0xfffffffeu);
}

TEST(Protocol, AnAnswerArrivesAsItWasSent) {
  std::vector<TargetResult> got;
  const std::string frame =
      EncodeAnswer({{Code::kDelivered, 0, ""}, {Code::kFailed, 27, "error writing message"}});
  ASSERT_TRUE(DecodeAnswer(frame.substr(kPrefixBytes), &got));
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].code, Code::kDelivered);
  EXPECT_EQ(got[1].code, Code::kFailed);
  EXPECT_EQ(got[1].error_number, 27);
  EXPECT_EQ(got[1].text, "error writing message");
}

TEST(Protocol, EveryCutOfARequestIsRefused) {
  const std::string body = Body(TwoTargets());
  Request got;
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_FALSE(DecodeRequest(body.substr(0, size), &got)) << size;
  }
  EXPECT_FALSE(DecodeRequest(body + "x", &got));
}

TEST(Protocol, BoundsOfARequestAreKept) {
  Request got;
  Request request = TwoTargets();
  request.operation = static_cast<Operation>(2);
  EXPECT_FALSE(DecodeRequest(Body(request), &got));
  request = TwoTargets();
  request.targets.clear();
  EXPECT_FALSE(DecodeRequest(Body(request), &got));
  request.targets.resize(kTargetsMax);
  EXPECT_TRUE(DecodeRequest(Body(request), &got));
  request.targets.resize(kTargetsMax + 1);
  EXPECT_FALSE(DecodeRequest(Body(request), &got));
  request = TwoTargets();
  request.targets[0].path.assign(kPathBytesMax + 1, 'a');
  EXPECT_FALSE(DecodeRequest(Body(request), &got));
  request = TwoTargets();
  request.targets[0].header.assign(kHeaderBytesMax + 1, 'a');
  EXPECT_FALSE(DecodeRequest(Body(request), &got));
  request = TwoTargets();
  request.host.assign(kHostBytesMax + 1, 'a');
  EXPECT_FALSE(DecodeRequest(Body(request), &got));
}

TEST(Protocol, AForeignOrTooLongPrefixIsRefused) {
  uint32_t length = 0;
  std::string prefix = EncodeRequest(TwoTargets()).substr(0, kPrefixBytes);
  EXPECT_FALSE(DecodePrefix(prefix, kAnswerMagic, kRequestBytesMax, &length));
  EXPECT_FALSE(DecodePrefix(prefix, kRequestMagic, 10, &length));
  prefix[7] = '\x7f';
  EXPECT_FALSE(DecodePrefix(prefix, kRequestMagic, kRequestBytesMax, &length));
}

TEST(Protocol, AnAnswerWithAnUnknownCodeIsRefused) {
  std::vector<TargetResult> got;
  std::string body = EncodeAnswer({{Code::kDelivered, 0, ""}}).substr(kPrefixBytes);
  body[4] = 5;
  EXPECT_FALSE(DecodeAnswer(body, &got));
  body[4] = 0;
  EXPECT_FALSE(DecodeAnswer(body, &got));
}

TEST(CheckPath, PartsComeWithoutEmptyOnesAndDots) {
  std::vector<std::string> parts;
  EXPECT_EQ(CheckPath("example.com//al.ice/./", &parts), "");
  EXPECT_THAT(parts, ElementsAre("example.com", "al.ice"));
}

TEST(CheckPath, WhatLeavesTheBaseIsRefused) {
  std::vector<std::string> parts;
  EXPECT_THAT(CheckPath("../x/", &parts), HasSubstr("\"..\""));
  EXPECT_THAT(CheckPath("a/../../x/", &parts), HasSubstr("\"..\""));
  EXPECT_THAT(CheckPath("a/..", &parts), HasSubstr("\"..\""));
  EXPECT_THAT(CheckPath("/etc/", &parts), HasSubstr("not relative"));
  EXPECT_THAT(CheckPath(std::string("a\0b/", 4), &parts), HasSubstr("zero byte"));
  EXPECT_THAT(CheckPath("", &parts), HasSubstr("empty"));
  EXPECT_THAT(CheckPath("././/", &parts), HasSubstr("empty"));
  EXPECT_THAT(CheckPath(std::string(256, 'a') + "/", &parts), HasSubstr("too long"));
  EXPECT_EQ(CheckPath("..a/b../", &parts), "");
}

TEST(CheckRequest, HostAndBaseAreChecked) {
  Request request = TwoTargets();
  EXPECT_THAT(CheckRequest(request), IsEmpty());
  for (const char* host : {"", "a/b", "a b", "../x", "a\nb"}) {
    request.host = host;
    EXPECT_THAT(CheckRequest(request), HasSubstr("host")) << host;
  }
  request = TwoTargets();
  request.base = "relative";
  EXPECT_THAT(CheckRequest(request), HasSubstr("absolute"));
  request.base = std::string("/a\0b", 4);
  EXPECT_THAT(CheckRequest(request), HasSubstr("absolute"));
}

}  // namespace
}  // namespace postfleet::delivery::privileged
