// What `postfix check` says of tables.
#include "commands/table_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libs/base/concat.h"
#include "libs/config/interfaces.h"
#include "libs/tables/postmap.h"

namespace postfleet::commands {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class TableCheckTest : public testing::Test {
 protected:
  TableCheckTest() : folder_(testing::TempDir() + "tables_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
  }
  ~TableCheckTest() override { std::filesystem::remove_all(folder_); }

  std::string WriteFile(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  // Line 1 is alias_maps, line 2 the first of `main_cf`.
  std::vector<std::string> Faults(const std::string& main_cf, const std::string& master_cf = "") {
    config::Diagnostics diagnostics;
    const auto config = config::Config::FromText("alias_maps =\n" + main_cf, master_cf,
                                                 {"mail.example.com", {}}, diagnostics);
    EXPECT_TRUE(config.ok()) << config.status();
    std::vector<std::string> texts;
    for (const TableFault& fault : FindTableFaults(*config)) texts.push_back(fault.text);
    return texts;
  }

  std::string folder_;
};

TEST_F(TableCheckTest, TablesThatOpenAreNoFault) {
  const std::string map = WriteFile("map", "a@example.com one\n");
  const std::string networks = WriteFile("networks", "127.0.0.0/8\nhost.example.com\n");
  config::Diagnostics diagnostics;
  for (const char* type : {"hash:", "lmdb:"}) {
    ASSERT_TRUE(tables::BuildTable(type + map, diagnostics).ok());
  }
  EXPECT_THAT(Faults(Concat("transport_maps = hash:", map, " proxy:lmdb:", map, " texthash:", map,
                            "\nvirtual_mailbox_maps = inline:{ a=b } static:x unix:passwd.byname\n",
                            "mynetworks = ", networks, " !10.0.0.1\n")),
              IsEmpty());
}

TEST_F(TableCheckTest, MissingTableIsNamedWithParameterPlaceAndCommand) {
  const std::string map = WriteFile("virtual", "a@example.com one\n");
  EXPECT_THAT(Faults(Concat("myorigin = example.com\nvirtual_mailbox_maps = hash:", map, "\n")),
              ElementsAre(Concat(
                  "parameter virtual_mailbox_maps (/etc/postfix/main.cf, line 3): hash:", map,
                  ": open ", map, ".db: No such file or directory; run `postmap hash:", map, "`")));
}

TEST_F(TableCheckTest, TableWithoutSourceHasToBeWrittenFirst) {
  const std::string map = folder_ + "/none";
  EXPECT_THAT(
      Faults(Concat("relay_recipient_maps = proxy:lmdb:", map, "\ntransport_maps = texthash:", map,
                    "\n")),
      ElementsAre(Concat("parameter relay_recipient_maps (/etc/postfix/main.cf, line 2): lmdb:",
                         map, ": open ", map, ".lmdb: No such file or directory; create ", map,
                         " and run `postmap lmdb:", map, "`"),
                  Concat("parameter transport_maps (/etc/postfix/main.cf, line 3): texthash:", map,
                         ": open ", map, ": No such file or directory; create ", map)));
}

TEST_F(TableCheckTest, TableThatIsNoneHasToBeBuiltAnew) {
  const std::string map = WriteFile("map", "a b\n");
  WriteFile("map.db", "this is no Berkeley DB file");
  const std::vector<std::string> faults = Faults(Concat("transport_maps = hash:", map, "\n"));
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_TRUE(faults[0].ends_with(Concat("; build it anew: run `postmap hash:", map, "`")))
      << faults[0];
}

TEST_F(TableCheckTest, PathWithoutTypeHasTheDefaultType) {
  const std::string map = WriteFile("map", "a b\n");
  EXPECT_THAT(Faults(Concat("default_database_type = lmdb\ntransport_maps = ", map, "\n")),
              ElementsAre(testing::HasSubstr(Concat("run `postmap lmdb:", map, "`"))));
}

TEST_F(TableCheckTest, OverrideIsNamedWithItsService) {
  const std::string map = folder_ + "/boxes";
  EXPECT_THAT(
      Faults("", Concat("smtp unix - - n - - smtp\nvirtual unix - - n - - virtual\n",
                        "  -o virtual_uid_maps=texthash:", map, "\n")),
      ElementsAre(Concat("parameter virtual_uid_maps (/etc/postfix/master.cf, line 2, -o of "
                         "virtual/unix): texthash:",
                         map, ": open ", map, ": No such file or directory; create ", map)));
}

TEST_F(TableCheckTest, TableOfAnotherParameterIsNamedByThatOne) {
  const std::string map = folder_ + "/virtual";
  // virtual_mailbox_domains is $virtual_mailbox_maps: one table, one line.
  EXPECT_THAT(Faults(Concat("names = texthash:", map, "\nvirtual_mailbox_maps = $names\n")),
              ElementsAre(testing::StartsWith(
                  "parameter virtual_mailbox_maps by names (/etc/postfix/main.cf, line 2): ")));
}

TEST_F(TableCheckTest, FileOfAMatchListIsRead) {
  const std::string bad = WriteFile("bad", "127.0.0.1/8\n");
  const std::vector<std::string> faults =
      Faults(Concat("mynetworks = !", folder_, "/missing ", bad, "\n"));
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_EQ(faults[0],
            Concat("parameter mynetworks (/etc/postfix/main.cf, line 2): open ", folder_,
                   "/missing: No such file or directory; create or correct ", folder_, "/missing"));
  EXPECT_THAT(faults[1], testing::HasSubstr("127.0.0.1/8"));
}

TEST_F(TableCheckTest, TableThatOnlyADefaultNamesIsMarked) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText("local_recipient_maps = $alias_maps\n", "",
                                               {"mail.example.com", {}}, diagnostics);
  ASSERT_TRUE(config.ok());
  if (std::filesystem::exists("/etc/aliases.db")) GTEST_SKIP() << "this machine has aliases";
  const std::vector<TableFault> faults = FindTableFaults(*config);
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_THAT(faults[0].text, testing::HasSubstr("hash:/etc/aliases"));
  EXPECT_THAT(faults[0].text, testing::HasSubstr("set alias_maps to nothing"));
}

}  // namespace
}  // namespace postfleet::commands
