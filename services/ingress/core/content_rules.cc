#include "services/ingress/core/content_rules.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

absl::Status ReadCharacters(const config::Config& config, std::string_view name,
                            std::string* bytes) {
  std::optional<std::string> parsed = message::ParseCharacters(config.GetString(name));
  if (!parsed) return absl::InvalidArgumentError(Concat("bad escape in ", name));
  *bytes = *std::move(parsed);
  return absl::OkStatus();
}

// Origins that are not this one are Postfix's, too.
constexpr std::string_view kClasses[] = {"sendmail", "smtpd",  "qmqpd",  "forward",
                                         "bounce",   "notify", "verify", "all"};

absl::Status ReadClasses(const config::Config& config, bool* smtpd) {
  constexpr std::string_view kName = "smtputf8_autodetect_classes";
  for (const std::string& word : config.GetList(kName)) {
    if (std::find(std::begin(kClasses), std::end(kClasses), word) == std::end(kClasses)) {
      return absl::InvalidArgumentError(Concat("bad class \"", word, "\" in ", kName));
    }
    *smtpd = *smtpd || word == "smtpd" || word == "all";
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ContentRules> ContentRules::From(const config::Config& config) {
  ContentRules rules;
  const bool strict = config.GetBool("strict_8bitmime");
  message::CleanupOptions& cleanup = rules.cleanup;
  cleanup.line_bytes_max = static_cast<size_t>(config.GetInt("line_length_limit"));
  cleanup.mime = !config.GetBool("disable_mime_input_processing");
  cleanup.mime_limits = {
      .boundary_bytes_max = static_cast<size_t>(config.GetInt("mime_boundary_length_limit")),
      .nesting_max = static_cast<size_t>(config.GetInt("mime_nesting_limit"))};
  cleanup.refuse_header_8bit = strict || config.GetBool("strict_7bit_headers");
  cleanup.refuse_body_8bit = strict || config.GetBool("strict_8bitmime_body");
  cleanup.refuse_encoding_domain = config.GetBool("strict_mime_encoding_domain");
  rules.detect_8bit = config.GetBool("detect_8bit_encoding_header");
  absl::Status status = ReadCharacters(config, "message_strip_characters", &cleanup.strip_bytes);
  status.Update(ReadCharacters(config, "message_reject_characters", &cleanup.reject_bytes));
  status.Update(ReadClasses(config, &rules.detect_smtputf8));
  if (!status.ok()) return status;
  return rules;
}

}  // namespace postfleet::ingress
