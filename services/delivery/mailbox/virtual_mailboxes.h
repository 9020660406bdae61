// Where a virtual recipient's mailbox is and who owns it: Postfix's virtual(8) tables.
//
//   virtual_mailbox_maps   user+ext@domain, user@domain, @domain -> path below
//   virtual_mailbox_base, ending in "/" (a Maildir) virtual_uid_maps, virtual_gid_maps   the same
//   keys -> numbers; uid at least virtual_minimum_uid, gid above 0
//
// Errors are outcomes, in Postfix's words: no mailbox is bounced, 5.1.1, `unknown user: "x@d"`;
// everything that is wrong with our tables is deferred, 4.3.5, with a warning in the log that says
// what. A path without "/" at its end is an mbox file.
//
// Lookups happen on the caller's thread, which is the delivery loop: right for tables in files and
// memory, which is all there are. A table of a remote server would need a thread of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "libs/config/config.h"
#include "libs/tables/maps.h"
#include "proto/postfleet/mail/v1/mail.pb.h"
#include "services/delivery/core/status_filter.h"
#include "services/delivery/core/user_actions.h"

namespace postfleet::delivery {

struct VirtualOptions {
  std::string program = "virtual";  // in log lines
  std::string service = "virtual";  // of master.cf: the relay= of log lines
  std::string host = "localhost";   // in file names
  std::string base;                 // virtual_mailbox_base; empty: paths are absolute
  std::vector<std::string> mailbox_maps;
  std::vector<std::string> uid_maps;
  std::vector<std::string> gid_maps;
  uid_t minimum_uid = 100;
  uint64_t file_bytes_max = 51200000;  // virtual_mailbox_limit; 0: no limit
  MailboxLocks locks;                  // virtual_mailbox_lock and its kin
  bool strict_mailbox_ownership = true;
  absl::Status problem;  // not OK: what is set cannot be
  std::string recipient_delimiter;
  bool soft_bounce = false;
  StatusFilterOptions status_filter;
  tables::OpenOptions tables;

  static VirtualOptions FromConfig(const config::Config& config);
};

struct Mailbox {
  bool is_mbox = false;
  std::string base;
  std::string path;  // relative
  uid_t uid = 0;
  gid_t gid = 0;
};

class VirtualMailboxes {
 public:
  // What is wrong in a table's specification is warned of here, and makes every recipient deferred.
  explicit VirtualMailboxes(const VirtualOptions& options);

  // `address` as the queue has it, not quoted. The outcome has no recipient number yet.
  std::variant<Mailbox, mail::v1::Outcome> Find(const std::string& address);

 private:
  using Value = std::variant<std::string, mail::v1::Outcome>;
  Value FindNumber(tables::Maps& maps, const char* parameter, const std::string& address);
  std::variant<Mailbox, mail::v1::Outcome> PlaceOf(const std::string& result,
                                                   const std::string& address) const;
  mail::v1::Outcome Misconfigured(const std::string& warning) const;

  const VirtualOptions options_;
  absl::Status opened_;
  tables::Maps mailboxes_;
  tables::Maps uids_;
  tables::Maps gids_;
};

mail::v1::Outcome MakeOutcome(mail::v1::Outcome::Action action, std::string status,
                              std::string text);

}  // namespace postfleet::delivery
