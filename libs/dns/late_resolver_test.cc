#include "libs/dns/late_resolver.h"

#include <gtest/gtest.h>

#include "libs/dns/fake_resolver.h"

namespace postfleet::dns {
namespace {

class LateResolverTest : public ::testing::Test {
 protected:
  Result Ask() {
    Result result = Result::kMalformed;
    resolver_->Lookup(Type::kA, "mx.test", [&](const Answer& answer) { result = answer.result; });
    io_.restart();
    io_.run();
    return result;
  }

  asio::io_context io_;
  FakeClock clock_;
  bool can_be_made_ = false;
  int tries_ = 0;
  std::optional<LateResolver> resolver_{std::in_place, io_, clock_, "smtp",
                                        [this]() -> absl::StatusOr<std::unique_ptr<Resolver>> {
                                          ++tries_;
                                          if (!can_be_made_)
                                            return absl::FailedPreconditionError("no file");
                                          auto made = std::make_unique<FakeResolver>(io_);
                                          made->AddAddress("mx.test", "192.0.2.1");
                                          return made;
                                        }};
};

TEST_F(LateResolverTest, IsMadeOnceByTheFirstLookup) {
  can_be_made_ = true;
  EXPECT_EQ(tries_, 0);
  EXPECT_EQ(Ask(), Result::kFound);
  EXPECT_EQ(Ask(), Result::kFound);
  EXPECT_EQ(tries_, 1);
}

TEST_F(LateResolverTest, WithoutOneLookupsFailForNow) { EXPECT_EQ(Ask(), Result::kTemporary); }

TEST_F(LateResolverTest, IsTriedAgainAfterAWhile) {
  Ask();
  can_be_made_ = true;
  clock_.AdvanceMillis(9'999);
  EXPECT_EQ(Ask(), Result::kTemporary);
  EXPECT_EQ(tries_, 1);
  clock_.AdvanceMillis(1);
  EXPECT_EQ(Ask(), Result::kFound);
  EXPECT_EQ(tries_, 2);
}

TEST_F(LateResolverTest, NobodyIsAnsweredOnceItIsGone) {
  bool answered = false;
  resolver_->Lookup(Type::kA, "mx.test", [&](const Answer&) { answered = true; });
  resolver_.reset();
  io_.run();
  EXPECT_FALSE(answered);
}

}  // namespace
}  // namespace postfleet::dns
