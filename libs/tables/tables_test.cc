#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "libs/tables/alias_source.h"
#include "libs/tables/maps.h"
#include "libs/tables/match_list.h"
#include "libs/tables/postmap.h"
#include "libs/tables/table.h"
#include "libs/tables/text_source.h"

namespace postfleet::tables {
namespace {

using config::IpAddress;

class TablesTest : public testing::Test {
 protected:
  TablesTest() : folder_(testing::TempDir() + "tables_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    options_.clock = &clock_;
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }

  void Build(const std::string& type_and_name) {
    config::Diagnostics diagnostics;
    absl::Status status = BuildTable(type_and_name, diagnostics);
    ASSERT_TRUE(status.ok()) << status;
  }

  std::unique_ptr<Table> Open(const std::string& type_and_name) {
    absl::StatusOr<std::unique_ptr<Table>> table = OpenTable(type_and_name, options_);
    EXPECT_TRUE(table.ok()) << table.status();
    return table.ok() ? *std::move(table) : nullptr;
  }

  // The value, "-" if it is not there, "!" if that is not known.
  static std::string Get(Table& table, std::string_view key) {
    absl::StatusOr<std::optional<std::string>> found = table.Lookup(key);
    if (!found.ok()) return "!";
    return found->value_or("-");
  }

  std::string OpenError(const std::string& type_and_name) {
    return std::string(OpenTable(type_and_name, options_).status().message());
  }

  FakeClock clock_;
  OpenOptions options_;
  std::string folder_;
};

TEST_F(TablesTest, FileTablesFindKeysInAnyCase) {
  std::string path = Write("t", "Key One\n\"a b\"  two words \nk\n  continued\n");
  for (std::string type : {"hash:", "btree:", "lmdb:", "texthash:", "proxy:texthash:"}) {
    if (type.find("text") == std::string::npos) Build(type + path);
    std::unique_ptr<Table> table = Open(type + path);
    EXPECT_EQ(Get(*table, "KEY"), "One") << type;
    if (type.find("text") == std::string::npos) {
      EXPECT_EQ(Get(*table, "a b"), "two words") << type;
    }
    EXPECT_EQ(Get(*table, "k"), "continued") << type;
    EXPECT_EQ(Get(*table, "ke"), "-") << type;
    EXPECT_EQ(Get(*table, ""), "-") << type;
    EXPECT_EQ(Get(*table, std::string(600, 'x')), "-") << type;
  }
}

TEST_F(TablesTest, MissingFileIsAFailureUntilItIsThere) {
  for (std::string type : {"hash:", "lmdb:", "texthash:", "cidr:"}) {
    std::unique_ptr<Table> table = Open(type + folder_ + "/absent");
    absl::StatusOr<std::optional<std::string>> found = table->Lookup("192.0.2.1");
    ASSERT_FALSE(found.ok()) << type;
    EXPECT_TRUE(absl::IsUnavailable(found.status()));
    EXPECT_NE(found.status().message().find("No such file"), std::string::npos) << found.status();
    EXPECT_TRUE(found.status().message().find(type + folder_) == 0) << found.status();
    Write("absent", "192.0.2.1 yes\n");
    if (type == "hash:" || type == "lmdb:") Build(type + folder_ + "/absent");
    EXPECT_EQ(Get(*table, "192.0.2.1"), "!") << "looked before the second was over: " << type;
    clock_.AdvanceMillis(1000);
    EXPECT_EQ(Get(*table, "192.0.2.1"), "yes") << type;
    unlink((folder_ + "/absent").c_str());
  }
}

TEST_F(TablesTest, ChangedFileIsNoticedWithinASecond) {
  for (std::string type : {"hash:", "lmdb:", "texthash:"}) {
    std::string path = Write("t", "k old\n");
    if (type != "texthash:") Build(type + path);
    std::unique_ptr<Table> table = Open(type + path);
    EXPECT_EQ(Get(*table, "k"), "old") << type;
    Write("t", "k newer\n");
    if (type != "texthash:") Build(type + path);
    clock_.AdvanceMillis(1000);
    EXPECT_EQ(Get(*table, "k"), "newer") << type;
  }
}

TEST_F(TablesTest, DamagedHashFileIsAFailure) {
  Write("t.db", "this is no database");
  EXPECT_EQ(Get(*Open("hash:" + folder_ + "/t"), "k"), "!");
}

TEST_F(TablesTest, InlineAndStatic) {
  std::unique_ptr<Table> table = Open("inline:{ Key=v, { b = two words } }");
  EXPECT_EQ(Get(*table, "key"), "v");
  EXPECT_EQ(Get(*table, "B"), "two words");
  EXPECT_EQ(Get(*table, "c"), "-");
  EXPECT_EQ(Get(*Open("static:all"), "anything"), "all");
  EXPECT_EQ(Get(*Open("static:{a b}"), "anything"), "a b");
}

TEST_F(TablesTest, CidrTakesTheFirstPatternThatHolds) {
  std::string path = Write("c",
                           "192.0.2.1 one\nif 192.0.2.0/24\n!192.0.2.128/25 low\n192.0.2.0/24 "
                           "high\nendif\n2001:db8::/32 six\n");
  std::unique_ptr<Table> table = Open("cidr:" + path);
  EXPECT_EQ(Get(*table, "192.0.2.1"), "one");
  EXPECT_EQ(Get(*table, "192.0.2.2"), "low");
  EXPECT_EQ(Get(*table, "192.0.2.200"), "high");
  EXPECT_EQ(Get(*table, "198.51.100.1"), "-");
  EXPECT_EQ(Get(*table, "2001:db8::1"), "six");
  EXPECT_EQ(Get(*table, "host.example"), "-");
}

TEST_F(TablesTest, CidrWithABadLineFailsInsteadOfLosingIt) {
  EXPECT_EQ(Get(*Open("cidr:" + Write("c", "10.0.0.1/8 reject\n")), "10.0.0.1"), "!");
}

TEST_F(TablesTest, PatternsTakeTheFirstThatMatchesAndFillInItsGroups) {
  for (std::string type : {"regexp:", "pcre:"}) {
    std::unique_ptr<Table> table =
        Open(type + Write("p",
                          "/^(.*)@(old)\\.example$/ ${1}@$2$(2).new $$5\n"
                          "if !/^postmaster@/\n"
                          "/^exact$/i case\n"
                          "|^a/b\\||  bar\n"
                          "endif\n"
                          "!/@/  no domain\n"));
    EXPECT_EQ(Get(*table, "A.b@OLD.example"), "A.b@OLDOLD.new $5") << type;
    EXPECT_EQ(Get(*table, "exact"), "case") << type;
    EXPECT_EQ(Get(*table, "EXACT"), "no domain") << type;
    EXPECT_EQ(Get(*table, "a/b|"), "bar") << type;
    EXPECT_EQ(Get(*table, "postmaster@x"), "-") << type;
    EXPECT_FALSE(table->has_fixed_keys());
  }
}

TEST_F(TablesTest, PatternsMayStandInPlace) {
  std::unique_ptr<Table> table = Open("regexp:{{/^[^A-Z]/i Bogus}, {/^x y/ two words}}");
  EXPECT_EQ(Get(*table, "x"), "Bogus");
  EXPECT_EQ(Get(*table, "X Y"), "two words");
  EXPECT_EQ(Get(*Open("pcre:{{/^\\d+$/ digits}}"), "42"), "digits");
  EXPECT_EQ(Get(*Open("cidr:{{192.0.2.0/24 here}, {0.0.0.0/0 there}}"), "192.0.2.9"), "here");
  EXPECT_FALSE(OpenTable("pcre:{{/(/ x}}").ok());
  EXPECT_FALSE(OpenTable("regexp:{{/a/ }}").ok());
}

TEST_F(TablesTest, PatternsThatCannotBeReadFailInsteadOfBeingLost) {
  for (std::string line : {"/a(/ x", "/a x", "/a/", "a b", "/a/q x", "/a/ $1", "!/(a)/ $1",
                           "/a/ $x", "if /a/", "endif", "if /a/ x\nendif"}) {
    EXPECT_EQ(Get(*Open("pcre:" + Write("p", line + "\n")), "a"), "!") << line;
  }
}

// (a+)+b takes time that doubles with every letter.
TEST_F(TablesTest, APatternThatNeverEndsIsAFailure) {
  EXPECT_EQ(Get(*Open("pcre:{{/^(a+)+$/ x}}"), std::string(60, 'a') + "b"), "!");
}

TEST_F(TablesTest, AKeyThatIsNotUtf8MatchesAsItIs) {
  EXPECT_EQ(Get(*Open("pcre:{{/^a.*z$/ x}}"), "a\xff\xfez"), "-");
  EXPECT_EQ(Get(*Open("pcre:{{/^a/ x}}"), "a\xff\xfez"), "x");
  EXPECT_EQ(Get(*Open("pcre:{{/^.$/ one}}"), "\xc3\xa4"), "one");
}

TEST_F(TablesTest, AccountsOfTheSystem) {
  std::unique_ptr<Table> table = Open("proxy:unix:passwd.byname");
  EXPECT_TRUE(Get(*table, "Root").starts_with("root:")) << Get(*table, "Root");
  EXPECT_EQ(Get(*table, "no-such-user-here"), "-");
}

TEST_F(TablesTest, UnsupportedTypeIsRefusedAtOpen) {
  EXPECT_TRUE(OpenError("ldap:/x").starts_with("unsupported dictionary type: ldap"));
  EXPECT_FALSE(OpenError("inline:{a}").empty());
  EXPECT_FALSE(OpenError("hash:").empty());
  EXPECT_FALSE(OpenError("unix:shadow.byname").empty());
}

TEST_F(TablesTest, PlainPathHasTheDefaultType) {
  options_.default_type = "texthash";
  EXPECT_EQ(Get(*Open(Write("t", "k v\n")), "k"), "v");
}

TEST(TextSource, WarnsOfDuplicatesAndMissingValues) {
  config::Diagnostics diagnostics;
  std::vector<TextEntry> entries =
      ParseTextSource("a 1\nA 2\nb\nc: d\n", "hash:/t", true, diagnostics);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].value, "1");
  ASSERT_EQ(diagnostics.warnings().size(), 3u);
  EXPECT_TRUE(diagnostics.warnings()[0].text.starts_with("hash:/t, line 2: duplicate entry"));
}

TEST_F(TablesTest, FailedBuildLeavesTheOldTable) {
  std::string path = Write("t", "k v\n");
  Build("hash:" + path);
  unlink(path.c_str());
  config::Diagnostics diagnostics;
  EXPECT_FALSE(BuildTable("hash:" + path, diagnostics).ok());
  EXPECT_EQ(Get(*Open("hash:" + path), "k"), "v");
}

// Maps

std::string Find(Maps& maps, std::string_view address, const AddressForms& forms) {
  absl::StatusOr<std::optional<std::string>> found = maps.FindAddress(address, forms);
  return found.ok() ? found->value_or("-") : "!";
}

TEST_F(TablesTest, AddressFormsInTheirOrder) {
  AddressForms forms{"+", true, true};
  Maps maps = *Maps::Open({"inline:{u+x@d=full, u@d=plain, u+x=ext, u=user, @d=domain}"}, options_);
  EXPECT_EQ(Find(maps, "u+x@d", forms), "full");
  EXPECT_EQ(Find(maps, "u+y@d", forms), "plain");
  EXPECT_EQ(Find(maps, "u+x@e", forms), "ext");
  EXPECT_EQ(Find(maps, "u+z@e", forms), "user");
  EXPECT_EQ(Find(maps, "other@d", forms), "domain");
  EXPECT_EQ(Find(maps, "other@d", {"+", true, false}), "-");
  EXPECT_EQ(Find(maps, "u@e", {"+", false, true}), "-");
}

TEST_F(TablesTest, FailureOfAnEarlierTableHidesLaterOnes) {
  Maps maps = *Maps::Open({"hash:" + folder_ + "/absent", "inline:{k=v}"}, options_);
  EXPECT_EQ(Find(maps, "k", {}), "!");
}

TEST(Extension, IsCutAtTheFirstDelimiterButNotAtTheStart) {
  EXPECT_EQ(WithoutExtension("user+a+b", "+"), "user");
  EXPECT_EQ(WithoutExtension("user-a", "+-"), "user");
  EXPECT_EQ(WithoutExtension("+a", "+"), std::nullopt);
  EXPECT_EQ(WithoutExtension("owner-list", "-"), std::nullopt);
  EXPECT_EQ(WithoutExtension("mailer-daemon", "-"), std::nullopt);
  EXPECT_EQ(WithoutExtension("user", ""), std::nullopt);
}

// Match lists

class MatchListTest : public TablesTest {
 protected:
  MatchList List(std::string_view value, MatchKind kind, bool parents = false) {
    absl::StatusOr<MatchList> list = MatchList::Open("p", value, {kind, parents, options_});
    EXPECT_TRUE(list.ok()) << list.status();
    return *std::move(list);
  }
};

TEST_F(MatchListTest, StringsMatchWhole) {
  MatchList list =
      List("a.example, !b.example inline:{c.example=x, .d.example=x}", MatchKind::kString);
  EXPECT_TRUE(*list.Matches("A.example"));
  EXPECT_FALSE(*list.Matches("x.a.example"));
  EXPECT_TRUE(*list.Matches("c.example"));
  EXPECT_FALSE(*list.Matches("x.d.example"));
}

TEST_F(MatchListTest, DomainsFollowTheParentRule) {
  MatchList plain = List("a.example .b.example", MatchKind::kDomain);
  EXPECT_TRUE(*plain.Matches("a.example"));
  EXPECT_FALSE(*plain.Matches("x.a.example"));
  EXPECT_TRUE(*plain.Matches("x.b.example"));
  EXPECT_FALSE(*plain.Matches("b.example"));
  MatchList parents = List("a.example inline:{c.example=x}", MatchKind::kDomain, true);
  EXPECT_TRUE(*parents.Matches("y.x.a.example"));
  EXPECT_FALSE(*parents.Matches("xa.example"));
  EXPECT_TRUE(*parents.Matches("x.c.example"));
}

TEST_F(MatchListTest, FirstMatchDecides) {
  MatchList list = List("!10.1.0.0/16 10.0.0.0/8 [::1]/128", MatchKind::kHost);
  EXPECT_FALSE(*list.MatchesHost("unknown", *IpAddress::Parse("10.1.2.3")));
  EXPECT_TRUE(*list.MatchesHost("unknown", *IpAddress::Parse("10.2.2.3")));
  EXPECT_TRUE(*list.MatchesHost("unknown", *IpAddress::Parse("::1")));
  EXPECT_FALSE(*list.MatchesHost("unknown", *IpAddress::Parse("::a00:1")));
}

TEST_F(MatchListTest, DebiansMynetworksIsRead) {
  MatchList list = List("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", MatchKind::kHost);
  EXPECT_TRUE(*list.MatchesHost("localhost", *IpAddress::Parse("127.3.2.1")));
  EXPECT_TRUE(*list.MatchesHost("localhost", *IpAddress::Parse("::ffff:127.0.0.1")));
  EXPECT_FALSE(*list.MatchesHost("unknown", *IpAddress::Parse("128.0.0.1")));
  EXPECT_FALSE(MatchList::Open("p", "[::ffff:0:0]/95", {MatchKind::kHost}).ok());
}

TEST_F(MatchListTest, HostsMatchByNameAddressAndTable) {
  MatchList list =
      List("trusted.example cidr:" + Write("c", "192.0.2.0/24 ok\n"), MatchKind::kHost, true);
  EXPECT_TRUE(*list.MatchesHost("mx.trusted.example", *IpAddress::Parse("10.0.0.1")));
  EXPECT_TRUE(*list.MatchesHost("unknown", *IpAddress::Parse("192.0.2.9")));
  EXPECT_FALSE(*list.MatchesHost("unknown", *IpAddress::Parse("10.0.0.1")));
}

TEST_F(MatchListTest, FilesAreReadInPlaceAndNegated) {
  std::string path = Write("list", "# comment\na.example\n  b.example\n");
  MatchList list = List(path + " c.example", MatchKind::kString);
  EXPECT_TRUE(*list.Matches("b.example"));
  MatchList negated = List("!" + path + " static:all", MatchKind::kString);
  EXPECT_FALSE(*negated.Matches("a.example"));
  EXPECT_TRUE(*negated.Matches("c.example"));
}

TEST_F(MatchListTest, HostBitsAreAnErrorWithTheRightNetwork) {
  absl::Status status = MatchList::Open("mynetworks", "10.0.0.1/8", {MatchKind::kHost}).status();
  EXPECT_EQ(status.message(),
            "parameter mynetworks: non-null host address bits in \"10.0.0.1/8\", perhaps you "
            "should use \"10.0.0.0/8\" instead");
}

TEST_F(MatchListTest, UnreadableTableIsNotANonMatch) {
  MatchList list = List("hash:" + folder_ + "/absent", MatchKind::kString);
  EXPECT_FALSE(list.Matches("a.example").ok());
}

TEST(PatternTable, SubstitutionIsRefusedWhereTheKeyIsAStrangers) {
  const OpenOptions options = {.allow_substitution = false};
  EXPECT_FALSE(OpenTable("regexp:{{/^(.*)$/ |$1}}", options).ok());
  EXPECT_TRUE(OpenTable("regexp:{{/^(.*)$/ |$$1}}", options).ok());
  EXPECT_TRUE(OpenTable("pcre:{{/^(.*)$/ x}}", options).ok());
}

TEST(AliasSource, IsReadAsPostaliasDoes) {
  config::Diagnostics diagnostics;
  const std::vector<TextEntry> entries = ParseAliasSource(
      "# all\nRoot: Alice\n\"a b\": x@y, \"|cmd arg\"\n cont\nnocolon\n: novalue\nx:\n"
      "a@b: c\ndup: one\ndup: two\nesc: \\alice, (comment) \"Name\" <a@b>\nempty: \"\"\n",
      "/a", "/a.db", diagnostics);
  std::vector<std::pair<std::string, std::string>> found;
  for (const TextEntry& entry : entries) found.emplace_back(entry.key, entry.value);
  EXPECT_EQ(found, (std::vector<std::pair<std::string, std::string>>{
                       {"root", "Alice"},
                       {"a b", "x@y, \"|cmd arg\" cont"},
                       {"dup", "one"},
                       {"esc", "alice, (comment) \"Name\" <a@b>"},
                       {"empty", "\"\""}}));
  std::vector<std::string> warnings;
  for (const config::Diagnostic& warning : diagnostics.warnings()) warnings.push_back(warning.text);
  EXPECT_EQ(warnings, (std::vector<std::string>{
                          "/a, line 5: need name:value pair", "/a, line 6: need name:value pair",
                          "/a, line 7: need name:value pair", "/a, line 8: name must be local",
                          "/a.db: duplicate entry: \"dup\""}));
}

}  // namespace
}  // namespace postfleet::tables
