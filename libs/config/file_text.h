// Reads a configuration file or text table whole.
//
// Errors (absl::Status by errno): "open PATH: No such file or directory" and the like; a directory
// is "read PATH: Is a directory".
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace postfleet::config {

absl::StatusOr<std::string> ReadFileText(const std::string& path);

}  // namespace postfleet::config
