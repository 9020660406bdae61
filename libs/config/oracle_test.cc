// Our reading of main.cf beside Postfix's own: the same files, `postconf -x` against Config. Needs
// Debian's postfix.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>

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

  // Postfix's value of a name beside ours.
  void ExpectSame(const std::string& main_cf, const std::string& name) {
    std::string text =
        "compatibility_level = 3.6\nmyhostname = mx.example.com\nmynetworks = 127.0.0.1\n" +
        main_cf;
    std::string master = "smtp inet n - n - - smtpd\n";
    std::ofstream(folder_ + "/main.cf") << text;
    std::ofstream(folder_ + "/master.cf") << master;
    std::string theirs = OutputOf("/usr/sbin/postconf -c " + folder_ + " -xh " + name + " 2>/dev/null");
    Diagnostics diagnostics;
    absl::StatusOr<Config> config =
        Config::FromText(text, master, HostFacts{"mx", {}}, diagnostics, folder_);
    ASSERT_TRUE(config.ok()) << config.status() << "\n" << main_cf;
    EXPECT_EQ(Squeezed(*config->FindExpanded(name)), Squeezed(theirs)) << main_cf;
  }

  std::string folder_;
};

TEST_F(OracleTest, ExpressionsMeanTheSame) {
  for (const char* value : {
           "a $myhostname ${mydomain} $(myorigin) $$x",
           "${nosuch} x ${nosuch:y} ${nosuch?z} $nosuch-",
           "x${foo? a}|x${foo?{ a }}|x${foo:  u}|x${bar: u}|",
           "${foo ?{a} : b }|${foo ? a}|${foo? {a} : {b}}|",
           "x${{$foo} == {FOO} ?  yes}|${{$foo} == {FOO}:no}|${{$foo} == {FO}:{ no}}|",
           "${{ $foo } == {FOO} ? { a b } : {c}}x",
           "${{$foo} == {FOO}}|${{$foo} == {x}}|",
           "${{10} < {9} ? {a} : {b}}${{10} < {9x} ? {a} : {b}}${{007} == {7} ? {a}:{b}}",
           "${{3.10} >=level {3.9} ? {a} : {b}} ${{a}!={b}?{q}} ${{a}=={b}?{q}}.",
           "${bar?{$bar}:{${bar:{deep ${foo}}}}}",
           "${{} == {} ? {a}:{b}} ${{b} > {a} ? {a}:{b}} ${{b} <= {a} ? {a}:{b}}",
           "${indirect?{set}:{unset}}",
       }) {
    ExpectSame(std::string("foo = FOO\nbar =\nindirect = $bar\nmydestination = ") + value + "\n",
               "mydestination");
  }
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
    ExpectSame(text, "mydestination");
  }
}

// What this version reads has Postfix's defaults, but for what 3.9 changed and what is our own.
TEST_F(OracleTest, DefaultsAreTheSame) {
  for (const char* name : {
           "mydomain",
           "myorigin",
           "mydestination",
           "relay_domains",
           "smtpd_relay_restrictions",
           "append_dot_mydomain",
           "mynetworks_style",
           "smtpd_timeout",
           "smtpd_hard_error_limit",
           "local_transport",
           "virtual_mailbox_domains",
           "smtpd_client_event_limit_exceptions",
           "smtp_helo_name",
           "syslog_name",
           "bounce_queue_lifetime",
           "smtputf8_enable",
       }) {
    ExpectSame("", name);
  }
}

}  // namespace
}  // namespace postfleet::config
