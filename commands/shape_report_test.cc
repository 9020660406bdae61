// Expected tables were printed by Postfix 3.7.11's qshape for the same mail.
#include "commands/shape_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

void AddRow(v1::ShapeResponse* response, const std::string& domain, uint64_t first,
            uint64_t last = 0, size_t buckets = 10) {
  v1::ShapeRow* row = response->add_domains();
  row->set_domain(domain);
  for (size_t i = 0; i < buckets; ++i)
    row->add_counts(i == 0 ? first : i == buckets - 1 ? last : 0);
  v1::ShapeRow* total = response->mutable_total();
  for (int i = 0; i < row->counts_size(); ++i) {
    if (i == total->counts_size()) total->add_counts(0);
    total->set_counts(i, total->counts(i) + row->counts(i));
  }
}

v1::ShapeResponse TwoDomains() {
  v1::ShapeResponse response;
  AddRow(&response, "a.example", 2);
  AddRow(&response, "b.example", 3);
  return response;
}

TEST(ShapeReport, ColumnsAreThoseOfPostfix) {
  EXPECT_EQ(FormatShape(TwoDomains(), {}),
            R"(                                         T  5 10 20 40 80 160 320 640 1280 1280+
                                  TOTAL  5  5  0  0  0  0   0   0   0    0     0
                              b.example  3  3  0  0  0  0   0   0   0    0     0
                              a.example  2  2  0  0  0  0   0   0   0    0     0
)");
}

TEST(ShapeReport, EmptyQueueHasATotal) {
  EXPECT_EQ(FormatShape({}, {}),
            R"(                                         T  5 10 20 40 80 160 320 640 1280 1280+
                                  TOTAL  0  0  0  0  0  0   0   0   0    0     0
)");
}

TEST(ShapeReport, LinearColumns) {
  EXPECT_EQ(FormatShape(TwoDomains(), {.buckets = 5, .tick_minutes = 1, .linear = true}),
            R"(                                                                T  1  2  3  4 4+
                                                         TOTAL  5  5  0  0  0  0
                                                     b.example  3  3  0  0  0  0
                                                     a.example  2  2  0  0  0  0
)");
}

TEST(ShapeReport, ManyColumnsLeave18ForTheDomain) {
  EXPECT_EQ(
      FormatShape(TwoDomains(), {.tick_minutes = 100'000}),
      R"(                    T 100000 200000 400000 800000 1600000 3200000 6400000 12800000 25600000 25600000+
             TOTAL  5      5      0      0      0       0       0       0        0        0         0
         b.example  3      3      0      0      0       0       0       0        0        0         0
         a.example  2      2      0      0      0       0       0       0        0        0         0
)");
}

TEST(ShapeReport, BigCountsWidenTheirColumnAndLongDomainsLoseTheirHead) {
  v1::ShapeResponse response;
  AddRow(&response, "very-long-domain-name-indeed-for-this.b.example", 123'456, 78'900);
  AddRow(&response, "s1.b.example", 5);
  const std::string table = FormatShape(response, {});
  for (size_t at = 0, end; (end = table.find('\n', at)) != table.npos; at = end + 1) {
    EXPECT_EQ(end - at, 80u) << table;
  }
  EXPECT_THAT(table, HasSubstr("\n+"));
  EXPECT_THAT(table, HasSubstr("indeed-for-this.b.example 202356 123456  0"));
}

TEST(ShapeReport, ParentsOfEnoughDomainsHaveARow) {
  v1::ShapeResponse response;
  for (const char* domain :
       {"a.x.example.com", "b.x.example.com", "y.example.com", "example.com"}) {
    AddRow(&response, domain, 1);
  }
  const std::string two = FormatShape(response, {.parents = true, .subdomains_min = 2});
  // Below .x.example.com: a, b. Below .example.com: .x.example.com and y. .com is none.
  EXPECT_THAT(two, HasSubstr(" .x.example.com  2  2"));
  EXPECT_THAT(two, HasSubstr(" .example.com  3  3"));
  EXPECT_THAT(two, Not(HasSubstr(" .com")));
  EXPECT_THAT(two, HasSubstr(" TOTAL  4  4"));
  EXPECT_THAT(FormatShape(response, {.parents = true, .subdomains_min = 3}), Not(HasSubstr(" .")));
  EXPECT_THAT(FormatShape(response, {.subdomains_min = 1}), Not(HasSubstr(" .")));
}

TEST(ShapeReport, LongParentsKeepTheirDot) {
  v1::ShapeResponse response;
  const std::string parent = std::string(60, 'p') + ".example.com";
  AddRow(&response, "a." + parent, 1);
  EXPECT_THAT(FormatShape(response, {.parents = true, .subdomains_min = 1}), HasSubstr("\n.+ppp"));
}

TEST(ShapeReport, RowsOnATerminalAreTheFirst) {
  const std::string table = FormatShape(TwoDomains(), {.rows_max = 2});
  EXPECT_THAT(table, HasSubstr("b.example"));
  EXPECT_THAT(table, Not(HasSubstr("a.example")));
}

TEST(ShapeReport, AgesAreAskedInMilliseconds) {
  EXPECT_THAT(ShapeAgesMs({.buckets = 4}), ElementsAre(300'000, 600'000, 1'200'000));
  EXPECT_THAT(ShapeAgesMs({.buckets = 4, .tick_minutes = 1, .linear = true}),
              ElementsAre(60'000, 120'000, 180'000));
  EXPECT_THAT(ShapeAgesMs({.buckets = 1}), ElementsAre());
}

}  // namespace
}  // namespace postfleet::commands
