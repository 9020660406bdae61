// The mail log as main.cf wants it: maillog_file, maillog_file_permissions, syslog_facility,
// syslog_name, smtputf8_enable, postfleet_log_format; the host's name is the first label of
// myhostname, as postlogd has it.
#pragma once

#include "libs/base/maillog.h"
#include "libs/config/config.h"

namespace postfleet::log {

maillog::Options LogOptionsOf(const config::Config& config);

}  // namespace postfleet::log
