#include "services/ingress/core/command_rules.h"

#include <utility>

namespace postfleet::ingress {

absl::StatusOr<CommandRules> CommandRules::Open(const config::Config& config) {
  CommandRules rules;
  const struct {
    std::string_view parameter;
    tables::MatchList* list;
  } lists[] = {{"smtpd_noop_commands", &rules.noop_},
               {"smtpd_forbidden_commands", &rules.forbidden_}};
  for (const auto& row : lists) {
    absl::StatusOr<tables::MatchList> list = tables::MatchList::Open(
        row.parameter, config.GetString(row.parameter), {.kind = tables::MatchKind::kString});
    if (!list.ok()) return list.status();
    *row.list = *std::move(list);
  }
  const struct {
    std::string_view parameter;
    tables::Maps* maps;
  } tables[] = {{"smtpd_command_filter", &rules.filter_},
                {"smtpd_discard_ehlo_keyword_address_maps", &rules.discarded_}};
  for (const auto& row : tables) {
    absl::StatusOr<tables::Maps> maps = tables::Maps::Open(config.GetList(row.parameter));
    if (!maps.ok()) return maps.status();
    *row.maps = *std::move(maps);
  }
  return rules;
}

absl::StatusOr<bool> CommandRules::IsNoop(std::string_view word) {
  return noop_.empty() ? false : noop_.Matches(word);
}

absl::StatusOr<bool> CommandRules::IsForbidden(std::string_view word) {
  return forbidden_.Matches(word);
}

absl::StatusOr<std::optional<std::string>> CommandRules::Filtered(std::string_view line) {
  if (filter_.empty()) return std::nullopt;
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  return filter_.Lookup(line);
}

absl::StatusOr<std::optional<smtp::EhloKeywords>> CommandRules::DiscardedFor(
    std::string_view address) {
  absl::StatusOr<std::optional<std::string>> words = discarded_.Lookup(address);
  if (!words.ok()) return words.status();
  if (!*words) return std::nullopt;
  return smtp::EhloKeywords(**words);
}

}  // namespace postfleet::ingress
