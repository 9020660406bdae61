#include "libs/config/master_cf.h"

#include <gtest/gtest.h>

namespace postfleet::config {
namespace {

MasterCf Parse(std::string_view text, Diagnostics& diagnostics) {
  absl::StatusOr<MasterCf> file = ParseMasterCf(text, "master.cf", diagnostics);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *file : MasterCf();
}

std::string ErrorOf(std::string_view text) {
  Diagnostics diagnostics;
  absl::StatusOr<MasterCf> file = ParseMasterCf(text, "master.cf", diagnostics);
  return std::string(file.status().message());
}

TEST(MasterCf, ReadsColumnsOptionsAndContinuations) {
  Diagnostics diagnostics;
  MasterCf file = Parse(
      "# comment\n"
      "[::1]:submission inet n - y - 7 smtpd\n"
      "  -o syslog_name=postfix/sub -o { smtpd_banner = a b } -v\n"
      "smtp unix - - n - - smtp\n",
      diagnostics);
  const MasterService* service = file.Find("[::1]:submission", ServiceType::kInet);
  ASSERT_NE(service, nullptr);
  EXPECT_EQ(service->endpoint->host, "::1");
  EXPECT_EQ(service->endpoint->port, 587);
  EXPECT_EQ(service->maxproc, 7);
  EXPECT_TRUE(service->chroot);
  EXPECT_EQ(service->verbose, 1);
  ASSERT_EQ(service->overrides.size(), 2u);
  EXPECT_EQ(service->overrides[1], std::make_pair(std::string("smtpd_banner"), std::string("a b")));
  EXPECT_EQ(service->line, 2);
  ASSERT_EQ(diagnostics.warnings().size(), 2u);
  EXPECT_EQ(diagnostics.warnings()[0].text,
            "master.cf: line 2: -v of service [::1]:submission/inet changes nothing: follow one "
            "message by its queue id in the log");
  EXPECT_EQ(diagnostics.warnings()[1].text,
            "master.cf: chroot is not supported yet; these services run without: "
            "[::1]:submission/inet");
}

TEST(MasterCf, StockTransportsAreThereWithoutAnEntry) {
  Diagnostics diagnostics;
  MasterCf file = Parse("virtual unix - n n - 3 virtual\n", diagnostics);
  for (std::string_view name : {"smtp", "relay", "local", "error", "retry", "discard"}) {
    ASSERT_NE(file.FindTransport(name), nullptr) << name;
    EXPECT_TRUE(file.FindTransport(name)->implied);
  }
  EXPECT_FALSE(file.FindTransport("virtual")->implied);
  EXPECT_EQ(file.FindTransport("nope"), nullptr);
}

TEST(MasterCf, ALineThatContinuesNothingIsLeftOut) {
  Diagnostics diagnostics;
  MasterCf file =
      Parse("  smtp inet n - n - - smtpd\n  -o a=b\nx unix - - n - - smtp\n", diagnostics);
  EXPECT_EQ(file.Find("smtp", ServiceType::kInet), nullptr);
  EXPECT_NE(file.Find("x", ServiceType::kUnix), nullptr);
  ASSERT_EQ(diagnostics.warnings().size(), 1u);
  EXPECT_EQ(diagnostics.warnings()[0].text,
            "master.cf: line 1: logical line must not start with whitespace: "
            "\"  smtp inet n - n - - smtpd  -o a=b\"");
}

TEST(MasterCf, BracesKeepAnArgumentTogether) {
  Diagnostics diagnostics;
  MasterCf file =
      Parse("25 inet n - n - - smtpd {-o smtpd_banner = a b} -o{ mail_name = c }\n", diagnostics);
  const MasterService* service = file.Find("25", ServiceType::kInet);
  ASSERT_NE(service, nullptr);
  ASSERT_EQ(service->overrides.size(), 2u);
  EXPECT_EQ(service->overrides[0], std::make_pair(std::string("smtpd_banner"), std::string("a b")));
  EXPECT_EQ(service->overrides[1], std::make_pair(std::string("mail_name"), std::string("c")));
  EXPECT_TRUE(service->arguments.empty());
}

TEST(MasterCf, ArgumentsThatNobodyReadsAreNamed) {
  Diagnostics diagnostics;
  Parse("25 inet n - n - - smtpd -D -x\n", diagnostics);
  ASSERT_EQ(diagnostics.warnings().size(), 2u);
  EXPECT_EQ(
      diagnostics.warnings()[0].text,
      "master.cf: line 1: argument \"-D\" of service 25/inet is not supported; it is ignored");
}

TEST(MasterCf, ErrorsSayFileAndLine) {
  EXPECT_EQ(ErrorOf("\nsmtp inet n - n -\n"), "master.cf: line 2: bad field count");
  EXPECT_EQ(ErrorOf("smtp tcp n - n - - smtpd\n"), "master.cf: line 1: bad transport type: tcp");
  EXPECT_EQ(ErrorOf("smtp unix x - n - - smtp\n"),
            "master.cf: line 1: field \"private\": bad value: \"x\"");
  EXPECT_EQ(ErrorOf("smtp unix - - n - 1x smtp\n"),
            "master.cf: line 1: field \"process_limit\": bad value: \"1x\"");
  EXPECT_EQ(ErrorOf("70000 inet n - n - - smtpd\n"), "master.cf: line 1: bad port: \"70000\"");
  EXPECT_EQ(ErrorOf("smtp unix - - n - - smtp -o a\n"),
            "master.cf: line 1: -o a: missing '=' after attribute name: \"a\"");
}

TEST(MasterCf, UnsupportedProgramIsNamed) {
  Diagnostics diagnostics;
  Parse("628 inet n - n - - qmqpd\n", diagnostics);
  ASSERT_EQ(diagnostics.warnings().size(), 1u);
  EXPECT_EQ(diagnostics.warnings()[0].text,
            "master.cf: line 1: program \"qmqpd\" of service 628/inet is not supported yet; "
            "the service is not started");
}

TEST(MasterCf, WhatStandsBehindPipesFirstAttributeIsItsOwn) {
  Diagnostics diagnostics;
  const MasterCf file = Parse(
      "x unix - n n - - pipe -o soft_bounce=yes\n"
      "  flags=R user=vmail argv=/x -o a=b -v { two  words }\n",
      diagnostics);
  EXPECT_TRUE(diagnostics.warnings().empty());
  const MasterService& service = *file.FindTransport("x");
  EXPECT_EQ(service.overrides.size(), 1u);
  EXPECT_EQ(service.verbose, 0);
  EXPECT_EQ(service.arguments, (std::vector<std::string>{"flags=R", "user=vmail", "argv=/x", "-o",
                                                         "a=b", "-v", "two  words"}));
}

TEST(MasterCf, EndpointForms) {
  EXPECT_EQ(ParseInetEndpoint("25")->port, 25);
  EXPECT_EQ(ParseInetEndpoint("smtp")->port, 25);
  EXPECT_EQ(ParseInetEndpoint("127.0.0.1:10025")->host, "127.0.0.1");
  EXPECT_EQ(ParseInetEndpoint(":465")->host, "");
  EXPECT_EQ(ParseInetEndpoint("[::1]:0")->host, "::1");
  EXPECT_FALSE(ParseInetEndpoint("::1:25").ok());
  EXPECT_FALSE(ParseInetEndpoint("[::1]").ok());
  EXPECT_FALSE(ParseInetEndpoint("no-such-service").ok());
}

}  // namespace
}  // namespace postfleet::config
