// The values of aliases(5), .forward and :include: files.
//
// Read as the addresses of a header are (libs/mail/address_list.h), as Postfix does: words without
// a comma between them are two destinations, quotes hold one together, comments and names go. Pure;
// cannot fail.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace postfleet::delivery {

struct Destination {
  enum class Kind {
    kAddress,  // as it is written, in internal form: not completed
    kFile,     // "/file/name", absolute
    kHome,     // "~/name", "~user/name"
    kCommand,  // behind the "|"
    kInclude,  // behind ":include:"
  };
  Kind kind = Kind::kAddress;
  std::string text;

  friend bool operator==(const Destination&, const Destination&) = default;
};

// In their order.
std::vector<Destination> ReadDestinations(std::string_view text);

}  // namespace postfleet::delivery
