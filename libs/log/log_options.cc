#include "libs/log/log_options.h"

#include <cstdlib>

// The names of the facilities, `facilitynames`, as syslogd has them.
#define SYSLOG_NAMES
#include <syslog.h>

namespace postfleet::log {
namespace {

// The table of parameters lets no other name through.
int FacilityOf(const std::string& name) {
  for (const CODE* row = facilitynames; row->c_name != nullptr; ++row) {
    if (name == row->c_name) return row->c_val;
  }
  return LOG_MAIL;
}

}  // namespace

maillog::Options LogOptionsOf(const config::Config& config) {
  const std::string hostname = config.GetString("myhostname");
  return {.path = config.GetString("maillog_file"),
          .mode = static_cast<int>(
              std::strtol(config.GetString("maillog_file_permissions").c_str(), nullptr, 8)),
          .syslog_name = config.GetString("syslog_name"),
          .hostname = hostname.substr(0, hostname.find('.')),
          .format = config.GetString("postfleet_log_format") == "json" ? maillog::Format::kJson
                                                                       : maillog::Format::kPostfix,
          .facility = FacilityOf(config.GetString("syslog_facility")),
          .utf8 = config.GetBool("smtputf8_enable")};
}

}  // namespace postfleet::log
