// error(8) and discard(8): answers each recipient at once from the nexthop, and sends nothing.
//
//   error     returns: "5.1.1 no such user" is status and text; without a status, or with one of
//             another class, it is 5.0.0
//   discard   drops, as if it had been sent: 2.0.0
// The scheduler answers transports that are named error, retry and discard by itself; this is for
// services of master.cf that run those programs under other names.
#pragma once

#include <string>
#include <utility>

#include "libs/base/clock.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

class AnsweringAgent final : public Agent {
 public:
  enum class Kind { kError, kDiscard };

  // `program` as maillog takes it; empty: the usual one.
  AnsweringAgent(Kind kind, bool soft_bounce, const Clock& clock, std::string program = {})
      : kind_(kind),
        program_(!program.empty()       ? std::move(program)
                 : kind == Kind::kError ? "error"
                                        : "discard"),
        soft_bounce_(soft_bounce),
        clock_(clock) {}

  void Start(std::unique_ptr<Attempt> attempt) override;
  bool ServesProbes() const override { return true; }
  void Cancel(uint64_t) override {}
  void CloseIdle() override {}

 private:
  const Kind kind_;
  const std::string program_;
  const bool soft_bounce_;
  const Clock& clock_;
};

}  // namespace postfleet::delivery
