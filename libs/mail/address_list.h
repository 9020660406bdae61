// The addresses of a list, wherever one stands: in a header field (RFC 5322, 3.4) and, as people
// write them there, in MAIL and RCPT.
//
// Read as Postfix reads it, from the end to the start, which is far laxer than the grammar: nothing
// is refused, words that follow one another without a comma are addresses of their own, a name in
// front of brackets is set aside, comments inside an address move behind it.
#pragma once

#include <functional>

#include "libs/mail/address_tokens.h"

namespace postfleet::mail {

// One address of a list; it is left as one token. True: another than it was.
using AddressEdit = std::function<bool(AddressTokens* address)>;

// The list with its addresses edited, from the last to the first: what `edit` leaves of each, all
// other tokens as they were, commas where they lacked. True: some address changed.
bool EditAddresses(AddressTokens list, const AddressEdit& edit, AddressTokens* edited);

}  // namespace postfleet::mail
