#include "services/delivery/core/status_filter.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/enhanced_status.h"

namespace postfleet::delivery {

using mail::v1::Outcome;

absl::StatusOr<std::unique_ptr<StatusFilter>> StatusFilter::Open(
    const StatusFilterOptions& options) {
  absl::StatusOr<tables::Maps> maps = tables::Maps::Open(
      options.maps, {.default_type = options.default_table_type, .fold_keys = false});
  if (!maps.ok()) return maps.status();
  return std::unique_ptr<StatusFilter>(
      new StatusFilter(options.parameter, options.program, *std::move(maps)));
}

std::unique_ptr<StatusFilter> StatusFilter::OpenOrWarn(const StatusFilterOptions& options) {
  absl::StatusOr<std::unique_ptr<StatusFilter>> filter = Open(options);
  if (filter.ok()) return *std::move(filter);
  maillog::Warning(options.program, std::string(filter.status().message()));
  return nullptr;
}

void StatusFilter::Apply(Outcome* outcome) {
  if (maps_.empty()) return;
  const absl::StatusOr<std::optional<std::string>> found =
      maps_.Lookup(Concat(outcome->status(), " ", outcome->text()));
  if (!found.ok()) {
    return maillog::Warning(program_, parameter_, ": ", std::string(found.status().message()));
  }
  if (!found->has_value()) return;
  size_t length = 0;
  const auto status = mail::ParseEnhancedStatusPrefix(**found, &length);
  const bool sent = outcome->action() == Outcome::ACTION_SENT;
  if (!status || status->IsSuccess() != sent) {
    return maillog::Warning(program_, parameter_, ": bad status code: ", **found);
  }
  std::string_view text = std::string_view(**found).substr(length);
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  outcome->set_status(status->ToString());
  outcome->set_text(std::string(text));
  if (sent) return;
  outcome->set_action(status->IsTransient() ? Outcome::ACTION_DEFERRED : Outcome::ACTION_BOUNCED);
}

}  // namespace postfleet::delivery
