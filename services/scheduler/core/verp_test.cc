#include "services/scheduler/core/verp.h"

#include <gtest/gtest.h>

namespace postfleet::scheduler {
namespace {

std::string SenderOf(const std::string& sender, const std::string& delimiters,
                     const std::string& address, const std::string& original = "") {
  mail::v1::Envelope envelope;
  envelope.set_sender(sender);
  envelope.set_verp_delimiters(delimiters);
  if (!IsVerp(envelope)) return "none";
  mail::v1::Recipient recipient;
  recipient.set_address(address);
  recipient.set_original_address(original);
  SetVerpSender(recipient, &envelope);
  return envelope.sender();
}

TEST(Verp, SenderNamesRecipient) {
  EXPECT_EQ(SenderOf("list@a.test", "+=", "user@b.test"), "list+user=b.test@a.test");
  EXPECT_EQ(SenderOf("list@a.test", "=+", "user@b.test"), "list=user+b.test@a.test");
  EXPECT_EQ(SenderOf("list", "+=", "user@b.test"), "list+user=b.test");
  EXPECT_EQ(SenderOf("list@a.test", "+=", "user"), "list+user@a.test");
}

TEST(Verp, RecipientIsTheOneThatWasAskedFor) {
  EXPECT_EQ(SenderOf("l@a.test", "+=", "real@b.test", "alias@b.test"), "l+alias=b.test@a.test");
}

TEST(Verp, NullSenderStaysNull) {
  EXPECT_EQ(SenderOf("", "+=", "user@b.test"), "none");
  EXPECT_EQ(SenderOf("l@a.test", "", "user@b.test"), "none");
}

}  // namespace
}  // namespace postfleet::scheduler
