// Our reading of main.cf beside Postfix's own: the same files, `postconf -x` against Config. Needs
// Debian's postfix.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "libs/config/config.h"

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

}  // namespace
}  // namespace postfleet::config
