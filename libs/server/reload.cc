#include "libs/server/reload.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_replace.h"
#include "libs/base/concat.h"

namespace postfleet::server {
namespace {

// Those first that others are made of.
constexpr std::string_view kParameters[] = {
    "queue_directory",
    "data_directory",
    "inet_interfaces",
    "inet_protocols",
    "mail_owner",
    "mail_spool_directory",
    "postfleet_cluster_members",
    "postfleet_cluster_name",
    "postfleet_control_socket",
    "postfleet_ingress_loops",
    "postfleet_lookup_address",
    "postfleet_metrics_listen",
    "postfleet_queue_address",
    "postfleet_scheduler_address",
    "setgid_group",
    "virtual_minimum_uid",
};

bool IsPort(const config::MasterService& service) {
  return service.type == config::ServiceType::kInet && service.command == "smtpd";
}

}  // namespace

absl::StatusOr<config::Config> KeepWhatOnlyAStartChanges(const config::Config& started,
                                                         const config::Config& next,
                                                         std::vector<std::string>* ignored) {
  config::MasterService kept;
  config::Config result = next;
  for (const std::string_view name : kParameters) {
    const std::string before = started.GetString(name), after = result.GetString(name);
    if (before == after) continue;
    kept.overrides.emplace_back(name, absl::StrReplaceAll(before, {{"$", "$$"}}));
    absl::StatusOr<config::Config> with = next.WithOverrides(kept);
    if (!with.ok()) return with.status();
    result = *std::move(with);
    ignored->push_back(Concat("ignoring ", name, " parameter value change"));
    ignored->push_back(Concat("old value: \"", before, "\", new value: \"", after, "\""));
    ignored->push_back(Concat("to change ", name, ", stop and start Postfix"));
  }
  for (const config::MasterService& service : next.master_cf().services) {
    if (!IsPort(service)) continue;
    const config::MasterService* before =
        started.master_cf().Find(service.name, config::ServiceType::kInet);
    if (before != nullptr && IsPort(*before)) continue;
    ignored->push_back(Concat("ignoring the new service ", service.name,
                              " inet of master.cf: to open its port, stop and start Postfix"));
  }
  const int64_t active = started.GetInt("qmgr_message_active_limit");
  if (next.GetInt("qmgr_message_active_limit") < active) {
    ignored->push_back(Concat("the active queue is as large as before, ", active,
                              " messages: to lower qmgr_message_active_limit, stop and start "
                              "Postfix"));
  }
  return result;
}

}  // namespace postfleet::server
