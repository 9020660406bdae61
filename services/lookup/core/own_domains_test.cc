#include "services/lookup/core/own_domains.h"

#include <gtest/gtest.h>

#include <random>

#include "libs/mail/address.h"

namespace postfleet::lookup {
namespace {

class OwnDomainsTest : public testing::Test {
 protected:
  // "user@domain", with " (ours)" behind it where the domain is.
  std::string Strip(std::string_view address) {
    const absl::StatusOr<Destination> to =
        StripOwnDomains(rules_, address, [this](std::string_view domain) -> absl::StatusOr<bool> {
          if (!failure_.ok()) return failure_;
          const std::string name = mail::LowerCasedAscii(domain);
          return name == "ours" || name == "also.ours" || name == "[192.0.2.1]";
        });
    if (!to.ok()) return std::string(to.status().message());
    return to->address + (to->malformed ? " (malformed)" : to->own ? " (ours)" : "");
  }

  OwnDomainRules rules_ = {.rewriting = {.origin = "origin.example", .domain = "example"},
                           .myhostname = "mx.ours",
                           .empty_address_recipient = "MAILER-DAEMON"};
  absl::Status failure_;
};

TEST_F(OwnDomainsTest, OrdinaryAddressesStay) {
  EXPECT_EQ(Strip("a@elsewhere"), "a@elsewhere");
  EXPECT_EQ(Strip("A.b+c@Ours"), "A.b+c@Ours (ours)");
  EXPECT_EQ(Strip("a b@ours"), "a b@ours (ours)");
  EXPECT_EQ(Strip("a@[192.0.2.1]"), "a@[192.0.2.1] (ours)");
  EXPECT_EQ(Strip("a@[192.0.2.2]"), "a@[192.0.2.2]");
}

TEST_F(OwnDomainsTest, RoutesInLocalPartsOfOursAreFollowed) {
  for (const char* address :
       {"a%elsewhere@ours", "elsewhere!a@ours", "a@elsewhere@ours", "a%elsewhere%also.ours@ours",
        "a@elsewhere@also.ours@ours", "@ours:a@elsewhere", "also.ours!a%elsewhere@ours",
        "a%elsewhere@[192.0.2.1]", "a@elsewhere@ours."}) {
    EXPECT_EQ(Strip(address), "a@elsewhere") << address;
  }
  EXPECT_EQ(Strip("a%also.ours@ours"), "a@also.ours (ours)");
  EXPECT_EQ(Strip("x!y!a@ours"), "y!a@x");
  EXPECT_EQ(Strip("a%x%y@ours"), "a%x@y");
}

TEST_F(OwnDomainsTest, LocalPartsOfOthersAreTheirs) {
  for (const char* address : {"a%ours@elsewhere", "ours!a@elsewhere", "a@ours@elsewhere"}) {
    EXPECT_EQ(Strip(address), address);
  }
}

TEST_F(OwnDomainsTest, QuotesDoNotHideARoute) {
  EXPECT_EQ(Strip("a b%elsewhere@ours"), "a b@elsewhere");
  EXPECT_EQ(Strip("a b@elsewhere@ours"), "a b@elsewhere");
  EXPECT_EQ(Strip("a (x)%elsewhere@ours"), "a (x)@elsewhere");
  rules_.resolve_dequoted_address = false;
  EXPECT_EQ(Strip("a b%elsewhere@ours"), "a b%elsewhere@ours (ours)");
  EXPECT_EQ(Strip("a@elsewhere@ours"), "a@elsewhere@ours (ours)") << "which is quoted, too";
  EXPECT_EQ(Strip("a%elsewhere@ours"), "a@elsewhere");
}

TEST_F(OwnDomainsTest, ADomainInQuotesThatIsOursIsNone) {
  EXPECT_EQ(Strip("@x\":.@ours"), "@x :.@ours (malformed)");
}

TEST_F(OwnDomainsTest, PercentAndBangCountWhereTheyMay) {
  rules_.rewriting.percent_hack = false;
  EXPECT_EQ(Strip("a%elsewhere@ours"), "a%elsewhere@ours (ours)");
  EXPECT_EQ(Strip("a b%elsewhere@ours"), "a b%elsewhere@ours (ours)");
  EXPECT_EQ(Strip("elsewhere!a@ours"), "a@elsewhere");
  rules_.rewriting.swap_bangpath = false;
  EXPECT_EQ(Strip("elsewhere!a@ours"), "elsewhere!a@ours (ours)");
  EXPECT_EQ(Strip("elsewhere!a b@ours"), "elsewhere!a b@ours (ours)");
}

TEST_F(OwnDomainsTest, NobodyIsMailerDaemon) {
  EXPECT_EQ(Strip("@ours"), "MAILER-DAEMON@ours (ours)");
  EXPECT_EQ(Strip(""), "MAILER-DAEMON@mx.ours") << "whose domain mydestination lacks here";
  EXPECT_EQ(Strip("@elsewhere"), "@elsewhere");
  EXPECT_EQ(Strip("@@ours"), "MAILER-DAEMON@ (ours)") << "and no domain";
}

TEST_F(OwnDomainsTest, AddressesAreCompleted) {
  EXPECT_EQ(Strip("a"), "a@origin.example");
  EXPECT_EQ(Strip("a%b"), "a@b");
  EXPECT_EQ(Strip("b!a"), "a@b");
  rules_.rewriting.append_at_origin = false;
  EXPECT_EQ(Strip("a"), "a@mx.ours") << "in the end";
  rules_.rewriting.append_dot_domain = true;
  EXPECT_EQ(Strip("a@ours"), "a@ours (ours)") << "which is complete";
  EXPECT_EQ(Strip("a@elsewhere"), "a@elsewhere.example");
}

TEST_F(OwnDomainsTest, AnAtAtTheEndIsADomainOfOursOrNone) {
  EXPECT_EQ(Strip("a@"), "a@ (ours)") << "which has no name";
  EXPECT_EQ(Strip("a@ours@"), "a@ours (ours)");
  EXPECT_EQ(Strip("a%elsewhere@"), "a@elsewhere");
  rules_.resolve_null_domain = true;
  EXPECT_EQ(Strip("a@"), "a@mx.ours");
  EXPECT_EQ(Strip("a@ours@"), "a@ours (ours)");
  EXPECT_EQ(Strip("a@elsewhere@"), "a@elsewhere");
}

TEST_F(OwnDomainsTest, ATableThatCannotBeReadIsAFailure) {
  failure_ = absl::UnavailableError("mydestination: it rains");
  EXPECT_EQ(Strip("a@b"), "mydestination: it rains");
}

// Whatever it is, it ends; and nothing that it leads to leads on to another domain
// (what is malformed leads nowhere).
TEST_F(OwnDomainsTest, EveryAddressEnds) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::string_view kBytes = "ab.@%!\"\\ <>[]:,();";
  for (int round = 0; round < 100000; ++round) {
    std::string address;
    for (size_t n = random() % 12; n > 0; --n) address += kBytes[random() % kBytes.size()];
    if (random() % 2) address += "@ours";
    const std::string to = Strip(address);
    ASSERT_NE(to, "too many domains in an address") << address;
    const std::string domain = to.substr(to.rfind('@') + 1);
    if (mail::IsMailDomain(domain, false)) {
      const std::string again = Strip(to);
      if (again.ends_with(" (malformed)")) continue;
      ASSERT_EQ(again.substr(again.rfind('@') + 1), domain) << address << " is " << to;
    }
  }
}

}  // namespace
}  // namespace postfleet::lookup
