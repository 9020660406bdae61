// "service/type/attribute" of postconf -M, -F and -P; what is not said, and `*`, is anything.
#pragma once

#include <string>
#include <string_view>

#include "commands/service_entry.h"

namespace postfleet::commands {

struct ServicePattern {
  std::string text;  // as it was said
  int parts = 0;
  std::string service;
  std::string type;
  std::string attribute;

  static ServicePattern Parse(std::string_view text);
  bool Matches(const ServiceEntry& entry) const;
  bool MatchesAttribute(std::string_view name) const;
};

// Of kServiceFields; -1: there is no such field.
int FieldIndex(std::string_view name);

}  // namespace postfleet::commands
