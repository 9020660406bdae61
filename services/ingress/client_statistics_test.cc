#include "services/ingress/adapters/client_statistics.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

namespace postfleet::ingress {
namespace {

TEST(StatisticsLines, AreAnvils) {
  setenv("TZ", "UTC", 1);
  tzset();
  ServicePeaks smtp{.service = "smtp"};
  smtp.peaks.connection_rate = {3, "192.0.2.1", 1'795'355'495'000};
  smtp.peaks.connection_count = {2, "192.0.2.1", 1'795'355'495'000};
  smtp.peaks.clients = {1, "", 1'795'355'495'000};
  ServicePeaks submission{.service = "submission"};
  submission.peaks.connection_rate = {4, "2001:db8::1", 1'795'355'496'000};
  submission.peaks.clients = {2, "", 1'795'355'496'000};
  EXPECT_EQ(StatisticsLines({smtp, submission}, 60'000),
            (std::vector<std::string>{
                "statistics: max connection rate 4/60s for (submission:2001:db8::1) at Nov 22 "
                "13:51:36",
                "statistics: max connection count 2 for (smtp:192.0.2.1) at Nov 22 13:51:35",
                "statistics: max cache size 3 at Nov 22 13:51:36"}));
}

TEST(StatisticsLines, NothingIsSaidOfNothing) {
  EXPECT_TRUE(StatisticsLines({ServicePeaks{.service = "smtp"}}, 60'000).empty());
}

}  // namespace
}  // namespace postfleet::ingress
