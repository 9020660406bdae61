// `postfix logrotate`: maillog_file gets a name with maillog_file_rotate_suffix (strftime) behind
// it, a new one takes its place, and the old one is compressed by maillog_file_compressor, once no
// server writes to it any more.
//
// Errors: why not, as in "empty 'maillog_file' parameter value - logfile rotation failed", "not
// rotating '/dev/stdout'", "logfile '...' rotation failed: ...".
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// `open_new` makes the new file and has the servers open it; they have a second for that.
absl::Status RotateLog(const config::Config& config, const std::function<absl::Status()>& open_new);

}  // namespace postfleet::commands
