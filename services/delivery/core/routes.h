// Where an address belongs, asked of the lookup service: local(8) needs to know which of an alias'
// addresses are its own.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace postfleet::delivery {

struct Route {
  std::string transport;
  std::string nexthop;
  std::string recipient;  // the address completed
};

class Routes {
 public:
  virtual ~Routes() = default;
  using Done = std::function<void(const absl::Status&, Route)>;
  // Answered once, on the loop, never before Find returns. Not OK: cannot be known now, defer.
  virtual void Find(std::string sender, std::string address, Done done) = 0;
};

}  // namespace postfleet::delivery
