#include "libs/dns/native_resolver.h"

#include <gtest/gtest.h>

#include <asio/executor_work_guard.hpp>
#include <chrono>
#include <optional>

namespace postfleet::dns {
namespace {

class NativeResolverTest : public ::testing::Test {
 protected:
  Answer Ask(Type type, const std::string& name) {
    std::optional<Answer> answer;
    io_.restart();
    const auto work = asio::make_work_guard(io_);
    resolver_.Lookup(type, name, [&](Answer given) { answer = std::move(given); });
    EXPECT_FALSE(answer) << "answered before Lookup returned";
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!answer && std::chrono::steady_clock::now() < limit) {
      io_.run_one_for(std::chrono::seconds(1));
    }
    return answer.value_or(Answer{});
  }

  asio::io_context io_;
  NativeResolver resolver_{io_};
};

TEST_F(NativeResolverTest, KnowsLocalhostFromTheHostsFile) {
  const Answer answer = Ask(Type::kA, "localhost");
  ASSERT_TRUE(answer.found());
  EXPECT_EQ(answer.addresses.front().to_string(), "127.0.0.1");
}

TEST_F(NativeResolverTest, KnowsTheNameOfTheLoopback) {
  const Answer answer = Ask(Type::kPtr, "127.0.0.1");
  ASSERT_TRUE(answer.found());
  EXPECT_EQ(answer.host, "localhost");
  EXPECT_EQ(Ask(Type::kPtr, "localhost").result, Result::kBadName);
}

TEST_F(NativeResolverTest, AnswersManyAtOnce) {
  const auto work = asio::make_work_guard(io_);
  size_t found = 0;
  for (int i = 0; i < 100; ++i) {
    resolver_.Lookup(Type::kA, "localhost", [&](Answer answer) { found += answer.found(); });
  }
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (found < 100 && std::chrono::steady_clock::now() < limit) {
    io_.run_one_for(std::chrono::seconds(1));
  }
  EXPECT_EQ(found, 100u);
}

TEST_F(NativeResolverTest, HasNoMx) {
  EXPECT_EQ(Ask(Type::kMx, "localhost").result, Result::kNoData);
}

TEST_F(NativeResolverTest, ANameThatIsNoneIsNotAsked) {
  EXPECT_EQ(Ask(Type::kA, "192.0.2.1").result, Result::kBadName);
}

TEST(NativeResolver, MoreLookupsThanItTakesAreTemporary) {
  asio::io_context io;
  NativeResolver resolver(io, 0);
  std::optional<Result> result;
  resolver.Lookup(Type::kA, "localhost", [&](Answer answer) { result = answer.result; });
  io.run_for(std::chrono::seconds(20));
  EXPECT_EQ(result, Result::kTemporary);
}

}  // namespace
}  // namespace postfleet::dns
