// Tables made by Postfix read by us, and tables made by us read by Postfix. Needs Debian's postfix
// and postfix-lmdb.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <fstream>

#include "libs/tables/postmap.h"
#include "libs/tables/table.h"

namespace postfleet::tables {
namespace {

struct Output {
  std::string text;
  int status = 0;
};

Output OutputOf(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  Output output;
  char buffer[4096];
  while (size_t size = fread(buffer, 1, sizeof buffer, pipe)) output.text.append(buffer, size);
  output.status = pclose(pipe);
  return output;
}

class OracleTest : public testing::Test {
 protected:
  OracleTest() : folder_(testing::TempDir() + "oracle_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    std::ofstream(folder_ + "/main.cf") << "compatibility_level = 3.6\n";
    std::ofstream(folder_ + "/t") << kSource;
  }

  Output Postmap(const std::string& arguments) {
    return OutputOf("timeout 10 /usr/sbin/postmap -c " + folder_ + " " + arguments +
                    " 2>/dev/null");
  }

  void ExpectSameAnswers(const std::string& table, const std::vector<std::string>& keys) {
    absl::StatusOr<std::unique_ptr<Table>> ours = OpenTable(table);
    ASSERT_TRUE(ours.ok()) << ours.status();
    for (const std::string& key : keys) {
      Output theirs = Postmap("-q '" + key + "' '" + table + "'");
      absl::StatusOr<std::optional<std::string>> value = (*ours)->Lookup(key);
      ASSERT_TRUE(value.ok()) << value.status();
      EXPECT_EQ(*value ? **value + "\n" : "", theirs.text) << table << " " << key;
      EXPECT_EQ(value->has_value(), theirs.status == 0) << table << " " << key;
    }
  }

  static constexpr char kSource[] =
      "# comment\nexample.com smtp:[mx.example.com]:25\nUser@Example.ORG x\n"
      "continued one\n   two\n\"with blank\" v v\n*  error:no\n";
  const std::vector<std::string> kKeys = {"example.com", "user@example.org", "USER@example.org",
                                          "continued",   "with blank",       "*",
                                          "absent",      "EXAMPLE.COM"};
  std::string folder_;
};

TEST_F(OracleTest, PostfixsTablesAreReadAsPostfixReadsThem) {
  for (std::string type : {"hash:", "btree:", "lmdb:", "texthash:"}) {
    if (type != "texthash:") {
      ASSERT_EQ(Postmap(type + folder_ + "/t").status, 0) << type;
    }
    ExpectSameAnswers(type + folder_ + "/t", kKeys);
  }
}

TEST_F(OracleTest, OurTablesAreReadByPostfix) {
  for (std::string type : {"hash:", "btree:", "lmdb:"}) {
    config::Diagnostics diagnostics;
    absl::Status status = BuildTable(type + folder_ + "/t", diagnostics);
    ASSERT_TRUE(status.ok()) << status;
    ExpectSameAnswers(type + folder_ + "/t", kKeys);
  }
}

TEST_F(OracleTest, TypesWithoutFilesAnswerTheSame) {
  ExpectSameAnswers("inline:{ a=b, { Key = two words }, c=d=e }", {"a", "key", "KEY", "c", "x"});
  ExpectSameAnswers("static:{a  b}", {"x"});
  ExpectSameAnswers("unix:passwd.byname", {"root", "nobody", "no-such-user"});
  ExpectSameAnswers("unix:group.byname", {"root", "mail", "no-such-group"});
}

TEST_F(OracleTest, CidrAnswersTheSame) {
  std::ofstream(folder_ + "/c") << "192.0.2.1 one\nif 192.0.2.0/24\n!192.0.2.128/25  low side\n"
                                   "192.0.2.0/24 high\nendif\n2001:db8::/32 six\n0.0.0.0/0 any\n";
  ExpectSameAnswers("cidr:" + folder_ + "/c", {"192.0.2.1", "192.0.2.2", "192.0.2.129", "10.0.0.1",
                                               "2001:db8::5", "2001:db9::5", "host.example"});
}

TEST_F(OracleTest, PatternsAnswerTheSame) {
  const std::string text =
      "/^(.*)@(old)\\.example$/ ${1}@$2$(2).new $$5\n"
      "if /@x/\n!/^postmaster@/  not him\n/^postmaster@/i  him\nendif\n"
      "/^exact$/i case\n|^a/b\\||  bar\n/^(a|ab)(c|bcd)?$/ 1:$1 2:$2\n"
      "/^[[:digit:]]+$/x digits\n/^[^A-Z]+$/i  small\n/^.$/ one\n!/@/ none\n";
  for (std::string type : {"regexp:", "pcre:"}) {
    std::ofstream(folder_ + "/p") << text;
    ExpectSameAnswers(type + folder_ + "/p",
                      {"A.b@OLD.example", "a@x", "Postmaster@x", "postmaster@x", "exact", "EXACT",
                       "a/b|", "a", "ab", "ac", "ABC", "42", "small", "A", "\xc3\xa4", "a@b"});
  }
  ExpectSameAnswers("regexp:{{/^[^A-Z]/i Bogus}}", {"x", "X", "1"});
}

}  // namespace
}  // namespace postfleet::tables
