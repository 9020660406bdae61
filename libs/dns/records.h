// Resource data as it stands on the wire (RFC 1035, 3.3.9; RFC 3596) to records. Whoever answers is
// not trusted.
#pragma once

#include <string_view>
#include <vector>

#include "libs/dns/resolver.h"

namespace postfleet::dns {

// kFound with what of `rdata` can be used (kRecordsMax are looked at), or kMalformed. Names in
// `rdata` are not compressed.
Answer ParseRecords(Type type, const std::vector<std::string_view>& rdata);

}  // namespace postfleet::dns
