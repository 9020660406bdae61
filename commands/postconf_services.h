// `postconf -M`, -F and -P: the entries of master.cf, their fields and their parameters.
#pragma once

#include "commands/console.h"
#include "commands/postconf_request.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// `config`: what -x expands with. Returns the exit status.
int ShowServices(const PostconfRequest& request, const config::Config& config, Console& console);

}  // namespace postfleet::commands
