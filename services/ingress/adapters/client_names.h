// The name of a client: that of its address, if the name has that address in turn (smtpd(8)).
//
// Asked of the machine's naming service, as Postfix does. What was found is kept for kKeptFor, at
// most kKeptMax of them: a client that comes again costs nothing. Not thread-safe; on one loop.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "libs/base/clock.h"
#include "libs/dns/resolver.h"

namespace postfleet::ingress {

enum class NameStatus {
  kOk,
  kTemporary,  // not known now
  kPermanent,  // there is none
  kForged,     // the name does not have the address
};

struct ClientName {
  std::string name = "unknown";
  NameStatus status = NameStatus::kPermanent;
  // Whether or not it has the address.
  std::string reverse_name = "unknown";
  NameStatus reverse_status = NameStatus::kPermanent;
  std::string warning;  // for the log; empty: none
};

class ClientNames {
 public:
  static constexpr std::chrono::seconds kKeptFor{60};
  static constexpr std::chrono::seconds kTemporaryKeptFor{5};
  static constexpr size_t kKeptMax = 10'000;

  using Done = std::function<void(const ClientName&)>;

  // The arguments outlive it.
  ClientNames(dns::Resolver& resolver, const Clock& clock) : resolver_(resolver), clock_(clock) {}

  // `done` is called once, perhaps before Find returns; not at all once this or the resolver is
  // gone.
  void Find(const std::string& address, Done done);

 private:
  struct Kept {
    ClientName name;
    std::chrono::steady_clock::time_point until;
  };
  void CheckName(const std::string& address, const std::string& name, const Done& done);
  void Keep(const std::string& address, const ClientName& name);

  dns::Resolver& resolver_;
  const Clock& clock_;
  absl::flat_hash_map<std::string, Kept> kept_;
  // Of answers that come when this is gone.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace postfleet::ingress
