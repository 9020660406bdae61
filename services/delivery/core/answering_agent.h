// error(8) and discard(8): answers each recipient at once from the nexthop, and sends nothing.
//
//   error     returns: "5.1.1 no such user" is status and text; without a status, or with one of
//             another class, it is 5.0.0
//   discard   drops, as if it had been sent: 2.0.0
// The scheduler answers transports that are named error, retry and discard by itself; this is for
// services of master.cf that run those programs under other names.
#pragma once

#include <string>

#include "libs/base/clock.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

class AnsweringAgent final : public Agent {
 public:
  enum class Kind { kError, kDiscard };

  AnsweringAgent(Kind kind, bool soft_bounce, const Clock& clock)
      : kind_(kind), soft_bounce_(soft_bounce), clock_(clock) {}

  void Start(std::unique_ptr<Attempt> attempt) override;
  void Cancel(uint64_t) override {}
  void CloseIdle() override {}

 private:
  const Kind kind_;
  const bool soft_bounce_;
  const Clock& clock_;
};

}  // namespace postfleet::delivery
