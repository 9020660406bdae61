#include "libs/dns/fake_resolver.h"

#include <asio/post.hpp>

#include "libs/base/concat.h"

namespace postfleet::dns {

Answer& FakeResolver::Entry(Type type, const std::string& name) {
  Answer& answer = answers_[{type, name}];
  answer.result = Result::kFound;
  answer.ttl_s = 60;
  return answer;
}

void FakeResolver::AddMx(const std::string& name, uint16_t preference,
                         const std::string& exchange) {
  Entry(Type::kMx, name).mx.push_back({.preference = preference, .exchange = exchange});
}

void FakeResolver::AddSrv(const std::string& name, const SrvRecord& record) {
  Entry(Type::kSrv, name).srv.push_back(record);
}

void FakeResolver::SetCanonical(const std::string& name, const std::string& target) {
  Entry(Type::kA, name).canonical = target;
}

void FakeResolver::AddAddress(const std::string& name, const std::string& address) {
  const asio::ip::address parsed = asio::ip::make_address(address);
  Entry(parsed.is_v4() ? Type::kA : Type::kAaaa, name).addresses.push_back(parsed);
}

void FakeResolver::SetName(const std::string& address, const std::string& host) {
  Entry(Type::kPtr, address).host = host;
}

void FakeResolver::Fail(Type type, const std::string& name, Result result) {
  answers_[{type, name}] = {.result = result};
}

void FakeResolver::Lookup(Type type, std::string_view name, Done done) {
  asked_.push_back(Concat(TypeName(type), " ", name));
  Answer answer{.result = Result::kNoName};
  const auto found = answers_.find({type, std::string(name)});
  if (type != Type::kPtr && !IsHostName(name)) {
    answer.result = Result::kBadName;
  } else if (found != answers_.end()) {
    answer = found->second;
  } else {
    for (Type other : {Type::kMx, Type::kA, Type::kAaaa, Type::kSrv}) {
      if (answers_.contains({other, std::string(name)})) answer.result = Result::kNoData;
    }
  }
  asio::post(io_, [done = std::move(done), answer = std::move(answer)] { done(answer); });
}

}  // namespace postfleet::dns
