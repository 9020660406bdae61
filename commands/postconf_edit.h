// `postconf -e`, -X and -#: main.cf and master.cf are written anew and renamed into place, with the
// owner and mode that they had.
#pragma once

#include "commands/console.h"
#include "commands/postconf_request.h"

namespace postfleet::commands {

// Returns the exit status.
int EditConfiguration(const PostconfRequest& request, Console& console);

}  // namespace postfleet::commands
