// Names and order of destinations, as Postfix's queue manager makes them.
#pragma once

#include <string>
#include <string_view>

namespace postfleet::scheduler {

// The name under which concurrency is counted, in lower case: the nexthop, or where the transport
// takes one recipient a delivery: localpart@nexthop, without the address extension.
std::string DestinationName(std::string_view nexthop, std::string_view recipient,
                            bool one_recipient, std::string_view recipient_delimiter);

// Whether `a` is delivered before `b` within one destination: by domain, then by localpart, without
// regard to case.
bool RecipientBefore(std::string_view a, std::string_view b);

// "5.1.1 User unknown" -> "5.1.1" and "User unknown". Without a status code of class `klass` ('2',
// '4', '5') in front: `klass`.0.0, and a code of another class is dropped.
struct StatusText {
  std::string status;
  std::string text;
};
StatusText SplitStatus(std::string_view text, char klass);

// `status` if it is an enhanced status code (RFC 3463) of class `klass`, else `klass`.0.0.
std::string StatusOfClass(std::string_view status, char klass);

}  // namespace postfleet::scheduler
