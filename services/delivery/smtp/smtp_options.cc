#include "services/delivery/smtp/smtp_options.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"

namespace postfleet::delivery::smtp {
namespace {

// The same thing under two names.
struct Names {
  const char* connect_timeout;
  const char* helo_timeout;
  const char* mail_timeout;
  const char* rcpt_timeout;
  const char* data_init_timeout;
  const char* data_xfer_timeout;
  const char* data_done_timeout;
  const char* rset_timeout;
  const char* quit_timeout;
  const char* per_request_deadline;
  const char* min_data_rate;
  const char* tcp_port;
  const char* helo_name;
  const char* fallback_relay;
  const char* host_lookup;
  const char* dns_support_level;
  const char* bind_address;
  const char* bind_address6;
  const char* bind_address_enforce;
  const char* address_preference;
  const char* balance_inet_protocols;
  const char* randomize_addresses;
  const char* mx_address_limit;
  const char* mx_session_limit;
  const char* defer_if_no_mx_address_found;
  const char* cname_overrides_servername;
  const char* skip_5xx_greeting;
  const char* line_length_limit;
  const char* skip_quit_response;
  const char* connection_cache_on_demand;
  const char* connection_cache_destinations;
  const char* connection_cache_time_limit;
  const char* connection_reuse_time_limit;
  const char* connection_reuse_count_limit;
  const char* xforward_timeout;
  const char* discard_keywords;
  const char* discard_keyword_maps;
  const char* pix_workarounds;
  const char* pix_workaround_maps;
  const char* pix_threshold;
  const char* pix_delay;
  const char* reply_filter;
  const char* quote_envelope;
  const char* send_xforward;
  const char* status_filter;
};

constexpr Names kSmtpNames = {.connect_timeout = "smtp_connect_timeout",
                              .helo_timeout = "smtp_helo_timeout",
                              .mail_timeout = "smtp_mail_timeout",
                              .rcpt_timeout = "smtp_rcpt_timeout",
                              .data_init_timeout = "smtp_data_init_timeout",
                              .data_xfer_timeout = "smtp_data_xfer_timeout",
                              .data_done_timeout = "smtp_data_done_timeout",
                              .rset_timeout = "smtp_rset_timeout",
                              .quit_timeout = "smtp_quit_timeout",
                              .per_request_deadline = "smtp_per_request_deadline",
                              .min_data_rate = "smtp_min_data_rate",
                              .tcp_port = "smtp_tcp_port",
                              .helo_name = "smtp_helo_name",
                              .fallback_relay = "smtp_fallback_relay",
                              .host_lookup = "smtp_host_lookup",
                              .dns_support_level = "smtp_dns_support_level",
                              .bind_address = "smtp_bind_address",
                              .bind_address6 = "smtp_bind_address6",
                              .bind_address_enforce = "smtp_bind_address_enforce",
                              .address_preference = "smtp_address_preference",
                              .balance_inet_protocols = "smtp_balance_inet_protocols",
                              .randomize_addresses = "smtp_randomize_addresses",
                              .mx_address_limit = "smtp_mx_address_limit",
                              .mx_session_limit = "smtp_mx_session_limit",
                              .defer_if_no_mx_address_found = "smtp_defer_if_no_mx_address_found",
                              .cname_overrides_servername = "smtp_cname_overrides_servername",
                              .skip_5xx_greeting = "smtp_skip_5xx_greeting",
                              .line_length_limit = "smtp_line_length_limit",
                              .skip_quit_response = "smtp_skip_quit_response",
                              .connection_cache_on_demand = "smtp_connection_cache_on_demand",
                              .connection_cache_destinations = "smtp_connection_cache_destinations",
                              .connection_cache_time_limit = "smtp_connection_cache_time_limit",
                              .connection_reuse_time_limit = "smtp_connection_reuse_time_limit",
                              .connection_reuse_count_limit = "smtp_connection_reuse_count_limit",
                              .xforward_timeout = "smtp_xforward_timeout",
                              .discard_keywords = "smtp_discard_ehlo_keywords",
                              .discard_keyword_maps = "smtp_discard_ehlo_keyword_address_maps",
                              .pix_workarounds = "smtp_pix_workarounds",
                              .pix_workaround_maps = "smtp_pix_workaround_maps",
                              .pix_threshold = "smtp_pix_workaround_threshold_time",
                              .pix_delay = "smtp_pix_workaround_delay_time",
                              .reply_filter = "smtp_reply_filter",
                              .quote_envelope = "smtp_quote_rfc821_envelope",
                              .send_xforward = "smtp_send_xforward_command",
                              .status_filter = "smtp_delivery_status_filter"};

constexpr Names kLmtpNames = {.connect_timeout = "lmtp_connect_timeout",
                              .helo_timeout = "lmtp_lhlo_timeout",
                              .mail_timeout = "lmtp_mail_timeout",
                              .rcpt_timeout = "lmtp_rcpt_timeout",
                              .data_init_timeout = "lmtp_data_init_timeout",
                              .data_xfer_timeout = "lmtp_data_xfer_timeout",
                              .data_done_timeout = "lmtp_data_done_timeout",
                              .rset_timeout = "lmtp_rset_timeout",
                              .quit_timeout = "lmtp_quit_timeout",
                              .per_request_deadline = "lmtp_per_request_deadline",
                              .min_data_rate = "lmtp_min_data_rate",
                              .tcp_port = "lmtp_tcp_port",
                              .helo_name = "lmtp_lhlo_name",
                              .fallback_relay = "lmtp_fallback_relay",
                              .host_lookup = "lmtp_host_lookup",
                              .dns_support_level = "lmtp_dns_support_level",
                              .bind_address = "lmtp_bind_address",
                              .bind_address6 = "lmtp_bind_address6",
                              .bind_address_enforce = "lmtp_bind_address_enforce",
                              .address_preference = "lmtp_address_preference",
                              .balance_inet_protocols = "lmtp_balance_inet_protocols",
                              .randomize_addresses = "lmtp_randomize_addresses",
                              .mx_address_limit = "lmtp_mx_address_limit",
                              .mx_session_limit = "lmtp_mx_session_limit",
                              .defer_if_no_mx_address_found = "lmtp_defer_if_no_mx_address_found",
                              .cname_overrides_servername = "lmtp_cname_overrides_servername",
                              .skip_5xx_greeting = "lmtp_skip_5xx_greeting",
                              .line_length_limit = "lmtp_line_length_limit",
                              .skip_quit_response = "lmtp_skip_quit_response",
                              .connection_cache_on_demand = "lmtp_connection_cache_on_demand",
                              .connection_cache_destinations = "lmtp_connection_cache_destinations",
                              .connection_cache_time_limit = "lmtp_connection_cache_time_limit",
                              .connection_reuse_time_limit = "lmtp_connection_reuse_time_limit",
                              .connection_reuse_count_limit = "lmtp_connection_reuse_count_limit",
                              .xforward_timeout = "lmtp_xforward_timeout",
                              .discard_keywords = "lmtp_discard_lhlo_keywords",
                              .discard_keyword_maps = "lmtp_discard_lhlo_keyword_address_maps",
                              .pix_workarounds = "lmtp_pix_workarounds",
                              .pix_workaround_maps = "lmtp_pix_workaround_maps",
                              .pix_threshold = "lmtp_pix_workaround_threshold_time",
                              .pix_delay = "lmtp_pix_workaround_delay_time",
                              .reply_filter = "lmtp_reply_filter",
                              .quote_envelope = "lmtp_quote_rfc821_envelope",
                              .send_xforward = "lmtp_send_xforward_command",
                              .status_filter = "lmtp_delivery_status_filter"};

std::chrono::milliseconds Time(const config::Config& config, std::string_view name) {
  return absl::ToChronoMilliseconds(config.GetTime(name));
}

size_t Count(const config::Config& config, std::string_view name) {
  return static_cast<size_t>(std::max<int64_t>(config.GetInt(name), 0));
}

absl::Status BadParameter(std::string_view name, std::string_view value) {
  return absl::InvalidArgumentError(Concat("bad parameter value: ", name, " = ", value));
}

std::vector<std::string> LowerList(const config::Config& config, std::string_view name) {
  std::vector<std::string> items = config.GetList(name);
  for (std::string& item : items) item = mail::LowerCasedAscii(item);
  return items;
}

bool Contains(const std::vector<std::string>& items, std::string_view item) {
  return std::find(items.begin(), items.end(), item) != items.end();
}

absl::Status ReadBindAddress(const config::Config& config, std::string_view name, bool v6,
                             std::optional<asio::ip::address>* address) {
  const std::string text = config.GetString(name);
  std::string_view inner = text;
  if (inner.starts_with('[') && inner.ends_with(']')) inner = inner.substr(1, inner.size() - 2);
  if (inner.empty()) return absl::OkStatus();
  std::error_code error;
  const asio::ip::address parsed = asio::ip::make_address(std::string(inner), error);
  if (error || parsed.is_v6() != v6) return BadParameter(name, text);
  *address = parsed;
  return absl::OkStatus();
}

void ReadFamilies(const config::Config& config, SmtpOptions* options) {
  const std::vector<std::string> protocols = config.GetList("inet_protocols");
  options->use_ipv4 = Contains(protocols, "ipv4") || Contains(protocols, "all");
  options->use_ipv6 = Contains(protocols, "ipv6") || Contains(protocols, "all");
}

SmtpTimeouts ReadTimeouts(const config::Config& config, const Names& names) {
  SmtpTimeouts timeouts{.connect = Time(config, names.connect_timeout),
                        .helo = Time(config, names.helo_timeout),
                        .xforward = Time(config, names.xforward_timeout),
                        .mail = Time(config, names.mail_timeout),
                        .rcpt = Time(config, names.rcpt_timeout),
                        .data_init = Time(config, names.data_init_timeout),
                        .data_xfer = Time(config, names.data_xfer_timeout),
                        .data_done = Time(config, names.data_done_timeout),
                        .rset = Time(config, names.rset_timeout),
                        .quit = Time(config, names.quit_timeout),
                        .in_all = Time(config, "daemon_timeout"),
                        .per_request = config.GetBool(names.per_request_deadline),
                        .bytes_per_second_min = Count(config, names.min_data_rate)};
  // 0 leaves it to the system, whose own limit is below this.
  if (timeouts.connect.count() == 0) timeouts.connect = std::chrono::hours(1);
  return timeouts;
}

HostTablesOptions ReadHostTables(const config::Config& config, const Names& names) {
  return {.discarded_keywords = config.GetString(names.discard_keywords),
          .discarded_keyword_maps = config.GetList(names.discard_keyword_maps),
          .pix_workarounds = config.GetString(names.pix_workarounds),
          .pix_workaround_maps = config.GetList(names.pix_workaround_maps),
          .reply_filter = config.GetList(names.reply_filter),
          .default_table_type = config.GetString("default_database_type")};
}

StatusFilterOptions ReadStatusFilter(const config::Config& config, const Names& names,
                                     std::string program) {
  return {.parameter = names.status_filter,
          .program = std::move(program),
          .maps = config.GetList(names.status_filter),
          .default_table_type = config.GetString("default_database_type")};
}

OrderOptions ReadOrder(const config::Config& config, const Names& names) {
  const std::string preference = mail::LowerCasedAscii(config.GetString(names.address_preference));
  return {.addresses_max = Count(config, names.mx_address_limit),
          .randomize = config.GetBool(names.randomize_addresses),
          .prefer = preference == "ipv4"   ? OrderOptions::Prefer::kIpv4
                    : preference == "ipv6" ? OrderOptions::Prefer::kIpv6
                                           : OrderOptions::Prefer::kAny,
          .balance = config.GetBool(names.balance_inet_protocols)};
}

// How hosts are found. DNSSEC asks for what the resolver's own servers say: as "enabled" here.
absl::Status ReadLookups(const config::Config& config, const Names& names, SmtpOptions* options) {
  const std::string level = mail::LowerCasedAscii(config.GetString(names.dns_support_level));
  if (!level.empty() && level != "disabled" && level != "enabled" && level != "dnssec") {
    return BadParameter(names.dns_support_level, level);
  }
  const std::vector<std::string> methods = LowerList(config, names.host_lookup);
  for (const std::string& method : methods) {
    if (method != "dns" && method != "native") return BadParameter(names.host_lookup, method);
  }
  const bool disabled = level == "disabled";
  options->look_up_dns = !disabled && Contains(methods, "dns");
  options->look_up_native = disabled || Contains(methods, "native");
  if (!options->look_up_dns && !options->look_up_native) return BadParameter(names.host_lookup, "");
  options->look_up_mx = !disabled && options->protocol == ClientProtocol::kSmtp;
  if (!disabled) options->srv_services = LowerList(config, "use_srv_lookup");
  return absl::OkStatus();
}

// What is ours, and, where it has one address of a family only, where connections come from.
void ReadOwnAddresses(const config::Config& config, SmtpOptions* options) {
  std::optional<asio::ip::address>* const bind[] = {&options->bind_address,
                                                    &options->bind_address6};
  size_t counts[] = {0, 0};
  std::optional<asio::ip::address> only[2];
  for (const config::InterfaceAddress& own : config.own_addresses()) {
    const asio::ip::address address = asio::ip::make_address(own.address.ToString());
    options->own_addresses.push_back(address);
    ++counts[address.is_v6()];
    only[address.is_v6()] = address;
  }
  for (size_t family : {0, 1}) {
    if (!*bind[family] && counts[family] == 1 && !only[family]->is_loopback()) {
      *bind[family] = only[family];
    }
  }
  for (const std::string& proxy : config.GetList("proxy_interfaces")) {
    std::string_view text = proxy;
    if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    std::error_code not_numeric;
    const asio::ip::address address = asio::ip::make_address(std::string(text), not_numeric);
    if (!not_numeric) options->own_addresses.push_back(address);
  }
}

// What the scheduler answers by itself, no worker has an agent for.
absl::Status CheckBestMxTransport(const std::string& route) {
  const std::string_view transport = std::string_view(route).substr(0, route.find(':'));
  const bool usable = transport != "error" && transport != "retry" && transport != "discard" &&
                      (!transport.empty() || route.empty());
  return usable ? absl::OkStatus() : BadParameter("best_mx_transport", route);
}

absl::Status ReadDestinations(const config::Config& config, const Names& names,
                              SmtpOptions* options) {
  const std::string port_text = config.GetString(names.tcp_port);
  const auto port = ParsePort(port_text);
  if (!port) return BadParameter(names.tcp_port, port_text);
  options->port = *port;
  if (options->protocol == ClientProtocol::kSmtp) options->service = port_text;
  options->fallback_relays = SplitNexthops(config.GetString(names.fallback_relay));
  for (const std::string& relay : options->fallback_relays) {
    if (!ParseNexthop(relay, options->port).ok()) return BadParameter(names.fallback_relay, relay);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SmtpOptions> SmtpOptions::FromConfig(const config::Config& config,
                                                    ClientProtocol protocol) {
  const bool lmtp = protocol == ClientProtocol::kLmtp;
  const Names& names = lmtp ? kLmtpNames : kSmtpNames;
  SmtpOptions options{
      .protocol = protocol,
      .program = maillog::ProgramOf(config.GetString("syslog_name"), lmtp ? "lmtp" : "smtp"),
      .myhostname = config.GetString("myhostname"),
      .helo_name = config.GetString(names.helo_name),
      .relayhost = lmtp ? "" : mail::LowerCasedAscii(config.GetString("relayhost")),
      .best_mx_transport = lmtp ? "" : config.GetString("best_mx_transport"),
      .queue_directory = config.GetString("queue_directory"),
      .service = lmtp ? "lmtp" : "smtp",
      .bind_address_enforce = config.GetBool(names.bind_address_enforce),
      .order = ReadOrder(config, names),
      .mx_sessions_max = Count(config, names.mx_session_limit),
      .allow_srv_fallback = config.GetBool("allow_srv_lookup_fallback"),
      .ignore_srv_lookup_error = config.GetBool("ignore_srv_lookup_error"),
      .ignore_mx_lookup_error = config.GetBool("ignore_mx_lookup_error"),
      .defer_if_no_mx_address_found = config.GetBool(names.defer_if_no_mx_address_found),
      .cname_names_server = config.GetBool(names.cname_overrides_servername),
      .skip_5xx_greeting = config.GetBool(names.skip_5xx_greeting),
      .line_bytes_max = Count(config, names.line_length_limit),
      .content_limits = {.header_bytes_max = Count(config, "header_size_limit"),
                         .boundary_bytes_max = Count(config, "mime_boundary_length_limit"),
                         .nesting_max = Count(config, "mime_nesting_limit")},
      .convert_content = !config.GetBool("disable_mime_output_conversion"),
      .generic = GenericOptions::FromConfig(config, lmtp),
      .host_tables = ReadHostTables(config, names),
      .status_filter = ReadStatusFilter(
          config, names,
          maillog::ProgramOf(config.GetString("syslog_name"), lmtp ? "lmtp" : "smtp")),
      .pix_threshold = Time(config, names.pix_threshold),
      .pix_delay = Time(config, names.pix_delay),
      .always_send_ehlo = config.GetBool("smtp_always_send_ehlo"),
      .never_send_ehlo = config.GetBool("smtp_never_send_ehlo"),
      .quote_addresses = config.GetBool(names.quote_envelope),
      .send_xforward = config.GetBool(names.send_xforward),
      .smtputf8 = config.GetBool("smtputf8_enable"),
      .timeouts = ReadTimeouts(config, names),
      .skip_quit_reply = config.GetBool(names.skip_quit_response),
      .soft_bounce = config.GetBool("soft_bounce"),
      .assume_final = lmtp && config.GetBool("lmtp_assume_final"),
      .reuse_connections = config.GetBool(names.connection_cache_on_demand),
      .reused_destinations = config.GetString(names.connection_cache_destinations),
      .default_table_type = config.GetString("default_database_type"),
      .cache_time = Time(config, names.connection_cache_time_limit),
      .reuse_time = Time(config, names.connection_reuse_time_limit),
      .reuse_count_max = Count(config, names.connection_reuse_count_limit)};
  ReadFamilies(config, &options);
  absl::Status status = ReadDestinations(config, names, &options);
  if (status.ok()) status = CheckBestMxTransport(options.best_mx_transport);
  if (status.ok()) status = ReadLookups(config, names, &options);
  if (status.ok())
    status = ReadBindAddress(config, names.bind_address, false, &options.bind_address);
  if (status.ok())
    status = ReadBindAddress(config, names.bind_address6, true, &options.bind_address6);
  if (status.ok()) status = HostTables::Open(options.host_tables, options.program).status();
  if (status.ok()) status = GenericMaps::Open(options.generic, options.program).status();
  if (status.ok()) status = StatusFilter::Open(options.status_filter).status();
  if (!status.ok()) return status;
  ReadOwnAddresses(config, &options);
  return options;
}

}  // namespace postfleet::delivery::smtp
