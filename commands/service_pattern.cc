#include "commands/service_pattern.h"

#include <algorithm>

namespace postfleet::commands {
namespace {

bool Allows(const std::string& wanted, std::string_view value) {
  return wanted.empty() || wanted == "*" || wanted == value;
}

}  // namespace

ServicePattern ServicePattern::Parse(std::string_view text) {
  ServicePattern pattern{.text = std::string(text)};
  std::string* parts[] = {&pattern.service, &pattern.type, &pattern.attribute};
  while (pattern.parts < 3) {
    const size_t slash = pattern.parts == 2 ? text.npos : text.find('/');
    *parts[pattern.parts++] = text.substr(0, slash);
    if (slash == text.npos) break;
    text.remove_prefix(slash + 1);
  }
  return pattern;
}

bool ServicePattern::Matches(const ServiceEntry& entry) const {
  return Allows(service, entry.fields[0]) && Allows(type, entry.fields[1]);
}

bool ServicePattern::MatchesAttribute(std::string_view name) const {
  return Allows(attribute, name);
}

int FieldIndex(std::string_view name) {
  const auto found = std::find(kServiceFields.begin(), kServiceFields.end(), name);
  return found == kServiceFields.end() ? -1 : static_cast<int>(found - kServiceFields.begin());
}

}  // namespace postfleet::commands
