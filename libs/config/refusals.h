// What Load refuses although it is well formed: mail would be handled less safely than the
// administrator asked, or not at all. Internal to libs/config.
//
// Errors: InvalidArgument with the parameter, what is wrong, what to do, and where it is set.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "libs/config/config_values.h"
#include "libs/config/parameters.h"

namespace postfleet::config {

// `settings` (those of main.cf, or one service's -o) ask for no protection that is not there: see
// ParameterStatus::kProtective.
absl::Status CheckProtections(const ConfigValues& values, const Settings& settings);

// Every table that the row's value names is of a type that exists. `value` is expanded.
absl::Status CheckTables(const ConfigValues& values, const Parameter& row, std::string_view value);

// maillog_file lies in a folder of maillog_file_prefixes: a file there may be created, written and
// given to mail_owner by root.
absl::Status CheckLogFile(const ConfigValues& values);

}  // namespace postfleet::config
