#include "commands/service_entry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "commands/service_pattern.h"

namespace postfleet::commands {
namespace {

using testing::ElementsAre;
using testing::Pair;

ServiceEntry Parse(std::string_view text) {
  absl::StatusOr<ServiceEntry> entry = ServiceEntry::Parse(text);
  EXPECT_TRUE(entry.ok()) << entry.status();
  return entry.value_or(ServiceEntry{});
}

TEST(ServiceEntry, PutsColumnsWhereTheyBelong) {
  EXPECT_EQ(Parse("smtp inet n - y - - smtpd").ToString(false),
            "smtp       inet  n       -       y       -       -       smtpd");
  EXPECT_EQ(Parse("127.0.0.1:10025 inet n - n - 10 smtpd").ToString(false),
            "127.0.0.1:10025 inet n   -       n       -       10      smtpd");
}

TEST(ServiceEntry, KeepsParametersApartFromArguments) {
  ServiceEntry entry = Parse("s unix - - n - - smtpd -v -o { a = b  c } -ox=y -v -o c={d e}");
  EXPECT_THAT(entry.Parameters(),
              ElementsAre(Pair("a", "b  c"), Pair("x", "y"), Pair("c", "{d e}")));
  EXPECT_EQ(entry.Command(), "smtpd -v -o {a=b  c} -o x=y -v -o {c={d e}}");
  EXPECT_EQ(entry.ToString(true),
            "s          unix  -       -       n       -       -       smtpd -v\n"
            "    -o {a=b  c}\n    -o x=y\n    -v\n    -o {c={d e}}");
}

TEST(ServiceEntry, SetsParametersBehindTheOptions) {
  ServiceEntry entry = Parse("m unix - n n - - pipe -o a=b flags=F argv=x -o y");
  entry.SetParameter("a", "c");
  entry.SetParameter("n", "1");
  EXPECT_EQ(entry.Command(), "pipe -o a=c -o n=1 flags=F argv=x -o y");
  entry.RemoveParameter("a");
  EXPECT_EQ(entry.Command(), "pipe -o n=1 flags=F argv=x -o y");
}

TEST(ServiceEntry, OptionsEndAtTheFirstWordThatIsNone) {
  const ServiceEntry entry =
      *ServiceEntry::Parse("x unix - n n - 10 pipe -v {-o a = b} flags=F -o q=r argv=/x");
  ASSERT_EQ(entry.Parameters().size(), 1u);
  EXPECT_EQ(entry.Parameters()[0], std::make_pair(std::string("a"), std::string("b")));
  EXPECT_EQ(entry.Command(), "pipe -v -o a=b flags=F -o q=r argv=/x");
}

TEST(ServiceEntry, NeedsEightFields) {
  EXPECT_FALSE(ServiceEntry::Parse("smtp inet n - y - -").ok());
  EXPECT_FALSE(ServiceEntry::Parse("").ok());
}

TEST(ServicePattern, LeavesOpenWhatIsNotSaid) {
  const ServiceEntry entry = Parse("smtp inet n - y - - smtpd");
  EXPECT_TRUE(ServicePattern::Parse("smtp").Matches(entry));
  EXPECT_TRUE(ServicePattern::Parse("*/inet").Matches(entry));
  EXPECT_FALSE(ServicePattern::Parse("smtp/unix").Matches(entry));
  EXPECT_EQ(ServicePattern::Parse("a/b/c").attribute, "c");
  EXPECT_EQ(FieldIndex("chroot"), 4);
  EXPECT_EQ(FieldIndex("nosuch"), -1);
}

TEST(FoldWords, BreaksAfterTheLastWordThatFits) {
  EXPECT_EQ(FoldWords("a =", "bb   cc dd", true, 10), "a = bb cc\n    dd");
  EXPECT_EQ(FoldWords("a =", "bb   cc dd", false, 10), "a = bb cc dd");
  EXPECT_EQ(FoldWords("a =", "0123456789", true, 10), "a =\n    0123456789");
  EXPECT_EQ(FoldWords("", "bb cc", true, 80), "bb cc");
}

}  // namespace
}  // namespace postfleet::commands
