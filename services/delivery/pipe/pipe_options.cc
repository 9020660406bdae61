#include "services/delivery/pipe/pipe_options.h"

#include <optional>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/delivery/core/command_environment.h"
#include "services/delivery/local/accounts.h"

namespace postfleet::delivery {
namespace {

absl::Status Refused(std::string text) { return absl::FailedPreconditionError(text); }

absl::Status CheckRights(const PipeOptions& options, const UserIds& ids) {
  if (ids.uid == 0) return Refused("user= command-line attribute specifies root privileges");
  if (ids.gid == 0) return Refused("user= command-line attribute specifies privileged group id 0");
  SystemAccounts accounts;
  const absl::StatusOr<std::optional<User>> owner = accounts.ByName(options.mail_owner);
  if (!owner.ok()) return owner.status();
  if (*owner && (*owner)->ids.uid == ids.uid) {
    return Refused(
        Concat("user= command-line attribute specifies mail system owner ", options.mail_owner));
  }
  if (*owner && (*owner)->ids.gid == ids.gid) {
    return Refused(Concat("user= command-line attribute specifies mail system owner ",
                          options.mail_owner, " group id ", ids.gid));
  }
  const absl::StatusOr<std::optional<gid_t>> setgid = FindGroup(options.setgid_group);
  if (!setgid.ok()) return setgid.status();
  if (*setgid && **setgid == ids.gid) {
    return Refused(Concat("user= command-line attribute specifies mail system ",
                          options.setgid_group, " group id ", ids.gid));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PipeOptions> PipeOptions::FromConfig(const config::Config& config,
                                                    const config::MasterService& service) {
  PipeOptions options;
  options.program = maillog::ProgramOf(config.GetString("syslog_name"), "pipe");
  options.name = service.name;
  options.master_cf = config.master_cf().path;
  absl::StatusOr<config::PipeService> parsed = config::ParsePipeService(service.arguments);
  if (parsed.ok()) {
    options.service = *std::move(parsed);
  } else {
    options.misconfigured = std::string(parsed.status().message());
  }
  options.directory = config.GetString("queue_directory");
  const absl::StatusOr<CommandEnvironment> environment =
      CommandEnvironment::From(config.GetString("export_environment"),
                               CommandEnvironment::OwnEnvironment(config.directory()));
  if (!environment.ok()) return environment.status();
  options.environment = environment->Strings();
  options.time_limit = std::chrono::seconds(
      absl::ToInt64Seconds(config.GetTime(Concat(service.name, "_time_limit"))));
  options.recipient_delimiter = config.GetString("recipient_delimiter");
  options.soft_bounce = config.GetBool("soft_bounce");
  options.status_filter = {.parameter = "pipe_delivery_status_filter",
                           .program = options.program,
                           .maps = config.GetList("pipe_delivery_status_filter"),
                           .default_table_type = config.GetString("default_database_type")};
  options.mail_owner = config.GetString("mail_owner");
  options.setgid_group = config.GetString("setgid_group");
  return options;
}

absl::StatusOr<UserIds> FindPipeRights(const PipeOptions& options) {
  SystemAccounts accounts;
  const absl::StatusOr<std::optional<User>> user = accounts.ByName(options.service.user);
  if (!user.ok()) return user.status();
  if (!*user) {
    return Refused(Concat("get_service_attr: unknown username: ", options.service.user));
  }
  UserIds ids = (*user)->ids;
  if (!options.service.group.empty()) {
    const absl::StatusOr<std::optional<gid_t>> group = FindGroup(options.service.group);
    if (!group.ok()) return group.status();
    if (!*group) {
      return Refused(Concat("get_service_attr: unknown group: ", options.service.group));
    }
    ids.gid = **group;
  }
  if (const absl::Status status = CheckRights(options, ids); !status.ok()) return status;
  return ids;
}

}  // namespace postfleet::delivery
