// Answers from a table, for tests. A name without an entry is kNoName; one with entries of other
// types only is kNoData. Answers come by a post on the loop, as those of a real resolver.
#pragma once

#include <asio/io_context.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "libs/dns/resolver.h"

namespace postfleet::dns {

class FakeResolver : public Resolver {
 public:
  explicit FakeResolver(asio::io_context& io) : io_(io) {}

  void AddMx(const std::string& name, uint16_t preference, const std::string& exchange);
  void AddSrv(const std::string& name, const SrvRecord& record);
  // The addresses of `name` are those of `target`, which it is a CNAME of.
  void SetCanonical(const std::string& name, const std::string& target);
  // A or AAAA, by the address's family.
  void AddAddress(const std::string& name, const std::string& address);
  void SetName(const std::string& address, const std::string& host);
  void Fail(Type type, const std::string& name, Result result);

  void Lookup(Type type, std::string_view name, Done done) override;
  // "MX example.com", in the order of asking.
  const std::vector<std::string>& asked() const { return asked_; }

 private:
  Answer& Entry(Type type, const std::string& name);

  asio::io_context& io_;
  std::map<std::pair<Type, std::string>, Answer> answers_;
  std::vector<std::string> asked_;
};

}  // namespace postfleet::dns
