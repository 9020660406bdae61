#include "services/queue/user_rights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace postfleet::queue {
namespace {

constexpr uid_t kDaemon = 1;
constexpr uid_t kNobody = 65534;
constexpr uid_t kWithoutName = 4'711'000;

// The right to list, with the right to flush closed.
bool Lists(const std::string& mailq_users, uid_t user) {
  absl::StatusOr<UserRights> rights = UserRights::Open("daemon", mailq_users, "");
  EXPECT_TRUE(rights.ok()) << rights.status();
  return rights->Of(user).lists;
}

TEST(UserRights, UserIdWithoutANameIsUnknown) {
  EXPECT_EQ(*UserName(0), "root");
  EXPECT_EQ(*UserName(kNobody), "nobody");
  EXPECT_EQ(*UserName(kWithoutName), "unknown");
}

TEST(UserRights, EverybodyIsAnyoneWithAndWithoutAName) {
  for (const uid_t user : {kNobody, kWithoutName}) {
    EXPECT_TRUE(Lists("static:anyone", user));
    EXPECT_TRUE(Lists("root, static:anyone", user));
  }
}

TEST(UserRights, NamesAreMatchedInTheirOrderAndTheFirstDecides) {
  EXPECT_TRUE(Lists("root nobody", kNobody));
  EXPECT_TRUE(Lists("NoBody", kNobody));
  EXPECT_FALSE(Lists("nobod", kNobody));
  EXPECT_FALSE(Lists("65534", kNobody));
  EXPECT_FALSE(Lists("!nobody, static:anyone", kNobody));
  EXPECT_TRUE(Lists("!root, static:anyone", kNobody));
  EXPECT_TRUE(Lists("nobody, !nobody", kNobody));
  EXPECT_FALSE(Lists("", kNobody));
}

TEST(UserRights, UsersWithoutANameAreUnknown) {
  EXPECT_TRUE(Lists("unknown", kWithoutName));
  EXPECT_FALSE(Lists("!unknown, static:anyone", kWithoutName));
  EXPECT_TRUE(Lists("!unknown, static:anyone", kNobody));
}

TEST(UserRights, NamesComeFromFilesAndTables) {
  std::string folder = testing::TempDir() + "user_rights_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/list") << "# operators\nnobody\n";
  std::ofstream(folder + "/table") << "nobody yes\n";
  EXPECT_TRUE(Lists(folder + "/list", kNobody));
  EXPECT_FALSE(Lists(folder + "/list", kWithoutName));
  EXPECT_TRUE(Lists("texthash:" + folder + "/table", kNobody));
  EXPECT_FALSE(Lists("texthash:" + folder + "/table", kWithoutName));
}

TEST(UserRights, RootAndMailOwnerAndTheServersUserMayEverything) {
  absl::StatusOr<UserRights> rights = UserRights::Open("daemon", "!root, !daemon", "");
  ASSERT_TRUE(rights.ok());
  for (const uid_t user : {uid_t{0}, kDaemon, geteuid()}) {
    EXPECT_EQ(rights->Of(user), (Rights{.lists = true, .flushes = true})) << user;
  }
  EXPECT_EQ(rights->Of(kNobody), (Rights{}));
}

TEST(UserRights, EachListGivesItsOwnRight) {
  absl::StatusOr<UserRights> rights = UserRights::Open("daemon", "nobody", "static:anyone");
  ASSERT_TRUE(rights.ok());
  EXPECT_EQ(rights->Of(kNobody), (Rights{.lists = true, .flushes = true}));
  EXPECT_EQ(rights->Of(kWithoutName), (Rights{.lists = false, .flushes = true}));
}

TEST(UserRights, TableThatCannotBeReadLetsNobodyIn) {
  EXPECT_FALSE(Lists("texthash:/nonexistent/table, static:anyone", kNobody));
}

TEST(UserRights, ListThatCannotBeReadIsAnErrorThatNamesIt) {
  const auto mailq = UserRights::Open("daemon", "/nonexistent/list", "static:anyone");
  EXPECT_NE(mailq.status().message().find("authorized_mailq_users"), std::string::npos);
  const auto flush = UserRights::Open("daemon", "static:anyone", "/nonexistent/list");
  EXPECT_NE(flush.status().message().find("authorized_flush_users"), std::string::npos);
}

}  // namespace
}  // namespace postfleet::queue
