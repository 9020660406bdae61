#include "services/ingress/core/session_config.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/message/header.h"
#include "services/ingress/core/command_rules.h"
#include "services/ingress/core/header_rewrite_clients.h"
#include "services/ingress/core/reject_footer.h"
#include "services/ingress/core/session_transcript.h"

namespace postfleet::ingress {
namespace {

using config::Config;

absl::Status ReadRestrictions(const Config& config, SessionConfig* session) {
  const struct {
    std::string_view parameter;
    Restrictions* list;
  } rows[] = {
      {"smtpd_client_restrictions", &session->client_restrictions},
      {"smtpd_helo_restrictions", &session->helo_restrictions},
      {"smtpd_sender_restrictions", &session->sender_restrictions},
      {"smtpd_relay_restrictions", &session->relay_restrictions},
      {"smtpd_recipient_restrictions", &session->recipient_restrictions},
      {"smtpd_data_restrictions", &session->data_restrictions},
      {"smtpd_end_of_data_restrictions", &session->end_of_data_restrictions},
      {"smtpd_etrn_restrictions", &session->etrn_restrictions},
  };
  for (const auto& row : rows) {
    absl::StatusOr<Restrictions> list =
        config::ParseRestrictions(row.parameter, config.GetString(row.parameter));
    if (!list.ok()) return list.status();
    *row.list = *std::move(list);
  }
  return config::CheckForeignRelay(session->relay_restrictions, session->recipient_restrictions);
}

void ReadNames(const Config& config, SessionConfig* session) {
  session->myhostname = config.GetString("myhostname");
  session->banner = config.GetString("smtpd_banner");
  session->mail_name = config.GetString("mail_name");
}

absl::Status ReadRewriting(const Config& config, SessionConfig* session) {
  message::AddressRewriting rules = {
      .origin = config.GetString("myorigin"),
      .domain = config.GetString("mydomain"),
      .append_at_origin = config.GetBool("append_at_myorigin"),
      .append_dot_domain = config.GetBool("append_dot_mydomain"),
      .swap_bangpath = config.GetBool("swap_bangpath"),
      .percent_hack = config.GetBool("allow_percent_hack"),
      .tokens_max = static_cast<size_t>(config.GetInt("header_address_token_limit"))};
  session->local_rewriting = rules;
  rules.origin = rules.domain = config.GetString("remote_header_rewrite_domain");
  session->rewrite_remote_headers = !rules.origin.empty();
  session->remote_rewriting = std::move(rules);
  session->always_add_missing_headers = config.GetBool("always_add_missing_headers");
  std::string& header = session->undisclosed_recipients_header;
  header = config.GetString("undisclosed_recipients_header");
  if (!header.empty() && message::FieldNameLength(header) == 0) {
    return absl::InvalidArgumentError(Concat("bad undisclosed_recipients_header header text \"",
                                             header, "\" -- need \"headername: headervalue\""));
  }
  absl::StatusOr<HeaderRewriteClients> clients = HeaderRewriteClients::Open(config);
  if (!clients.ok()) return clients.status();
  session->header_rewrite_clients = std::make_shared<HeaderRewriteClients>(*std::move(clients));
  return absl::OkStatus();
}

// Behind ReadRewriting: mail of our own is completed as local mail is.
absl::Status ReadNotices(const Config& config, SessionConfig* session) {
  const auto complete = [session](const std::string& address) {
    return message::CompleteAddress(session->local_rewriting, mail::SplitAddress(address));
  };
  const absl::StatusOr<uint32_t> classes = ErrorClassesOf(config.GetList("notify_classes"));
  if (!classes.ok()) return classes.status();
  session->notify_classes = *classes;
  session->error_notice_recipient = complete(config.GetString("error_notice_recipient"));
  session->bounce_notice_recipient = complete(config.GetString("bounce_notice_recipient"));
  session->notice_from = complete("MAILER-DAEMON");
  session->double_bounce_sender = complete(config.GetString("double_bounce_sender"));
  return absl::OkStatus();
}

absl::Status ReadTables(const Config& config, SessionConfig* session) {
  absl::StatusOr<CommandRules> rules = CommandRules::Open(config);
  if (!rules.ok()) return rules.status();
  session->command_rules = std::make_shared<CommandRules>(*std::move(rules));
  absl::StatusOr<RejectFooter> footer = RejectFooter::Open(config);
  if (!footer.ok()) return footer.status();
  if (!footer->empty()) session->reject_footer = std::make_shared<RejectFooter>(*std::move(footer));
  absl::StatusOr<tables::FastFlushDomains> sites = tables::FastFlushDomains::Open(config);
  if (!sites.ok()) return sites.status();
  session->flush_domains = std::make_shared<tables::FastFlushDomains>(*std::move(sites));
  return absl::OkStatus();
}

// Postfix's bound (postconf(5)).
constexpr absl::Duration kInFlowDelayMax = absl::Seconds(10);

absl::Status ReadInFlowDelay(const Config& config, SessionConfig* session) {
  const absl::Duration delay = config.GetTime("in_flow_delay");
  if (delay > kInFlowDelayMax) {
    return absl::InvalidArgumentError(Concat("invalid in_flow_delay parameter value ",
                                             absl::ToInt64Seconds(delay), " > ",
                                             absl::ToInt64Seconds(kInFlowDelayMax)));
  }
  session->in_flow_delay_ms = absl::ToInt64Milliseconds(delay);
  return absl::OkStatus();
}

absl::Status ReadVerp(const Config& config, SessionConfig* session) {
  session->verp = {.default_delimiters = config.GetString("default_verp_delimiters"),
                   .filter = config.GetString("verp_delimiter_filter")};
  const std::string& delimiters = session->verp.default_delimiters;
  if (delimiters.size() == smtp::kVerpDelimiters) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("bad string length ", delimiters.size(),
             delimiters.size() < smtp::kVerpDelimiters ? " < " : " > ", smtp::kVerpDelimiters,
             ": default_verp_delimiters = ", delimiters));
}

void ReadLimits(const Config& config, SessionConfig* session) {
  const auto integer = [&config](std::string_view name) {
    return static_cast<int>(config.GetInt(name));
  };
  session->message_size_limit = static_cast<uint64_t>(config.GetSize("message_size_limit"));
  session->line_length_limit = static_cast<size_t>(config.GetInt("line_length_limit"));
  session->header_size_limit = static_cast<size_t>(config.GetSize("header_size_limit"));
  session->recipient_limit = integer("smtpd_recipient_limit");
  session->recipient_overshoot_limit = integer("smtpd_recipient_overshoot_limit");
  session->soft_error_limit = integer("smtpd_soft_error_limit");
  session->hard_error_limit = integer("smtpd_hard_error_limit");
  session->junk_command_limit = integer("smtpd_junk_command_limit");
  session->hopcount_limit = integer("hopcount_limit");
  session->client_limits = {
      .connection_count = integer("smtpd_client_connection_count_limit"),
      .connection_rate = integer("smtpd_client_connection_rate_limit"),
      .message_rate = integer("smtpd_client_message_rate_limit"),
      .recipient_rate = integer("smtpd_client_recipient_rate_limit"),
      .unit_ms = absl::ToInt64Milliseconds(config.GetTime("anvil_rate_time_unit"))};
  session->error_sleep_ms = absl::ToInt64Milliseconds(config.GetTime("smtpd_error_sleep_time"));
  session->timeout_ms = absl::ToInt64Milliseconds(config.GetTime("smtpd_timeout"));
  session->per_request_deadline = config.GetBool("smtpd_per_request_deadline");
  session->min_data_rate = config.GetInt("smtpd_min_data_rate");
}

void ReadManners(const Config& config, SessionConfig* session) {
  session->helo_required = config.GetBool("smtpd_helo_required");
  session->disable_vrfy = config.GetBool("disable_vrfy_command");
  session->forbid_unauth_pipelining = config.GetBool("smtpd_forbid_unauth_pipelining");
  smtp::ParseBareNewline(config.GetString("smtpd_forbid_bare_newline"), &session->bare_newline);
  session->bare_newline_reject_code =
      static_cast<int>(config.GetInt("smtpd_forbid_bare_newline_reject_code"));
  session->replace_stray_cr = config.GetBool("cleanup_replace_stray_cr_lf");
  session->drop_headers = config.GetList("message_drop_headers");
  for (std::string& name : session->drop_headers) mail::LowerCaseAscii(&name);
  const std::vector<std::string> protocols = config.GetList("inet_protocols");
  const auto in_use = [&protocols](std::string_view name) {
    return std::any_of(protocols.begin(), protocols.end(), [name](const std::string& protocol) {
      const std::string word = mail::LowerCasedAscii(protocol);
      return word == name || word == "all";
    });
  };
  session->ipv4 = in_use("ipv4");
  session->ipv6 = in_use("ipv6");
  session->smtputf8 = config.GetBool("smtputf8_enable");
  session->strict_smtputf8 = config.GetBool("strict_smtputf8");
  session->allow_min_user = config.GetBool("allow_min_user");
  session->strict_envelopes = config.GetBool("strict_rfc821_envelopes");
  session->resolve_null_domain = config.GetBool("resolve_null_domain");
  session->resolve_numeric_domain = config.GetBool("resolve_numeric_domain");
  session->allow_untrusted_routing = config.GetBool("allow_untrusted_routing");
  session->discarded_keywords = smtp::EhloKeywords(config.GetString("smtpd_discard_ehlo_keywords"));
  session->delay_open_until_valid_rcpt = config.GetBool("smtpd_delay_open_until_valid_rcpt");
}

void ReadAccess(const Config& config, SessionConfig* session) {
  const auto code = [&config](std::string_view name) {
    return static_cast<int>(config.GetInt(name));
  };
  session->delay_reject = config.GetBool("smtpd_delay_reject");
  session->reject_unlisted_recipient = config.GetBool("smtpd_reject_unlisted_recipient");
  session->relay_before_recipient = config.GetBool("smtpd_relay_before_recipient_restrictions");
  session->show_user_unknown_table_name = config.GetBool("show_user_unknown_table_name");
  session->soft_bounce = config.GetBool("soft_bounce");
  session->peername_lookup = config.GetBool("smtpd_peername_lookup");
  session->client_port_logging = config.GetBool("smtpd_client_port_logging");
  session->reject_code = code("reject_code");
  session->defer_code = code("defer_code");
  session->relay_code = code("relay_domains_reject_code");
  session->unknown_local_code = code("unknown_local_recipient_reject_code");
  session->unknown_relay_code = code("unknown_relay_recipient_reject_code");
  session->unknown_virtual_mailbox_code = code("unknown_virtual_mailbox_reject_code");
}

}  // namespace

absl::StatusOr<SessionConfig> SessionConfig::From(const Config& config) {
  SessionConfig session;
  ReadNames(config, &session);
  ReadLimits(config, &session);
  ReadManners(config, &session);
  ReadAccess(config, &session);
  if (absl::Status status = ReadInFlowDelay(config, &session); !status.ok()) return status;
  if (absl::Status status = ReadVerp(config, &session); !status.ok()) return status;
  if (absl::Status status = ReadRewriting(config, &session); !status.ok()) return status;
  if (absl::Status status = ReadNotices(config, &session); !status.ok()) return status;
  absl::StatusOr<ContentRules> content_rules = ContentRules::From(config);
  if (!content_rules.ok()) return content_rules.status();
  session.content_rules = *std::move(content_rules);
  if (absl::Status status = ReadRestrictions(config, &session); !status.ok()) return status;
  if (absl::Status status = ReadTables(config, &session); !status.ok()) return status;
  return session;
}

}  // namespace postfleet::ingress
