// What the parameters of one smtpd service say, as values (postconf(5), smtpd_*).
//
// Every service of master.cf has its own, with its -o values. Read once at start.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/config/restrictions.h"
#include "libs/message/address_rewriting.h"
#include "libs/smtp/command.h"
#include "libs/smtp/data_reader.h"
#include "libs/smtp/ehlo_keywords.h"
#include "libs/smtp/line_reader.h"
#include "libs/tables/fast_flush.h"
#include "services/ingress/core/client_rates.h"
#include "services/ingress/core/content_rules.h"

namespace postfleet::ingress {

class CommandRules;
class HeaderRewriteClients;
class RejectFooter;

using Restrictions = std::vector<config::Restriction>;

struct SessionConfig {
  // Names.
  std::string myhostname = "localhost";
  std::string banner = "localhost ESMTP Postfleet";  // what follows "220 "
  std::string mail_name = "Postfleet";
  std::string service = "smtp";  // of the line about too many connections

  // How incomplete addresses are completed: with $myorigin and $mydomain in envelopes and in
  // headers of local clients, with remote_header_rewrite_domain in headers of others, if it is not
  // empty.
  message::AddressRewriting local_rewriting = {.origin = "localhost", .domain = "localdomain"};
  message::AddressRewriting remote_rewriting;
  bool rewrite_remote_headers = false;
  bool always_add_missing_headers = false;
  std::string undisclosed_recipients_header;
  // Whose headers are local; null: nobody's. It may read tables, so it is no value; sessions of one
  // loop share it.
  std::shared_ptr<HeaderRewriteClients> header_rewrite_clients;
  // Null: no rules, no footer. Shared as header_rewrite_clients.
  std::shared_ptr<CommandRules> command_rules;
  std::shared_ptr<RejectFooter> reject_footer;
  // What ETRN may name; null: nothing.
  std::shared_ptr<tables::FastFlushDomains> flush_domains;

  // Sizes, in bytes. The limit of a message counts its content, our Received included.
  uint64_t message_size_limit = 10'240'000;  // 0: none
  size_t line_length_limit = smtp::kLineBytesMaxDefault;
  size_t header_size_limit = 102'400;
  size_t chunk_bytes = 128 * 1024;  // a longer message is handed on in pieces of this size

  // What clients may do.
  int recipient_limit = 1000;
  int recipient_overshoot_limit = 1000;
  int soft_error_limit = 10;
  int hard_error_limit = 20;
  int junk_command_limit = 100;
  int hopcount_limit = 50;
  ClientLimits client_limits;
  int64_t error_sleep_ms = 1000;
  int64_t in_flow_delay_ms = 1000;  // 0: none
  int64_t timeout_ms = 300'000;
  // timeout_ms is for a whole command or reply, not for each read and write; content moves it on
  // with this many bytes a second.
  bool per_request_deadline = false;
  int64_t min_data_rate = 500;
  bool helo_required = false;
  bool disable_vrfy = false;
  bool forbid_unauth_pipelining = true;
  smtp::BareNewline bare_newline = smtp::BareNewline::kNormalize;
  int bare_newline_reject_code = 550;
  bool replace_stray_cr = true;
  ContentRules content_rules;
  std::vector<std::string> drop_headers = {"bcc", "content-length", "resent-bcc", "return-path"};
  smtp::EhloKeywords discarded_keywords;  // smtpd_discard_ehlo_keywords
  // inet_protocols.
  bool ipv4 = true;
  bool ipv6 = true;
  bool smtputf8 = true;  // smtputf8_enable: it is offered, a command that is not UTF-8 is an error
  bool strict_smtputf8 = false;
  bool allow_min_user = false;
  bool strict_envelopes = false;  // strict_rfc821_envelopes
  bool resolve_null_domain = false;
  bool resolve_numeric_domain = false;
  bool allow_untrusted_routing = false;

  smtp::VerpSyntax verp;

  // What the postmaster is told of (notify_classes): a sum of ErrorClass, and addresses, whole.
  uint32_t notify_classes = 0;
  std::string error_notice_recipient = "postmaster@localhost";
  std::string bounce_notice_recipient = "postmaster@localhost";
  std::string notice_from = "MAILER-DAEMON@localhost";
  std::string double_bounce_sender = "double-bounce@localhost";

  // Access.
  bool delay_reject = true;
  bool reject_unlisted_recipient = true;
  bool relay_before_recipient = true;
  bool show_user_unknown_table_name = true;
  bool soft_bounce = false;
  bool peername_lookup = true;
  bool client_port_logging = false;
  bool delay_open_until_valid_rcpt =
      true;  // a message has its queue id from its first recipient on
  int reject_code = 554;
  int defer_code = 450;
  int relay_code = 554;
  int unknown_local_code = 550;
  int unknown_relay_code = 550;
  int unknown_virtual_mailbox_code = 550;
  int unknown_virtual_alias_code = 550;
  Restrictions client_restrictions;
  Restrictions helo_restrictions;
  Restrictions sender_restrictions;
  Restrictions relay_restrictions;
  Restrictions recipient_restrictions;
  Restrictions data_restrictions;
  Restrictions etrn_restrictions;
  Restrictions end_of_data_restrictions;

  // Errors: an unknown class of notify_classes; a restriction or a kind of
  // local_header_rewrite_clients that is not supported; default_verp_delimiters that are not two;
  // nothing in relay and recipient restrictions
  // that stops an open relay. `config` has the service's overrides.
  static absl::StatusOr<SessionConfig> From(const config::Config& config);
};

}  // namespace postfleet::ingress
