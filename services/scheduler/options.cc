#include "services/scheduler/options.h"

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"

namespace postfleet::scheduler {
namespace {

constexpr int64_t kAnswerGraceMs = 600'000;

absl::Status ReadFeedback(const config::Config& config, const std::string& name,
                          Feedback* feedback) {
  const std::string text = config.GetString(name);
  const std::optional<Feedback> parsed = Feedback::Parse(text);
  if (!parsed.has_value()) {
    return absl::InvalidArgumentError(
        Concat("bad parameter value: ", name, " = ", text,
               ": want a number from 0 to 1, 1/concurrency or 1/sqrt_concurrency"));
  }
  *feedback = *parsed;
  return absl::OkStatus();
}

absl::Status ReadLimits(const config::Config& config, const std::string& transport,
                        TransportLimits* limits) {
  const std::string prefix = transport + "_destination_";
  limits->initial_destination_concurrency = static_cast<int>(
      config.GetInt(transport == "default" ? "initial_destination_concurrency"
                                           : transport + "_initial_destination_concurrency"));
  limits->destination_concurrency_limit =
      static_cast<int>(config.GetInt(prefix + "concurrency_limit"));
  limits->destination_recipient_limit = static_cast<int>(config.GetInt(prefix + "recipient_limit"));
  limits->destination_rate_delay_ms =
      absl::ToInt64Milliseconds(config.GetTime(prefix + "rate_delay"));
  limits->transport_rate_delay_ms =
      absl::ToInt64Milliseconds(config.GetTime(transport + "_transport_rate_delay"));
  limits->slot_cost = static_cast<int>(config.GetInt(transport + "_delivery_slot_cost"));
  limits->slot_loan = static_cast<int>(config.GetInt(transport + "_delivery_slot_loan"));
  limits->slot_discount_percent =
      static_cast<int>(config.GetInt(transport + "_delivery_slot_discount"));
  limits->slots_min = static_cast<int>(config.GetInt(transport + "_minimum_delivery_slots"));
  limits->failed_cohort_limit =
      static_cast<double>(config.GetInt(prefix + "concurrency_failed_cohort_limit"));
  absl::Status status =
      ReadFeedback(config, prefix + "concurrency_positive_feedback", &limits->positive_feedback);
  if (status.ok()) {
    status =
        ReadFeedback(config, prefix + "concurrency_negative_feedback", &limits->negative_feedback);
  }
  return status;
}

}  // namespace

absl::StatusOr<Config> ConfigFrom(const config::Config& config) {
  Config result;
  const auto milliseconds = [&config](const char* name) {
    return absl::ToInt64Milliseconds(config.GetTime(name));
  };
  result.active_messages_max = static_cast<uint32_t>(config.GetInt("qmgr_message_active_limit"));
  result.recipients_max = static_cast<uint64_t>(config.GetInt("qmgr_message_recipient_limit"));
  result.soft_bounce = config.GetBool("soft_bounce");
  for (const std::string& name : config.GetList("notify_classes")) {
    if (mail::LowerCasedAscii(name) == "bounce") result.postmaster_gets_bounces = true;
    if (mail::LowerCasedAscii(name) == "delay") result.postmaster_gets_delays = true;
  }
  result.minimal_backoff_ms = milliseconds("minimal_backoff_time");
  result.maximal_backoff_ms = milliseconds("maximal_backoff_time");
  result.maximal_queue_lifetime_ms = milliseconds("maximal_queue_lifetime");
  result.bounce_queue_lifetime_ms = milliseconds("bounce_queue_lifetime");
  if (result.bounce_queue_lifetime_ms > result.maximal_queue_lifetime_ms) {
    maillog::Warning("qmgr",
                     "bounce_queue_lifetime is larger than maximal_queue_lifetime - adjusting "
                     "bounce_queue_lifetime");
    result.bounce_queue_lifetime_ms = result.maximal_queue_lifetime_ms;
  }
  // An agent that has a limit of its own ends by it first.
  result.attempt_max_ms = milliseconds("daemon_timeout") + kAnswerGraceMs;
  result.confirm_delay_cleared = config.GetBool("confirm_delay_cleared");
  result.verp_bounces = !config.GetBool("disable_verp_bounces");
  result.double_bounce_sender = config.GetString("double_bounce_sender");
  result.delay_warning_ms = milliseconds("delay_warning_time");
  result.transport_retry_ms = milliseconds("transport_retry_time");
  result.recipient_delimiter = config.GetString("recipient_delimiter");
  for (std::string& transport : config.GetList("defer_transports")) {
    result.deferred_transports.insert(std::move(transport));
  }
  if (const absl::Status read = ReadLimits(config, "default", &result.defaults); !read.ok())
    return read;
  const int process_limit = static_cast<int>(config.GetInt("default_process_limit"));
  result.defaults.deliveries_max = process_limit;
  for (const config::MasterService& service : config.master_cf().services) {
    if (service.type != config::ServiceType::kUnix || !config::IsDeliveryAgent(service.command))
      continue;
    // Notices share one destination: only the workers' slots bound them.
    if (service.command == "bounce") continue;
    TransportLimits limits;
    if (const absl::Status read = ReadLimits(config, service.name, &limits); !read.ok())
      return read;
    limits.deliveries_max = service.maxproc.value_or(process_limit);
    result.transports[service.name] = limits;
  }
  return result;
}

}  // namespace postfleet::scheduler
