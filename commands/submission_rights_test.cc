#include "commands/submission_rights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

namespace fs = std::filesystem;

using testing::ElementsAre;
using testing::IsEmpty;

// Users and groups that every machine has.
constexpr std::string_view kMainCf = "mail_owner = nobody\nsetgid_group = mail\n";

class SubmissionRightsTest : public testing::Test {
 protected:
  SubmissionRightsTest() {
    std::string path = testing::TempDir() + "rightsXXXXXX";
    folder_ = mkdtemp(path.data());
    fs::create_directory(folder_ + "/maildrop");
    std::ofstream(folder_ + "/postdrop") << "x";
    chmod((folder_ + "/postdrop").c_str(), 0755);
  }
  ~SubmissionRightsTest() override { fs::remove_all(folder_); }

  config::Config Config(std::string_view main_cf = kMainCf) const {
    config::Diagnostics diagnostics;
    return config::Config::FromTextUnchecked(Concat(main_cf, "queue_directory = ", folder_, "\n"),
                                             "", {}, {}, diagnostics);
  }
  std::string Postdrop() const { return folder_ + "/postdrop"; }
  mode_t ModeOf(const std::string& path) const {
    struct stat status;
    EXPECT_EQ(stat(path.c_str(), &status), 0);
    return status.st_mode & 07777;
  }

  std::string folder_;
};

TEST_F(SubmissionRightsTest, FaultsAreNamedAndMended) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_THAT(FindSubmissionFaults(Config(), Postdrop()),
              ElementsAre(Concat("not owned by group mail: ", folder_, "/maildrop"),
                          Concat("mode is not 1730: ", folder_, "/maildrop"),
                          Concat("not owned by group mail: ", Postdrop()),
                          Concat("not set-gid or not owner+group+world executable: ", Postdrop())));
  const absl::Status set = SetSubmissionRights(Config(), Postdrop());
  ASSERT_TRUE(set.ok()) << set;
  EXPECT_THAT(FindSubmissionFaults(Config(), Postdrop()), IsEmpty());
  EXPECT_EQ(ModeOf(Postdrop()), 02755u);
  EXPECT_EQ(ModeOf(folder_ + "/maildrop"), 01730u);
}

TEST_F(SubmissionRightsTest, OfAnotherConfigurationTheProgramNeedsNone) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::remove(folder_ + "/maildrop");
  config::Diagnostics diagnostics;
  const config::Config other = config::Config::FromTextUnchecked(
      Concat(kMainCf, "queue_directory = ", folder_, "\n"), "", {}, {}, diagnostics, "/srv/etc");
  EXPECT_THAT(FindSubmissionFaults(other, Postdrop()), IsEmpty());
}

TEST_F(SubmissionRightsTest, LinkIsNotFollowed) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::rename(Postdrop(), folder_ + "/other");
  fs::create_symlink("other", Postdrop());
  EXPECT_FALSE(SetSubmissionRights(Config(), Postdrop()).ok());
  EXPECT_EQ(ModeOf(folder_ + "/other"), 0755u);
}

TEST_F(SubmissionRightsTest, MissingGroupIsNamed) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const config::Config config = Config("mail_owner = nobody\nsetgid_group = no-such-group\n");
  EXPECT_THAT(FindSubmissionFaults(config, Postdrop()), IsEmpty());
  EXPECT_THAT(std::string(SetSubmissionRights(config, Postdrop()).message()),
              testing::HasSubstr("groupadd --system no-such-group"));
}

}  // namespace
}  // namespace postfleet::commands
