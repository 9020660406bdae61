// Stands in for a delivery agent that this version does not have (local, pipe): defers each
// recipient at once and says why, in the log and in the queue's listing. Nothing is lost: mail
// waits until its route names another transport, or until it expires.
#pragma once

#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

class AbsentAgent final : public Agent {
 public:
  // `program` is the command of master.cf, for the log.
  AbsentAgent(std::string program, const Clock& clock)
      : program_(std::move(program)), clock_(clock) {}

  void Start(std::unique_ptr<Attempt> attempt) override;
  void Cancel(uint64_t) override {}
  void CloseIdle() override {}

 private:
  const std::string program_;
  const Clock& clock_;
};

}  // namespace postfleet::delivery
