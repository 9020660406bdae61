// Internationalized domain names (RFC 5890, 5891; UTS 46) for queries: DNS knows A-labels alone.
#pragma once

#include <string>
#include <string_view>

namespace postfleet::dns {

// The name with each label that has bytes over 127 as A-label ("b\u00fccher.example" is
// "xn--bcher-kva.example"), in lower case. ASCII names, and what cannot be converted (no UTF-8, a
// forbidden character, a label or name that gets too long), come back as they are: the resolver
// refuses the latter as kBadName.
std::string AsciiName(std::string_view name);

}  // namespace postfleet::dns
