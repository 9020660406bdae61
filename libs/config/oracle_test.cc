// Our reading of main.cf beside Postfix's own: the same files, `postconf -x` against Config. Needs
// Debian's postfix.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "libs/config/config.h"
#include "libs/config/parameters.h"

namespace postfleet::config {
namespace {

std::string Squeezed(std::string_view text) {
  std::string out;
  for (char c : text) {
    bool blank = c == ' ' || c == '\n' || c == '\t';
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out.push_back(blank ? ' ' : c);
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string OutputOf(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  while (size_t size = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, size);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return output;
}

class OracleTest : public testing::Test {
 protected:
  OracleTest() : folder_(testing::TempDir() + "oracle_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
  }

  // Postfix's values of some names beside ours. One call for all: postconf may take seconds.
  void ExpectSame(const std::string& main_cf, const std::vector<std::string>& names) {
    std::string text = std::string(kHead) + main_cf;
    std::ofstream(folder_ + "/main.cf") << text;
    std::ofstream(folder_ + "/master.cf") << kMaster;
    std::string command = "timeout 30 /usr/sbin/postconf -c " + folder_ + " -x";
    for (const std::string& name : names) command += " " + name;
    std::istringstream theirs(OutputOf(command + " 2>/dev/null"));
    Diagnostics diagnostics;
    absl::StatusOr<Config> config =
        Config::FromText(text, kMaster, HostFacts{"mx", {}}, diagnostics, folder_);
    ASSERT_TRUE(config.ok()) << config.status() << "\n" << main_cf;
    std::string line;
    size_t compared = 0;
    for (; std::getline(theirs, line); ++compared) {
      std::string name = line.substr(0, line.find(" ="));
      EXPECT_EQ(Squeezed(name + " = " + *config->FindExpanded(name)), Squeezed(line)) << main_cf;
    }
    EXPECT_EQ(compared, names.size());
  }

  static constexpr char kHead[] =
      "compatibility_level = 3.6\nmyhostname = mx.example.com\nmynetworks = 127.0.0.1\n";
  static constexpr char kMaster[] = "smtp inet n - n - - smtpd\n";
  std::string folder_;
};

TEST_F(OracleTest, ExpressionsMeanTheSame) {
  // Parameters that take any text.
  const std::vector<std::pair<std::string, std::string>> settings = {
      {"mydestination", "a $myhostname ${mydomain} $(myorigin) $$x"},
      {"relay_domains", "${nosuch} x ${nosuch:y} ${nosuch?z} $nosuch-"},
      {"transport_maps", "x${foo?{ a }}|x${bar: u}|"},
      {"virtual_mailbox_maps", "${foo ?{a} : b }|${foo ? a}|${foo? {a} : {b}}|"},
      {"virtual_mailbox_domains",
       "x${{$foo} == {FOO} ?  yes}|${{$foo} == {FOO}:no}|${{$foo} == {FO}:{ no}}|"},
      {"relay_recipient_maps", "${{ $foo } == {FOO} ? { a b } : {c}}x"},
      {"local_recipient_maps", "${{$foo} == {FOO}}|${{$foo} == {x}}|"},
      {"smtpd_banner",
       "${{10} < {9} ? {a} : {b}}${{10} < {9x} ? {a} : {b}}${{007} == {7} ? {a}:{b}}"},
      {"defer_transports", "${{3.10} >=level {3.9} ? {a} : {b}} ${{a}!={b}?{q}} ${{a}=={b}?{q}}."},
      {"notify_classes", "${bar?{$bar}:{${bar:{deep ${foo}}}}}"},
      {"virtual_uid_maps", "${{} == {} ? {a}:{b}} ${{b} > {a} ? {a}:{b}} ${{b} <= {a} ? {a}:{b}}"},
      {"virtual_gid_maps", "${indirect?{set}:{unset}}"},
  };
  std::string main_cf = "foo = FOO\nbar =\nindirect = $bar\n";
  std::vector<std::string> names;
  for (const auto& [name, value] : settings) {
    main_cf += name + " = " + value + "\n";
    names.push_back(name);
  }
  ExpectSame(main_cf, names);
}

TEST_F(OracleTest, LinesAreReadTheSame) {
  for (const char* text : {
           "mydestination = a\n b\n# comment\n   # more\n\tc\n\nd = e\n",
           "mydestination=a\nmydestination = b # c\n",
           "  mydestination = leading\n",
           "mydestination = x\\\n  y",
           "mydestination =\n  a,\n  b\n",
           "mydestination = a=b = c\r\n",
       }) {
    ExpectSame(text, {"mydestination"});
  }
}

// What this version reads has Postfix's defaults, but for what 3.9 changed and what is our own.
TEST_F(OracleTest, DefaultsAreTheSame) {
  ExpectSame("",
             {"mydomain", "myorigin", "mydestination", "relay_domains", "smtpd_relay_restrictions",
              "append_dot_mydomain", "mynetworks_style", "smtpd_timeout", "smtpd_hard_error_limit",
              "local_transport", "virtual_mailbox_domains", "smtpd_client_event_limit_exceptions",
              "smtp_helo_name", "syslog_name", "bounce_queue_lifetime", "smtputf8_enable"});
}

// Where the table and the `postconf -d` of Postfix 3.7 differ, and why.
struct Difference {
  std::string_view name;
  std::string_view reason;
};
constexpr Difference kDifferences[] = {
    {"alias_maps", "NIS maps are named as unsupported"},
    {"config_directory", "of this machine and moment"},
    {"enable_long_queue_ids", "queue ids are always of the long form"},
    {"mail_release_date", "the product's own"},
    {"mail_version", "the product's own"},
    {"milter_default_action", "3.9.9: shutdown"},
    {"mydomain", "of this machine and moment"},
    {"myhostname", "of this machine and moment"},
    {"mynetworks", "of this machine and moment"},
    {"process_id", "of this machine and moment"},
    {"process_name", "of this machine and moment"},
    {"smtp_tls_dane_insecure_mx_policy", "3.9.2: dane"},
    {"smtpd_forbid_bare_newline", "3.9.0: normalize"},
    {"smtpd_forbid_unauth_pipelining", "3.9.0: yes"},
    {"tls_export_cipherlist", "3.8: ignored"},
    {"tls_high_cipherlist", "3.8: without obsolete ciphers"},
    {"tls_low_cipherlist", "3.8: ignored"},
    {"tls_medium_cipherlist", "3.8: without obsolete ciphers"},
    {"tls_null_cipherlist", "3.8: without obsolete ciphers"},
};
constexpr Difference kNewer[] = {
    {"allow_srv_lookup_fallback", "3.8"},
    {"force_mime_input_conversion", "3.9"},
    {"ignore_srv_lookup_error", "3.8"},
    {"lmtp_sasl_password_result_delimiter", "3.9"},
    {"lmtp_tls_enable_rpk", "3.9"},
    {"maillog_file_permissions", "3.9"},
    {"smtp_sasl_password_result_delimiter", "3.9"},
    {"smtp_tls_enable_rpk", "3.9"},
    {"smtpd_client_ipv4_prefix_length", "3.8"},
    {"smtpd_client_ipv6_prefix_length", "3.8"},
    {"smtpd_tls_enable_rpk", "3.9"},
    {"tls_ffdhe_auto_groups", "3.8"},
    {"tlsproxy_tls_enable_rpk", "3.9"},
    {"use_srv_lookup", "3.8"},
};

template <size_t size>
std::set<std::string, std::less<>> NamesOf(const Difference (&rows)[size]) {
  std::set<std::string, std::less<>> names;
  for (const Difference& row : rows) names.emplace(row.name);
  return names;
}

TEST_F(OracleTest, TheTableHasPostfixNamesAndDefaults) {
  std::ofstream(folder_ + "/main.cf") << "\n";
  std::ofstream(folder_ + "/master.cf") << "\n";
  std::istringstream theirs(
      OutputOf("timeout 60 /usr/sbin/postconf -c " + folder_ + " -d -C builtin 2>/dev/null"));
  std::set<std::string, std::less<>> differ, newer;
  for (const Parameter& row : AllParameters()) newer.emplace(row.name);
  for (std::string line; std::getline(theirs, line);) {
    const std::string name = line.substr(0, line.find(" ="));
    const Parameter* row = FindParameter(name);
    ASSERT_NE(row, nullptr) << line;
    newer.erase(name);
    if (Squeezed(name + " = " + std::string(row->default_value)) != Squeezed(line)) {
      differ.insert(name);
    }
  }
  std::erase_if(newer, [](const std::string& name) { return name.starts_with("postfleet_"); });
  EXPECT_EQ(differ, NamesOf(kDifferences));
  EXPECT_EQ(newer, NamesOf(kNewer));
}

}  // namespace
}  // namespace postfleet::config
