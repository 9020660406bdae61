#include "libs/config/refusals.h"

#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "libs/config/config.h"
#include "libs/config/table_types.h"
#include "libs/tables/table.h"

namespace postfleet::config {
namespace {

constexpr std::string_view kMaster = "smtp inet n - n - - smtpd\n";

std::string ErrorOf(std::string_view main_cf, std::string_view master_cf = kMaster) {
  Diagnostics diagnostics;
  return std::string(Config::FromText(Concat("compatibility_level = 3.6\n", main_cf), master_cf,
                                      HostFacts{"mx", {}}, diagnostics, "/p")
                         .status()
                         .message());
}

std::vector<std::string> WarningsOf(std::string_view main_cf) {
  Diagnostics diagnostics;
  absl::Status status = Config::FromText(Concat("compatibility_level = 3.6\n", main_cf), kMaster,
                                         HostFacts{"mx", {}}, diagnostics, "/p")
                            .status();
  EXPECT_TRUE(status.ok()) << status;
  std::vector<std::string> texts;
  for (const Diagnostic& warning : diagnostics.warnings()) texts.push_back(warning.text);
  return texts;
}

TEST(Protections, StopTheStartWithWhatWhereAndWhatToDo) {
  EXPECT_EQ(ErrorOf("smtpd_tls_security_level = encrypt\n"),
            "parameter smtpd_tls_security_level = encrypt asks that clients must use TLS, and "
            "STARTTLS is not there yet; set it to none or may, or let a TLS proxy in front of this "
            "service take the connections (/p/main.cf, line 2)");
}

TEST(Protections, OfAnOverrideStopWithItsServiceAndLine) {
  std::string error = ErrorOf("",
                              "smtp inet n - n - - smtpd\n"
                              "submissions inet n - n - - smtpd\n -o smtpd_tls_wrappermode=yes\n");
  EXPECT_TRUE(error.starts_with("parameter smtpd_tls_wrappermode = yes asks that ")) << error;
  EXPECT_TRUE(error.ends_with(" (/p/master.cf, line 2, -o of service submissions)")) << error;
}

// One value for each kind of parameter that asks for protection.
TEST(Protections, OfEveryParameterInTheTableStop) {
  size_t rows = 0;
  for (const Parameter& row : AllParameters()) {
    if (row.status != ParameterStatus::kProtective) continue;
    ++rows;
    std::string value = row.type == ParameterType::kBool ? "yes" : "encrypt";
    EXPECT_TRUE(ErrorOf(Concat(row.name, " = ", value, "\n"))
                    .starts_with(Concat("parameter ", row.name, " = ", value, " asks that ")))
        << row.name;
    EXPECT_FALSE(row.doc.empty() || row.hint.empty()) << row.name;
  }
  EXPECT_EQ(rows, 48u);
}

TEST(Protections, LevelsOfTlsThatMustNotFallBackStop) {
  for (std::string_view level :
       {"encrypt", "dane", "dane-only", "verify", "secure", "fingerprint", "half-dane"}) {
    EXPECT_NE(ErrorOf(Concat("smtp_tls_security_level = ", level, "\n")), "") << level;
  }
}

TEST(Protections, NoneAndDefaultsAreSilentAndOpportunisticTlsWarns) {
  EXPECT_TRUE(WarningsOf("smtpd_milters =\nsmtpd_enforce_tls = NO\ncontent_filter = $none\n"
                         "none =\nmime_header_checks = $header_checks\n")
                  .empty());
  EXPECT_EQ(WarningsOf("smtp_tls_security_level = May\n"),
            std::vector<std::string>{"main.cf line 2: parameter \"smtp_tls_security_level\" is not "
                                     "supported yet; its value is ignored"});
}

TEST(Tables, OfAnUnknownTypeAreRefused) {
  EXPECT_EQ(ErrorOf("virtual_uid_maps = static:5000, foo:x\n"),
            "parameter virtual_uid_maps: unsupported dictionary type: foo (in \"foo:x\"); "
            "supported are hash, btree, lmdb, texthash, inline, static, cidr, regexp, pcre and "
            "unix (/p/main.cf, line 2)");
  EXPECT_NE(
      ErrorOf("mynetworks = 127.0.0.1 !proxy:mysql:/x\n").find("type: mysql (in \"proxy:mysql"),
      std::string::npos);
  EXPECT_NE(ErrorOf("", "smtp inet n - n - - smtpd -o mynetworks=2001:db8::/32\n")
                .find("an IPv6 address stands in [ ] (/p/master.cf, line 1, -o of service smtp)"),
            std::string::npos);
  EXPECT_NE(ErrorOf("transport_maps = hash:\n").find("need \"type:name\" form"), std::string::npos);
  EXPECT_NE(ErrorOf("default_database_type = dbm\n").find("specify one of: hash"),
            std::string::npos);
}

TEST(Tables, OfAnUnknownTypeAreFoundBehindADefault) {
  std::string error = ErrorOf("virtual_mailbox_maps = hash:/etc/boxes, nis:mail.boxes\n");
  EXPECT_TRUE(
      error.starts_with("parameter virtual_mailbox_domains: unsupported dictionary type: nis"))
      << error;
  EXPECT_TRUE(error.ends_with("(/p/main.cf, line 2, parameter virtual_mailbox_maps)")) << error;
}

TEST(Tables, OfEveryKnownTypePass) {
  EXPECT_EQ(
      ErrorOf("transport_maps = /a, hash:/a, btree:/a, lmdb:/a, texthash:/a\n"
              "  inline:{ a = b, {c = d e} }, static:{x y}, cidr:/a, proxy:unix:passwd.byname\n"
              "  regexp:/a, pcre:{{/^a, b$$/ c}}\n"
              "mynetworks = [::1]/128, 127.0.0.0/8, !10.0.0.1, /file, cidr:/a\n"
              "mydestination = example.com, hash:/a\n"),
      "");
}

TEST(TableTypes, AreThoseThatTablesOpen) {
  absl::Status status = tables::OpenTable("foo:x").status();
  EXPECT_NE(std::string(status.message()).find("supported are " + TableTypeNames()),
            std::string::npos)
      << status;
}

TEST(LogFile, OutsideItsPrefixesIsRefused) {
  EXPECT_EQ(ErrorOf("maillog_file = /variable/mail.log\n"),
            "parameter maillog_file: /variable/mail.log is in no folder of maillog_file_prefixes "
            "(/var, /dev/stdout); add its folder there, or log elsewhere (/p/main.cf, line 2)");
  EXPECT_EQ(ErrorOf("maillog_file = /var/log/mail.log\n"), "");
  EXPECT_EQ(ErrorOf("maillog_file = /dev/stdout\n"), "");
  EXPECT_EQ(ErrorOf("maillog_file = /x/mail.log\nmaillog_file_prefixes = /\n"), "");
}

TEST(Hints, SayWhatToUseInstead) {
  EXPECT_EQ(
      WarningsOf("default_extra_recipient_limit = 7\n"),
      std::vector<std::string>{
          "main.cf line 2: parameter \"default_extra_recipient_limit\" is not supported yet; its "
          "value is ignored; mail that goes before other mail has its first 1,000 recipients in "
          "memory already, whatever waits"});
  std::vector<std::string> partly = WarningsOf("default_process_limit = 7\n");
  ASSERT_EQ(partly.size(), 1u);
  EXPECT_TRUE(
      partly[0].starts_with("main.cf line 2: parameter \"default_process_limit\" is honoured in "
                            "part; it bounds deliveries"))
      << partly[0];
}

TEST(Overrides, OfWhatAnotherPartReadsAreNamed) {
  Diagnostics diagnostics;
  absl::Status status =
      Config::FromText("compatibility_level = 3.6\nrelay_domains = a\n",
                       "10025 inet n - n - - smtpd -o local_recipient_maps= -o relay_domains=a\n"
                       "  -o mynetworks=127.0.0.1 -o myhostname=a.b\n"
                       "relay unix - - n - - smtp -o smtp_helo_name=c.d -o smtpd_timeout=3\n",
                       HostFacts{"mx", {}}, diagnostics, "/p")
          .status();
  ASSERT_TRUE(status.ok()) << status;
  std::vector<std::string> texts;
  for (const Diagnostic& warning : diagnostics.warnings()) texts.push_back(warning.text);
  EXPECT_EQ(
      texts,
      (std::vector<std::string>{
          "master.cf line 1 (10025/inet): parameter \"local_recipient_maps\" of this service "
          "is read nowhere; it is ignored, set it in main.cf",
          "master.cf line 3 (relay/unix): parameter \"smtpd_timeout\" of this service is read "
          "nowhere; it is ignored, set it in main.cf"}));
}

}  // namespace
}  // namespace postfleet::config
