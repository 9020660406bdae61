#include "libs/mail/enhanced_status.h"

#include <gtest/gtest.h>

namespace postfleet::mail {
namespace {

TEST(EnhancedStatus, FormatsWhatItParses) {
  for (const char* text : {"2.0.0", "4.4.1", "5.7.26", "5.999.999"}) {
    const auto status = ParseEnhancedStatus(text);
    ASSERT_TRUE(status) << text;
    EXPECT_EQ(status->ToString(), text);
  }
}

TEST(EnhancedStatus, NoneIsEmpty) { EXPECT_EQ(EnhancedStatus{}.ToString(), ""); }

TEST(Rfc3463_2, ClassesAreTwoFourAndFive) {
  for (const char* text : {"1.0.0", "3.0.0", "6.0.0", "0.0.0", "x.0.0"})
    EXPECT_FALSE(ParseEnhancedStatus(text)) << text;
}

TEST(Rfc3463_2, NumbersHaveOneToThreeDigits) {
  for (const char* text :
       {"5.1.", "5..1", "5.1234.1", "5.1.1234", "5.1", "5", "", "5.1.1.1", "5.1.1x", "5,1,1"})
    EXPECT_FALSE(ParseEnhancedStatus(text)) << text;
}

TEST(EnhancedStatus, PrefixEndsAtABlank) {
  size_t length = 0;
  EXPECT_EQ(ParseEnhancedStatusPrefix("5.1.10 no such user", &length), (EnhancedStatus{5, 1, 10}));
  EXPECT_EQ(length, 6u);
  EXPECT_EQ(ParseEnhancedStatusPrefix("4.2.0", &length), (EnhancedStatus{4, 2, 0}));
  EXPECT_FALSE(ParseEnhancedStatusPrefix("5.1.1: no", &length));
  EXPECT_FALSE(ParseEnhancedStatusPrefix("5.1.1.example.com", &length));
}

}  // namespace
}  // namespace postfleet::mail
