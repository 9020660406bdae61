// What a reload cannot change, as Postfix's master(8) has it for some of these: what the launcher
// did as root before the server began (folders, users, sockets), what a peer or a command finds the
// server by, and what a partition was opened with.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::server {

// `next` with the values of `started` for those parameters. Each of them that differs, and each new
// port of master.cf, gives lines for `ignored`: what is ignored, and that it takes a stop and a
// start. Errors: as of Config::WithOverrides.
absl::StatusOr<config::Config> KeepWhatOnlyAStartChanges(const config::Config& started,
                                                         const config::Config& next,
                                                         std::vector<std::string>* ignored);

}  // namespace postfleet::server
