#include "libs/config/config.h"

#include <gtest/gtest.h>

#include <fstream>

#include "libs/base/concat.h"
#include "libs/config/parameters.h"
#include "libs/config/restrictions.h"

namespace postfleet::config {
namespace {

HostFacts Machine() {
  HostFacts facts;
  facts.hostname = "mx";
  facts.interfaces = {{*IpAddress::Parse("127.0.0.1"), 8},
                      {*IpAddress::Parse("192.0.2.7"), 24},
                      {*IpAddress::Parse("::1"), 128}};
  return facts;
}

constexpr std::string_view kMaster = "smtp inet n - n - - smtpd\n";
constexpr std::string_view kLevel = "compatibility_level = 3.6\n";

absl::StatusOr<Config> Read(std::string_view main_cf, std::string_view master_cf,
                            Diagnostics& diagnostics) {
  return Config::FromText(std::string(kLevel) + std::string(main_cf), master_cf, Machine(),
                          diagnostics);
}

Config MustRead(std::string_view main_cf, std::string_view master_cf = kMaster) {
  Diagnostics diagnostics;
  absl::StatusOr<Config> config = Read(main_cf, master_cf, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

std::string ErrorOf(std::string_view main_cf, std::string_view master_cf = kMaster) {
  Diagnostics diagnostics;
  return std::string(Read(main_cf, master_cf, diagnostics).status().message());
}

std::vector<std::string> WarningsOf(std::string_view main_cf,
                                    std::string_view master_cf = kMaster) {
  Diagnostics diagnostics;
  EXPECT_TRUE(Read(main_cf, master_cf, diagnostics).ok());
  std::vector<std::string> texts;
  for (const Diagnostic& warning : diagnostics.warnings()) texts.push_back(warning.text);
  return texts;
}

TEST(Parameters, HoldAllNamesOfPostfix39) {
  size_t postfix = 0;
  for (const Parameter& parameter : AllParameters()) {
    if (!parameter.name.starts_with("postfleet_")) ++postfix;
    if (parameter.status == ParameterStatus::kHonoured) {
      EXPECT_FALSE(parameter.doc.empty()) << parameter.name;
      EXPECT_FALSE(parameter.readers.empty()) << parameter.name;
    }
  }
  EXPECT_EQ(postfix, 845u);
}

TEST(Config, NamesFollowFromTheMachine) {
  Config config = MustRead("mydomain = example.com\n");
  EXPECT_EQ(config.GetString("myhostname"), "mx.example.com");
  EXPECT_EQ(config.GetString("mydestination"), "mx.example.com, localhost.example.com, localhost");
  EXPECT_EQ(MustRead("").GetString("myhostname"), "mx.localdomain");
  EXPECT_EQ(MustRead("myhostname = a.b.example\n").GetString("mydomain"), "b.example");
}

TEST(Config, MynetworksFollowsItsStyle) {
  EXPECT_EQ(MustRead("").GetString("mynetworks"), "127.0.0.1/32 192.0.2.7/32 [::1]/128");
  EXPECT_EQ(MustRead("mynetworks_style = subnet\n").GetString("mynetworks"),
            "127.0.0.0/8 192.0.2.0/24 [::1]/128");
  EXPECT_EQ(
      MustRead("inet_protocols = ipv4\ninet_interfaces = loopback-only\n").GetString("mynetworks"),
      "127.0.0.1/32");
}

std::string NetworksOf(std::string_view main_cf, const HostFacts& facts) {
  Diagnostics diagnostics;
  const auto config =
      Config::FromText(Concat("compatibility_level = 3.6\n", main_cf), kMaster, facts, diagnostics);
  return config.ok() ? config->GetString("mynetworks") : std::string(config.status().message());
}

TEST(Config, MynetworksHoldsLinkLocalNetworksAndNoPortIsBoundThere) {
  HostFacts facts = Machine();
  facts.interfaces.push_back({*IpAddress::Parse("fe80::99"), 64});
  EXPECT_EQ(NetworksOf("mynetworks_style = subnet\ninet_protocols = ipv6\n", facts),
            "[::1]/128 [fe80::]/64");
  Diagnostics diagnostics;
  const auto config = Config::FromText(kLevel, kMaster, facts, diagnostics);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->own_addresses().size(), 3u);
}

TEST(Config, InterfacesThatAreNamedAreSorted) {
  EXPECT_EQ(NetworksOf("inet_interfaces = ::1 192.0.2.7 127.0.0.1\n", Machine()),
            "127.0.0.1/32 192.0.2.7/32 [::1]/128");
}

TEST(Config, InterfacesOfOtherMachinesAreRefused) {
  EXPECT_EQ(ErrorOf("inet_interfaces = 198.51.100.1\n"),
            "parameter inet_interfaces: no local interface found for 198.51.100.1");
  EXPECT_TRUE(ErrorOf("inet_protocols = IPv4\n").starts_with("unknown inet_protocols value"));
  EXPECT_TRUE(ErrorOf("mynetworks_style = Host\n").starts_with("unknown mynetworks mask style"));
}

TEST(Config, NamesThatAreNoHostNamesStopTheStart) {
  struct {
    std::string_view name;
    std::string_view why;
  } constexpr kNames[] = {{"mx.example.com.", "misplaced delimiter"},
                          {"a..b", "misplaced delimiter"},
                          {".a.b", "misplaced delimiter"},
                          {"10.1.2.3", "numeric hostname"},
                          {"[10.1.2.3]", "invalid character 91(decimal)"},
                          {"-a.b", "misplaced hyphen"},
                          {"a b", "invalid character 32(decimal)"}};
  for (const auto& row : kNames) {
    EXPECT_EQ(ErrorOf(Concat("myhostname = ", row.name, "\nmydomain = a.b\n")),
              Concat("parameter myhostname: bad parameter value: ", row.name, " (", row.why,
                     ") (/etc/postfix/main.cf, line 2)"));
  }
  EXPECT_TRUE(ErrorOf("myhostname = mx.\n").starts_with("bad string length 0 < 1: mydomain = "));
  EXPECT_TRUE(ErrorOf("myhostname =\n").starts_with("bad string length 0 < 1: myhostname = "));
  EXPECT_EQ(MustRead("myhostname = _x.y.z\n").GetString("mydomain"), "y.z");
  EXPECT_EQ(MustRead("myhostname = mx\n").GetString("mydomain"), "localdomain");
}

TEST(Config, OriginThatIsAPathIsTheFirstLineOfTheFile) {
  const std::string path = testing::TempDir() + "mailname";
  std::ofstream(path) << "mail.example.com\nsecond\n";
  const Config config = MustRead(Concat("myorigin = ", path, "\nmydestination = $myorigin\n"));
  EXPECT_EQ(config.GetString("myorigin"), "mail.example.com");
  EXPECT_EQ(config.GetString("mydestination"), "mail.example.com");
  EXPECT_EQ(*config.FindExpanded("myorigin"), path);
  EXPECT_FALSE(ErrorOf("myorigin = /nonexistent/mailname\n").empty());
  // A service's own goes before it.
  const Config other = MustRead(Concat("myorigin = ", path, "\n"),
                                "smtp inet n - n - - smtpd -o myorigin=other.example\n");
  const auto service = other.WithOverrides(*other.master_cf().WithCommand("smtpd")[0]);
  ASSERT_TRUE(service.ok());
  EXPECT_EQ(service->GetString("myorigin"), "other.example");
}

TEST(Config, TypedValues) {
  Config config = MustRead(
      "soft_bounce = YES\nmessage_size_limit = 5000000000\nsmtpd_timeout = 2m\n"
      "maximal_queue_lifetime = 3\nmydestination = a, b\n  c,\n");
  EXPECT_TRUE(config.GetBool("soft_bounce"));
  EXPECT_EQ(config.GetSize("message_size_limit"), 5'000'000'000);
  EXPECT_EQ(config.GetTime("smtpd_timeout"), absl::Minutes(2));
  EXPECT_EQ(config.GetTime("maximal_queue_lifetime"), absl::Hours(72));  // its default has unit d
  EXPECT_EQ(config.GetList("mydestination"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(config.GetTime("queue_run_delay"), absl::Seconds(300));
  EXPECT_EQ(config.GetTime("smtpd_starttls_timeout"), absl::Seconds(300));
}

TEST(Config, TransportParametersFallBackToTheDefaultOnes) {
  Config config = MustRead(
      "default_destination_concurrency_limit = 30\nsmtp_destination_concurrency_limit = 7\n");
  EXPECT_EQ(config.GetInt("smtp_destination_concurrency_limit"), 7);
  EXPECT_EQ(config.GetInt("relay_destination_concurrency_limit"), 30);
  EXPECT_EQ(config.GetInt("local_destination_concurrency_limit"), 2);
  EXPECT_EQ(config.GetInt("virtual_initial_destination_concurrency"), 5);
  EXPECT_EQ(config.GetString("smtp_destination_concurrency_positive_feedback"), "1");
}

TEST(Config, OverridesBelongToOneService) {
  Config config = MustRead("smtpd_timeout = 100s\n",
                           "smtp inet n - n - - smtpd\n"
                           "10025 inet n - n - - smtpd -o smtpd_timeout=5s\n"
                           "  -o syslog_name=x/$service_name\n");
  const MasterService* service = config.master_cf().Find("10025", ServiceType::kInet);
  absl::StatusOr<Config> other = config.WithOverrides(*service);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->GetTime("smtpd_timeout"), absl::Seconds(5));
  EXPECT_EQ(other->GetString("syslog_name"), "x/10025");
  EXPECT_EQ(config.GetTime("smtpd_timeout"), absl::Seconds(100));
}

TEST(Config, ErrorsAreInPostfixsWords) {
  EXPECT_TRUE(ErrorOf("soft_bounce = maybe\n")
                  .starts_with("bad boolean configuration: soft_bounce = maybe"));
  EXPECT_TRUE(ErrorOf("message_size_limit = abc\n")
                  .starts_with("bad numerical configuration: message_size_limit = abc"));
  EXPECT_TRUE(ErrorOf("default_process_limit = 0\n")
                  .starts_with("invalid default_process_limit parameter value 0 < 1"));
  EXPECT_TRUE(ErrorOf("smtpd_timeout = 5x\n")
                  .starts_with("parameter smtpd_timeout: bad time value or unit: 5x"));
  EXPECT_TRUE(ErrorOf("foo\n").starts_with(
      "/etc/postfix/main.cf, line 2: missing '=' after attribute name: \"foo\""));
  EXPECT_TRUE(ErrorOf("myorigin = ${x\n").ends_with("(/etc/postfix/main.cf, line 2)"));
}

TEST(Config, ErrorInAnOverrideStopsTheStart) {
  EXPECT_TRUE(ErrorOf("", "smtp inet n - n - - smtpd -o smtpd_timeout=x\n")
                  .ends_with("(/etc/postfix/master.cf, line 1, -o of service smtp)"));
}

TEST(Config, MissingMainCfIsNamed) {
  Diagnostics diagnostics;
  EXPECT_EQ(Config::Load("/nonexistent", diagnostics).status().message(),
            "open /nonexistent/main.cf: No such file or directory");
}

TEST(Config, UnsupportedRestrictionIsAnErrorNotAPermit) {
  EXPECT_EQ(ErrorOf("smtpd_client_restrictions = reject_rbl_client zen.example\n"),
            "parameter smtpd_client_restrictions: restriction \"reject_rbl_client\" is not "
            "supported yet; remove it to start (/etc/postfix/main.cf, line 2)");
  EXPECT_NE(
      ErrorOf("smtpd_relay_restrictions = permit_mynetwork\n").find("unknown smtpd restriction"),
      std::string::npos);
}

TEST(Config, OpenRelayDoesNotStart) {
  EXPECT_TRUE(ErrorOf("smtpd_relay_restrictions = permit_mynetworks\n")
                  .starts_with("in parameter smtpd_relay_restrictions or smtpd_recipient_restr"));
}

TEST(Restrictions, AListThatStopsNobodyIsAnOpenRelay) {
  using R = Restriction;
  EXPECT_FALSE(CheckForeignRelay({}, {}).ok());
  EXPECT_FALSE(CheckForeignRelay({R::kPermitMynetworks}, {R::kPermit, R::kReject}).ok());
  EXPECT_TRUE(CheckForeignRelay({}, {R::kPermitMynetworks, R::kRejectUnauthDestination}).ok());
  EXPECT_TRUE(CheckForeignRelay({R::kDeferUnauthDestination}, {}).ok());
}

TEST(Config, UnsupportedParameterWarnsUnlessItIsTheDefault) {
  EXPECT_EQ(
      WarningsOf("qmqpd_error_delay = 2s\n"),
      std::vector<std::string>{"main.cf line 2: parameter \"qmqpd_error_delay\" is not "
                               "supported yet; its value is ignored; QMQP is not there: submit by "
                               "SMTP"});
  EXPECT_TRUE(WarningsOf("canonical_classes = envelope_sender envelope_recipient,\n"
                         "  header_sender header_recipient\nlocal_header_rewrite_clients = "
                         "permit_inet_interfaces\nsmtp_use_tls = NO\ndelay_warning_time = 0\n")
                  .empty());
}

TEST(Config, AnUnsupportedDefaultThatIsSetByHandWarns) {
  EXPECT_EQ(WarningsOf("biff = Yes\n"),
            std::vector<std::string>{"main.cf line 2: parameter \"biff\" is not supported yet; "
                                     "its value is ignored; nobody is told: set biff = no"});
  EXPECT_TRUE(WarningsOf("biff = no\n").empty());
  EXPECT_TRUE(WarningsOf("").empty());
}

TEST(Config, UnusedNameGetsASuggestion) {
  EXPECT_EQ(WarningsOf("mydestinatoin = x\n"),
            std::vector<std::string>{"/etc/postfix/main.cf: unused parameter: mydestinatoin=x "
                                     "(did you mean \"mydestination\"?)"});
  EXPECT_EQ(WarningsOf("zzzzzzzz = x\n"),
            std::vector<std::string>{"/etc/postfix/main.cf: unused parameter: zzzzzzzz=x"});
}

TEST(Config, UserDefinedAndTransportNamesAreFine) {
  EXPECT_TRUE(
      WarningsOf("mine = a\nmydestination = $mine\nsmtp_destination_rate_delay = 0\n").empty());
  EXPECT_EQ(WarningsOf("nosuch_destination_concurrency_limit = 3\n").size(), 1u);
}

TEST(Config, CommentBehindAValueWarns) {
  ASSERT_EQ(WarningsOf("myorigin = a # b\n").size(), 1u);
  EXPECT_NE(WarningsOf("myorigin = a # b\n")[0].find("#comment after other text"),
            std::string::npos);
}

Config ReadUnchecked(std::string_view main_cf, std::initializer_list<std::string_view> wanted,
                     std::vector<std::string>* warnings, std::string_view master_cf = kMaster) {
  Diagnostics diagnostics;
  Config config =
      Config::FromTextUnchecked(main_cf, master_cf, Machine(), wanted, diagnostics, "/p");
  for (const Diagnostic& warning : diagnostics.warnings()) warnings->push_back(warning.text);
  return config;
}

TEST(UncheckedConfig, IsSilentOfBadValuesThatNobodyAskedFor) {
  std::vector<std::string> warnings;
  Config config = ReadUnchecked(
      "queue_directory = /q\nsmtpd_timeout = soon\nqueue_run_delay = soon\n"
      "inet_protocols = ipv5\nsmtpd_client_restrictions = nonsense\nmydestination = ${\n",
      {"queue_directory"}, &warnings);
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(config.GetString("postfleet_control_socket"), "/q/postfleet/control.sock");
  EXPECT_EQ(config.GetTime("smtpd_timeout"), absl::Seconds(300));
  EXPECT_EQ(config.GetTime("queue_run_delay"), absl::Seconds(300));
  EXPECT_EQ(config.FindRaw("smtpd_timeout"), "soon");
  EXPECT_EQ(config.GetString("myhostname"), "mx.localdomain");
}

TEST(UncheckedConfig, WhatIsMadeOfTheMachinesNamesIsNotBad) {
  std::vector<std::string> warnings;
  Config config =
      ReadUnchecked("myhostname = mx.example.com\nmyorigin = $mydomain\n", {}, &warnings);
  EXPECT_EQ(config.GetString("myorigin"), "example.com");
  EXPECT_TRUE(warnings.empty());
}

TEST(UncheckedConfig, FallsBackToTheDefaultOfABadWantedValueAndSaysSo) {
  std::vector<std::string> warnings;
  Config config =
      ReadUnchecked("transport_retry_time = soon\n", {"transport_retry_time"}, &warnings);
  EXPECT_EQ(config.GetTime("transport_retry_time"), absl::Seconds(60));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(
      warnings[0],
      "parameter transport_retry_time: bad time value or unit: soon; specify a number and s, m, "
      "h, d or w (/p/main.cf, line 1); its default is used");
}

TEST(UncheckedConfig, SkipsBadLinesAndABadMasterCf) {
  std::vector<std::string> warnings;
  Config config = ReadUnchecked("nonsense\nqueue_directory = /q\n", {"queue_directory"}, &warnings,
                                "smtp inet n\n");
  EXPECT_EQ(config.GetString("queue_directory"), "/q");
  EXPECT_NE(config.master_cf().FindTransport("smtp"), nullptr);
  EXPECT_EQ(warnings.size(), 2u);
}

TEST(UncheckedConfig, ValuesThatReferToEachOtherFallBack) {
  std::vector<std::string> warnings;
  Config config = ReadUnchecked(
      "queue_directory = $data_directory\ndata_directory = $queue_directory\n", {}, &warnings);
  EXPECT_EQ(config.GetString("queue_directory"), "/var/spool/postfix");
  EXPECT_EQ(warnings.size(), 2u);
}

TEST(Config, LastDefinitionWins) {
  EXPECT_EQ(MustRead("myorigin = a\nmyorigin = b\n").GetString("myorigin"), "b");
}

}  // namespace
}  // namespace postfleet::config
