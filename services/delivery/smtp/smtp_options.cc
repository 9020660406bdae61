#include <algorithm>
#include <chrono>

#include "libs/base/concat.h"
#include "services/delivery/smtp/smtp_agent.h"

namespace postfleet::delivery::smtp {
namespace {

std::chrono::milliseconds Time(const config::Config& config, std::string_view name) {
  return absl::ToChronoMilliseconds(config.GetTime(name));
}

size_t Count(const config::Config& config, std::string_view name) {
  return static_cast<size_t>(std::max<int64_t>(config.GetInt(name), 0));
}

absl::Status BadParameter(std::string_view name, std::string_view value) {
  return absl::InvalidArgumentError(Concat("bad parameter value: ", name, " = ", value));
}

absl::Status ReadBindAddress(const config::Config& config, std::string_view name,
                             std::optional<asio::ip::address>* address) {
  const std::string text = config.GetString(name);
  if (text.empty()) return absl::OkStatus();
  std::error_code error;
  const asio::ip::address parsed = asio::ip::make_address(text, error);
  if (error || parsed.is_v6() != (name == "smtp_bind_address6")) return BadParameter(name, text);
  *address = parsed;
  return absl::OkStatus();
}

void ReadFamilies(const config::Config& config, SmtpOptions* options) {
  const std::vector<std::string> protocols = config.GetList("inet_protocols");
  const auto has = [&](const char* name) {
    return std::find(protocols.begin(), protocols.end(), name) != protocols.end();
  };
  options->use_ipv4 = has("ipv4") || has("all");
  options->use_ipv6 = has("ipv6") || has("all");
}

SmtpTimeouts ReadTimeouts(const config::Config& config) {
  SmtpTimeouts timeouts{.connect = Time(config, "smtp_connect_timeout"),
                        .helo = Time(config, "smtp_helo_timeout"),
                        .mail = Time(config, "smtp_mail_timeout"),
                        .rcpt = Time(config, "smtp_rcpt_timeout"),
                        .data_init = Time(config, "smtp_data_init_timeout"),
                        .data_xfer = Time(config, "smtp_data_xfer_timeout"),
                        .data_done = Time(config, "smtp_data_done_timeout"),
                        .rset = Time(config, "smtp_rset_timeout")};
  // 0 leaves it to the system, whose own limit is below this.
  if (timeouts.connect.count() == 0) timeouts.connect = std::chrono::hours(1);
  return timeouts;
}

OrderOptions ReadOrder(const config::Config& config) {
  const std::string preference = config.GetString("smtp_address_preference");
  return {.addresses_max = Count(config, "smtp_mx_address_limit"),
          .randomize = config.GetBool("smtp_randomize_addresses"),
          .prefer = preference == "ipv4"   ? OrderOptions::Prefer::kIpv4
                    : preference == "ipv6" ? OrderOptions::Prefer::kIpv6
                                           : OrderOptions::Prefer::kAny,
          .balance = config.GetBool("smtp_balance_inet_protocols")};
}

}  // namespace

absl::StatusOr<SmtpOptions> SmtpOptions::FromConfig(const config::Config& config) {
  SmtpOptions options{
      .myhostname = config.GetString("myhostname"),
      .helo_name = config.GetString("smtp_helo_name"),
      .relayhost = config.GetString("relayhost"),
      .order = ReadOrder(config),
      .mx_sessions_max = Count(config, "smtp_mx_session_limit"),
      .ignore_mx_lookup_error = config.GetBool("ignore_mx_lookup_error"),
      .defer_if_no_mx_address_found = config.GetBool("smtp_defer_if_no_mx_address_found"),
      .skip_5xx_greeting = config.GetBool("smtp_skip_5xx_greeting"),
      .line_bytes_max = Count(config, "smtp_line_length_limit"),
      .timeouts = ReadTimeouts(config),
      .reuse_connections = config.GetBool("smtp_connection_cache_on_demand"),
      .cache_time = Time(config, "smtp_connection_cache_time_limit"),
      .reuse_time = Time(config, "smtp_connection_reuse_time_limit"),
      .reuse_count_max = Count(config, "smtp_connection_reuse_count_limit")};
  const std::string port_text = config.GetString("smtp_tcp_port");
  const auto port = ParsePort(port_text);
  if (!port) return BadParameter("smtp_tcp_port", port_text);
  options.port = *port;
  ReadFamilies(config, &options);
  for (const config::InterfaceAddress& own : config.own_addresses()) {
    options.own_addresses.push_back(asio::ip::make_address(own.address.ToString()));
  }
  absl::Status status = ReadBindAddress(config, "smtp_bind_address", &options.bind_address);
  if (status.ok()) status = ReadBindAddress(config, "smtp_bind_address6", &options.bind_address6);
  if (!status.ok()) return status;
  return options;
}

}  // namespace postfleet::delivery::smtp
