// libunbound against a name server of a few lines on loopback, on a port that the system chooses.
#include "libs/dns/unbound_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <map>
#include <optional>

namespace postfleet::dns {
namespace {

using asio::ip::udp;
using ::testing::SizeIs;

constexpr std::string_view kOwner("\xc0\x0c", 2);  // the question's name

std::string Number16(size_t number) {
  return {static_cast<char>(number >> 8), static_cast<char>(number)};
}
std::string WireName(std::string_view name) {
  std::string wire;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    wire += static_cast<char>(label.size());
    wire += label;
    name.remove_prefix(std::min(label.size() + 1, name.size()));
  }
  return wire + '\0';
}
std::string Record(std::string_view owner, int type, std::string_view rdata) {
  return std::string(owner) + Number16(type) + Number16(1) + std::string("\0\0\0\x3c", 4) +
         Number16(rdata.size()) + std::string(rdata);
}

// Answers by "name type"; what has no entry is NXDOMAIN.
class NameServer {
 public:
  struct Reply {
    int rcode = 0;
    std::vector<std::string> records;
    bool silent = false;
  };

  explicit NameServer(asio::io_context& io)
      : socket_(io, udp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    Read();
  }
  std::string address() const {
    return "127.0.0.1@" + std::to_string(socket_.local_endpoint().port());
  }
  std::map<std::string, Reply> replies;
  int queries = 0;

 private:
  void Read() {
    socket_.async_receive_from(asio::buffer(buffer_), peer_,
                               [this](const std::error_code& error, size_t bytes) {
                                 if (error) return;
                                 Answer({buffer_.data(), bytes});
                                 Read();
                               });
  }
  void Answer(std::string_view query) {
    ++queries;
    size_t at = 12;
    std::string name;
    while (query[at] != 0) {
      if (!name.empty()) name += '.';
      name += query.substr(at + 1, static_cast<size_t>(query[at]));
      at += 1 + static_cast<size_t>(query[at]);
    }
    const int type = query[at + 2];
    const std::string_view question = query.substr(12, at + 5 - 12);
    const auto found = replies.find(name + " " + std::to_string(type));
    const Reply reply = found == replies.end() ? Reply{.rcode = 3} : found->second;
    if (reply.silent) return;
    std::string message(query.substr(0, 2));
    message += std::string{'\x84', static_cast<char>(0x80 | reply.rcode)};
    message += Number16(1) + Number16(reply.records.size()) + Number16(0) + Number16(0);
    message += question;
    for (const std::string& record : reply.records) message += record;
    socket_.send_to(asio::buffer(message), peer_);
  }

  udp::socket socket_;
  udp::endpoint peer_;
  std::array<char, 2048> buffer_;
};

class UnboundResolverTest : public ::testing::Test {
 protected:
  dns::Answer Lookup(Type type, const std::string& name, UnboundOptions options = {}) {
    if (resolver_ == nullptr) {
      options.name_servers = {server_.address()};
      auto resolver = UnboundResolver::Create(io_, options);
      EXPECT_TRUE(resolver.ok()) << resolver.status();
      resolver_ = std::move(*resolver);
    }
    std::optional<dns::Answer> answer;
    resolver_->Lookup(type, name, [&](dns::Answer result) { answer = std::move(result); });
    EXPECT_FALSE(answer.has_value()) << "answered before Lookup returned";
    while (!answer) io_.run_one();
    return *answer;
  }

  asio::io_context io_;
  NameServer server_{io_};
  std::unique_ptr<UnboundResolver> resolver_;
};

TEST_F(UnboundResolverTest, MxComesWithPreferencesAndTtl) {
  server_.replies["example.test 15"] = {
      .records = {Record(kOwner, 15, Number16(20) + WireName("mx2.example.test")),
                  Record(kOwner, 15, Number16(10) + WireName("MX1.example.test"))}};
  const dns::Answer answer = Lookup(Type::kMx, "example.test");
  ASSERT_TRUE(answer.found());
  EXPECT_THAT(answer.mx, ::testing::UnorderedElementsAre(MxRecord{10, "mx1.example.test"},
                                                         MxRecord{20, "mx2.example.test"}));
  EXPECT_GT(answer.ttl_s, 0u);
  EXPECT_LE(answer.ttl_s, 60u);
}

TEST_F(UnboundResolverTest, AddressesOfBothFamilies) {
  server_.replies["mx.example.test 1"] = {
      .records = {Record(kOwner, 1, std::string_view("\xc0\0\2\1", 4))}};
  server_.replies["mx.example.test 28"] = {
      .records = {Record(kOwner, 28, std::string(15, '\0') + "\1")}};
  EXPECT_EQ(Lookup(Type::kA, "mx.example.test").addresses.at(0).to_string(), "192.0.2.1");
  EXPECT_EQ(Lookup(Type::kAaaa, "mx.example.test").addresses.at(0).to_string(), "::1");
}

TEST_F(UnboundResolverTest, CnameIsFollowed) {
  server_.replies["alias.example.test 1"] = {
      .records = {Record(kOwner, 5, WireName("real.example.test")),
                  Record(WireName("real.example.test"), 1, std::string_view("\xc0\0\2\7", 4))}};
  server_.replies["real.example.test 1"] = {
      .records = {Record(kOwner, 1, std::string_view("\xc0\0\2\7", 4))}};
  EXPECT_EQ(Lookup(Type::kA, "alias.example.test").addresses.at(0).to_string(), "192.0.2.7");
}

TEST_F(UnboundResolverTest, NoSuchNameNoSuchDataAndFailureAreToldApart) {
  server_.replies["empty.test 15"] = {};
  server_.replies["broken.test 15"] = {.rcode = 2};
  EXPECT_EQ(Lookup(Type::kMx, "nowhere.test").result, Result::kNoName);
  EXPECT_EQ(Lookup(Type::kMx, "empty.test").result, Result::kNoData);
  EXPECT_EQ(Lookup(Type::kMx, "broken.test").result, Result::kTemporary);
}

TEST_F(UnboundResolverTest, SilenceIsTemporary) {
  server_.replies["silent.test 15"] = {.silent = true};
  EXPECT_EQ(Lookup(Type::kMx, "silent.test", {.timeout = std::chrono::milliseconds(50)}).result,
            Result::kTemporary);
}

TEST_F(UnboundResolverTest, AnswersAreCutAtAHundredRecords) {
  NameServer::Reply reply;
  for (int i = 0; i < 120; ++i) {
    reply.records.push_back(Record(kOwner, 1, std::string{'\xc0', 0, 2, static_cast<char>(i)}));
  }
  server_.replies["big.test 1"] = reply;
  EXPECT_THAT(Lookup(Type::kA, "big.test").addresses, SizeIs(kRecordsMax));
}

TEST_F(UnboundResolverTest, ABadNameIsNotAsked) {
  EXPECT_EQ(Lookup(Type::kMx, "not a name").result, Result::kBadName);
  EXPECT_EQ(server_.queries, 0);
}

TEST_F(UnboundResolverTest, AnswersAreCached) {
  server_.replies["mx.example.test 1"] = {
      .records = {Record(kOwner, 1, std::string_view("\xc0\0\2\1", 4))}};
  Lookup(Type::kA, "mx.example.test");
  const int queries = server_.queries;
  EXPECT_TRUE(Lookup(Type::kA, "mx.example.test").found());
  EXPECT_EQ(server_.queries, queries);
}

TEST_F(UnboundResolverTest, DestroyedWithLookupsOpenCallsNothing) {
  server_.replies["silent.test 15"] = {.silent = true};
  Lookup(Type::kMx, "nowhere.test");
  bool called = false;
  resolver_->Lookup(Type::kMx, "silent.test", [&](const dns::Answer&) { called = true; });
  resolver_.reset();
  io_.poll();
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace postfleet::dns
