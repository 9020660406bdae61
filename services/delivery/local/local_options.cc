#include "services/delivery/local/local_options.h"

#include <pwd.h>

#include <utility>

#include "libs/base/concat.h"
#include "services/delivery/core/command_environment.h"
#include "services/delivery/local/accounts.h"

namespace postfleet::delivery {
namespace {

using config::Config;

struct Word {
  std::string_view word;
  int value;
};

constexpr Word kOrigins[] = {{"alias", static_cast<int>(Origin::kAlias)},
                             {"forward", static_cast<int>(Origin::kForward)},
                             {"include", static_cast<int>(Origin::kInclude)}};
// Others of propagate_unmatched_extensions are other programs'.
constexpr Word kExtensionTables[] = {{"canonical", 0},
                                     {"virtual", 0},
                                     {"generic", 0},
                                     {"alias", static_cast<int>(Origin::kAlias)},
                                     {"forward", static_cast<int>(Origin::kForward)},
                                     {"include", static_cast<int>(Origin::kInclude)}};
constexpr int kCommands = 1, kFiles = 2, kForwards = 4;
constexpr Word kDeliveredTo[] = {{"command", kCommands}, {"file", kFiles}, {"forward", kForwards}};

constexpr int kFcntl = 1, kFlock = 2, kDotlock = 4;
constexpr Word kLocks[] = {{"fcntl", kFcntl}, {"flock", kFlock}, {"dotlock", kDotlock}};

template <size_t N>
absl::StatusOr<int> SumOf(const Config& config, const char* parameter, const Word (&words)[N]) {
  int sum = 0;
  for (const std::string& item : config.GetList(parameter)) {
    bool found = false;
    for (const Word& word : words) {
      if (word.word != item) continue;
      sum |= word.value;
      found = true;
    }
    if (!found) {
      return absl::InvalidArgumentError(Concat("unknown ", parameter, " value \"", item, "\" in \"",
                                               config.GetString(parameter), "\""));
    }
  }
  return sum;
}

absl::Status ReadOrigins(const Config& config, LocalOptions* options) {
  const auto commands = SumOf(config, "allow_mail_to_commands", kOrigins);
  const auto files = SumOf(config, "allow_mail_to_files", kOrigins);
  const auto extensions = SumOf(config, "propagate_unmatched_extensions", kExtensionTables);
  const auto delivered = SumOf(config, "prepend_delivered_header", kDeliveredTo);
  const auto locks = SumOf(config, "mailbox_delivery_lock", kLocks);
  for (const auto* sum : {&commands, &files, &extensions, &delivered, &locks}) {
    if (!sum->ok()) return sum->status();
  }
  options->commands_from = *commands;
  options->files_from = *files;
  options->extensions_go_to = *extensions;
  options->delivered_to_commands = (*delivered & kCommands) != 0;
  options->delivered_to_files = (*delivered & kFiles) != 0;
  options->delivered_to_forwards = (*delivered & kForwards) != 0;
  options->locks.fcntl = (*locks & kFcntl) != 0;
  options->locks.flock = (*locks & kFlock) != 0;
  options->locks.dotlock = (*locks & kDotlock) != 0;
  return absl::OkStatus();
}

absl::Status ReadDefaultRights(const Config& config, LocalOptions* options) {
  const std::string name = config.GetString("default_privs");
  const std::string where =
      Concat("file ", config.directory(), "/main.cf: parameter default_privs: ");
  SystemAccounts accounts;
  const auto user = accounts.ByName(name);
  if (!user.ok() || !*user) {
    return absl::InvalidArgumentError(Concat(where, "unknown user name value: ", name));
  }
  options->default_rights = (*user)->ids;
  if (options->default_rights.uid == 0 || options->default_rights.gid == 0) {
    return absl::InvalidArgumentError(Concat(where, "user ", name, " has privileged ",
                                             options->default_rights.uid == 0 ? "user" : "group",
                                             " ID"));
  }
  const auto mail_owner = accounts.ByName(config.GetString("mail_owner"));
  if (mail_owner.ok() && *mail_owner && (*mail_owner)->ids.uid == options->default_rights.uid) {
    options->default_rights_fault =
        Concat("parameters default_privs and mail_owner specify the same user ", name);
  }
  return absl::OkStatus();
}

void ReadTables(const Config& config, LocalOptions* options) {
  options->alias_maps = config.GetList("alias_maps");
  options->mailbox_command_maps = config.GetList("mailbox_command_maps");
  options->mailbox_transport_maps = config.GetList("mailbox_transport_maps");
  options->fallback_transport_maps = config.GetList("fallback_transport_maps");
  options->tables.default_type = config.GetString("default_database_type");
  options->tables.allow_substitution = false;
  options->status_filter = {.parameter = "local_delivery_status_filter",
                            .program = options->program,
                            .maps = config.GetList("local_delivery_status_filter"),
                            .default_table_type = options->tables.default_type};
}

absl::Status ReadCommands(const Config& config, LocalOptions* options) {
  options->command_shell = config.GetString("local_command_shell");
  options->command_directory = config.FindRaw("command_execution_directory").value_or("");
  options->command_directory_filter = config.GetString("execution_directory_expansion_filter");
  options->command_filter = config.GetString("command_expansion_filter");
  options->export_environment = config.GetString("export_environment");
  options->config_directory = config.directory();
  options->command_time_limit =
      std::chrono::seconds(absl::ToInt64Seconds(config.GetTime("command_time_limit")));
  const auto environment = CommandEnvironment::From(
      options->export_environment, CommandEnvironment::OwnEnvironment(options->config_directory));
  return environment.status();
}

void ReadMailboxes(const Config& config, LocalOptions* options) {
  options->mailbox_transport = config.GetString("mailbox_transport");
  options->mailbox_command = config.FindRaw("mailbox_command").value_or("");
  options->home_mailbox = config.GetString("home_mailbox");
  options->mail_spool_directory = config.GetString("mail_spool_directory");
  options->fallback_transport = config.GetString("fallback_transport");
  options->luser_relay = config.FindRaw("luser_relay").value_or("");
  options->require_home_directory = config.GetBool("require_home_directory");
  options->strict_mailbox_ownership = config.GetBool("strict_mailbox_ownership");
  options->mailbox_bytes_max = static_cast<uint64_t>(config.GetInt("mailbox_size_limit"));
  options->locks.tries = static_cast<int>(config.GetInt("deliver_lock_attempts"));
  options->locks.delay =
      std::chrono::seconds(absl::ToInt64Seconds(config.GetTime("deliver_lock_delay")));
  options->locks.stale_after =
      std::chrono::seconds(absl::ToInt64Seconds(config.GetTime("stale_lock_time")));
}

}  // namespace

absl::StatusOr<LocalOptions> LocalOptions::FromConfig(const Config& config) {
  LocalOptions options;
  options.host = config.GetString("myhostname");
  ReadTables(config, &options);
  ReadMailboxes(config, &options);
  if (const absl::Status status = ReadCommands(config, &options); !status.ok()) return status;
  options.recipient_delimiter = config.GetString("recipient_delimiter");
  options.owner_request_special = config.GetBool("owner_request_special");
  options.expand_owner_alias = config.GetBool("expand_owner_alias");
  options.reset_owner_alias = config.GetBool("reset_owner_alias");
  options.frozen_delivered_to = config.GetBool("frozen_delivered_to");
  options.forward_path = config.FindRaw("forward_path").value_or("");
  options.forward_expansion_filter = config.GetString("forward_expansion_filter");
  options.duplicates_max = static_cast<size_t>(config.GetInt("duplicate_filter_limit"));
  options.line_bytes_max = static_cast<size_t>(config.GetInt("line_length_limit"));
  options.soft_bounce = config.GetBool("soft_bounce");
  options.rewriting = {
      .origin = config.GetString("myorigin"),
      .domain = config.GetString("mydomain"),
      .append_at_origin = config.GetBool("append_at_myorigin"),
      .append_dot_domain = config.GetBool("append_dot_mydomain"),
      .swap_bangpath = config.GetBool("swap_bangpath"),
      .percent_hack = config.GetBool("allow_percent_hack"),
      .tokens_max = static_cast<size_t>(config.GetInt("header_address_token_limit"))};
  if (const absl::Status status = ReadOrigins(config, &options); !status.ok()) return status;
  if (const absl::Status status = ReadDefaultRights(config, &options); !status.ok()) return status;
  const auto message_bytes_max = static_cast<uint64_t>(config.GetSize("message_size_limit"));
  if (options.mailbox_bytes_max != 0 &&
      (message_bytes_max == 0 || options.mailbox_bytes_max < message_bytes_max)) {
    options.fault =
        "main.cf configuration error: mailbox_size_limit is smaller than message_size_limit";
  }
  return options;
}

}  // namespace postfleet::delivery
