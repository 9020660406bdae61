// postconf(1): prints and edits what main.cf and master.cf say.
//
//   postconf [-d|-n] [-fhHqx] [-C CLASS,...] [-o NAME=VALUE] [NAME...]     parameters
//   postconf -M|-F|-P [-fhHx] [SERVICE...]                                services
//   postconf [-M|-F|-P] -e|-X|-# ...                                      edits a file
//   postconf -a|-A|-l|-m|-T MODE                                          what is built in
//   postconf -b|-t [FILE]                                                 the texts of notices
//
// Without names: all of the parameter table, what main.cf defines besides, and what the delivery
// agents of master.cf have. A name that nobody knows is a warning. What would stop the start is a
// warning too, when all parameters are printed. -a, -A and -T print nothing: there is neither SASL
// nor TLS. -q is silent about names that nobody reads, and about parameters that are not supported.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostconf(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
