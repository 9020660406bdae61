// What stands in front of a message in a mailbox.
#pragma once

#include <cstdint>
#include <string>

namespace postfleet::delivery {

// Quoted as in SMTP; the domain stays as it was written. Nothing in it can end a header line.
std::string AddressInHeader(const std::string& address);

// The line that begins a message of an mbox file, with LF. `wall_ms`: when the delivery began.
std::string MboxFromLine(const std::string& sender, int64_t wall_ms);

}  // namespace postfleet::delivery
