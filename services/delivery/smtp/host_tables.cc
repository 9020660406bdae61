#include "services/delivery/smtp/host_tables.h"

#include <optional>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

namespace postfleet::delivery::smtp {
namespace {

absl::StatusOr<std::string> FindOr(tables::Maps& maps, const std::string& key,
                                   const std::string& otherwise) {
  if (maps.empty()) return otherwise;
  absl::StatusOr<std::optional<std::string>> found = maps.Lookup(key);
  if (!found.ok()) return found.status();
  return found->value_or(otherwise);
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostTables>> HostTables::Open(const HostTablesOptions& options,
                                                             std::string program) {
  std::unique_ptr<HostTables> opened(new HostTables());
  opened->program_ = std::move(program);
  opened->discarded_keywords_ = options.discarded_keywords;
  opened->pix_workarounds_ = options.pix_workarounds;
  const std::pair<const std::vector<std::string>*, tables::Maps*> all[] = {
      {&options.discarded_keyword_maps, &opened->discarded_keyword_maps_},
      {&options.pix_workaround_maps, &opened->pix_workaround_maps_},
      {&options.reply_filter, &opened->reply_filter_}};
  for (const auto& [items, maps] : all) {
    absl::StatusOr<tables::Maps> open = tables::Maps::Open(
        *items,
        {.default_type = options.default_table_type, .fold_keys = maps != &opened->reply_filter_});
    if (!open.ok()) return open.status();
    *maps = *std::move(open);
  }
  return opened;
}

absl::StatusOr<EhloKeywords> HostTables::DiscardedKeywords(const std::string& address) {
  const absl::StatusOr<std::string> words =
      FindOr(discarded_keyword_maps_, address, discarded_keywords_);
  if (!words.ok()) return words.status();
  return EhloKeywords(*words);
}

PixWorkarounds HostTables::WorkaroundsFor(const std::string& address) {
  const absl::StatusOr<std::string> words = FindOr(pix_workaround_maps_, address, pix_workarounds_);
  if (!words.ok()) maillog::Warning(program_, std::string(words.status().message()));
  return PixWorkarounds::Parse(words.ok() ? *words : pix_workarounds_);
}

postfleet::smtp::ReplyParser::LineFilter HostTables::ReplyFilter(std::string peer) {
  if (reply_filter_.empty()) return nullptr;
  return [this, peer = std::move(peer)](std::string* line) { return Replace(peer, line); };
}

bool HostTables::Replace(const std::string& peer, std::string* line) {
  absl::StatusOr<std::optional<std::string>> found = reply_filter_.Lookup(*line);
  if (!found.ok()) {
    maillog::Warning(program_, peer, ": ", std::string(found.status().message()),
                     " lookup error for ", *line);
    return false;
  }
  if (!found->has_value()) return true;
  maillog::Info(program_, peer, ": replacing server reply \"", *line, "\" with \"", **found, "\"");
  *line = **std::move(found);
  return true;
}

}  // namespace postfleet::delivery::smtp
