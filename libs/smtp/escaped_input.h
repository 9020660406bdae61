// What a peer sent, for a line of the log, as Postfix escapes it: printable ASCII stays, the rest
// is \r, \n, \t, \\ or \ooo. Up to four times as long.
#pragma once

#include <string>
#include <string_view>

namespace postfleet::smtp {

std::string EscapedInput(std::string_view text);

}  // namespace postfleet::smtp
