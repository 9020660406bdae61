// A service of master.cf that runs pipe, with its parameters.
//
// Its users and groups are looked up when mail is there (PipeRights): a service that nobody uses
// may name users that do not exist, as Debian's stock master.cf does.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/config/pipe_service.h"
#include "services/delivery/core/status_filter.h"
#include "services/delivery/core/user_actions.h"

namespace postfleet::delivery {

struct PipeOptions {
  std::string program = "pipe";  // in log lines
  std::string name = "pipe";     // of master.cf: the relay= of log lines
  std::string master_cf;         // its path, for warnings
  config::PipeService service;
  // What makes all of its mail wait: "unknown flag: Z". Empty: nothing.
  std::string misconfigured;
  std::string directory;  // where a command begins that has none of its own, and no chroot
  std::vector<std::string> environment;  // NAME=VALUE
  std::chrono::seconds time_limit{1000};
  std::string recipient_delimiter;
  bool soft_bounce = false;
  StatusFilterOptions status_filter;
  std::string mail_owner = "postfix";
  std::string setgid_group = "postdrop";

  // `config` has the overrides of `service`. Errors: export_environment that cannot be read.
  static absl::StatusOr<PipeOptions> FromConfig(const config::Config& config,
                                                const config::MasterService& service);
};

// Of user=. Errors: FailedPrecondition where Postfix's pipe would not run, in its words;
// Unavailable where the users cannot be asked. Looks at the system's users, which may block.
absl::StatusOr<UserIds> FindPipeRights(const PipeOptions& options);

}  // namespace postfleet::delivery
