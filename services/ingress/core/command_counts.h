// The commands of one session, for the disconnect line: "ehlo=1 mail=1 rcpt=0/2 commands=2/4".
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "libs/smtp/command.h"

namespace postfleet::ingress {

class CommandCounts {
 public:
  void Came(smtp::Verb verb) { ++total_[static_cast<size_t>(verb)]; }
  void Succeeded(smtp::Verb verb) { ++good_[static_cast<size_t>(verb)]; }
  uint32_t total(smtp::Verb verb) const { return total_[static_cast<size_t>(verb)]; }
  uint32_t good(smtp::Verb verb) const { return good_[static_cast<size_t>(verb)]; }

  // " ehlo=1 quit=1 commands=2": in Postfix's order of commands, zeroes left out.
  void AppendTo(std::string* text) const;

 private:
  // Two bytes of a counter would do for honest clients only.
  std::array<uint32_t, smtp::kVerbCount> total_{};
  std::array<uint32_t, smtp::kVerbCount> good_{};
};

}  // namespace postfleet::ingress
