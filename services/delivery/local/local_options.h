// The parameters of local(8).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/message/address_rewriting.h"
#include "libs/tables/table.h"
#include "services/delivery/core/status_filter.h"
#include "services/delivery/core/user_actions.h"

namespace postfleet::delivery {

// Where a destination was written down. Sets of them are sums.
enum class Origin { kNone = 0, kAlias = 1, kForward = 2, kInclude = 4 };

struct LocalOptions {
  std::string program = "local";  // in log lines
  std::string service = "local";  // of master.cf: the transport, and relay= of log lines
  std::string host = "localhost";

  std::vector<std::string> alias_maps;
  std::vector<std::string> mailbox_command_maps;
  std::vector<std::string> mailbox_transport_maps;
  std::vector<std::string> fallback_transport_maps;
  tables::OpenOptions tables;

  std::string recipient_delimiter;
  bool owner_request_special = true;
  bool expand_owner_alias = false;
  bool reset_owner_alias = false;
  bool frozen_delivered_to = true;
  // Origins.
  int extensions_go_to = 0;  // propagate_unmatched_extensions
  int commands_from = 3;     // allow_mail_to_commands
  int files_from = 3;        // allow_mail_to_files
  // prepend_delivered_header
  bool delivered_to_commands = true;
  bool delivered_to_files = true;
  bool delivered_to_forwards = true;

  std::string forward_path;
  std::string forward_expansion_filter;
  std::string mailbox_transport;
  std::string mailbox_command;
  std::string home_mailbox;
  std::string mail_spool_directory = "/var/mail";
  std::string fallback_transport;
  std::string luser_relay;
  size_t duplicates_max = 1000;  // duplicate_filter_limit; 0: no limit
  size_t line_bytes_max = 2048;  // line_length_limit

  bool require_home_directory = false;
  bool strict_mailbox_ownership = true;
  UserIds default_rights;  // default_privs
  // Why nothing may act with them: they are the mail system's own.
  std::string default_rights_fault;
  uint64_t mailbox_bytes_max = 51200000;  // mailbox_size_limit; 0: no limit
  MailboxLocks locks;

  std::string command_shell;
  std::string command_directory;  // command_execution_directory
  std::string command_directory_filter;
  std::string command_filter;  // command_expansion_filter
  std::string export_environment;
  std::string config_directory;
  std::chrono::seconds command_time_limit{1000};

  message::AddressRewriting rewriting;  // of senders that owner- aliases give
  bool soft_bounce = false;
  StatusFilterOptions status_filter;

  // Why no mail may be delivered: mailbox_size_limit is below message_size_limit. Empty: it may.
  std::string fault;

  // Errors, in Postfix's words: a word that a list of origins does not know, users that
  // default_privs must not be.
  static absl::StatusOr<LocalOptions> FromConfig(const config::Config& config);
};

}  // namespace postfleet::delivery
