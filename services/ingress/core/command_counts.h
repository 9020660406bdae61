// The commands of one session, for the disconnect line: "ehlo=1 mail=1 rcpt=0/2 commands=2/4".
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "libs/smtp/command.h"

namespace postfleet::ingress {

class CommandCounts {
 public:
  static constexpr int kClasses = 3;  // replies of 2xx and 3xx, 4xx, 5xx

  void Came(smtp::Verb verb) { ++of(verb).total; }
  void Succeeded(smtp::Verb verb) { ++of(verb).good; }
  void Replied(smtp::Verb verb, int code) {
    ++of(verb).replied[code >= 500 ? 2 : code >= 400 ? 1 : 0];
  }
  uint32_t total(smtp::Verb verb) const { return of(verb).total; }
  uint32_t good(smtp::Verb verb) const { return of(verb).good; }
  uint32_t replied(smtp::Verb verb, int reply_class) const {
    return of(verb).replied[static_cast<size_t>(reply_class)];
  }

  // " ehlo=1 quit=1 commands=2": in Postfix's order of commands, zeroes left out.
  void AppendTo(std::string* text) const;

 private:
  struct Counts {
    uint32_t total = 0;
    uint32_t good = 0;
    std::array<uint32_t, kClasses> replied{};
  };
  Counts& of(smtp::Verb verb) { return counts_[static_cast<size_t>(verb)]; }
  const Counts& of(smtp::Verb verb) const { return counts_[static_cast<size_t>(verb)]; }

  std::array<Counts, smtp::kVerbCount> counts_{};
};

}  // namespace postfleet::ingress
