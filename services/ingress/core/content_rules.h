// What cleanup(8) does to content by its parameters alone, the same for all mail of a service.
#pragma once

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/message/cleanup.h"

namespace postfleet::ingress {

struct ContentRules {
  // Without what depends on the message, and on what SessionConfig has beside this.
  message::CleanupOptions cleanup;
  bool detect_8bit = true;       // detect_8bit_encoding_header
  bool detect_smtputf8 = false;  // smtputf8_autodetect_classes has smtpd or all

  // Errors: a bad set of characters, a class that Postfix does not know.
  static absl::StatusOr<ContentRules> From(const config::Config& config);
};

}  // namespace postfleet::ingress
