#include "commands/postdrop_rights.h"

#include <pwd.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_split.h"
#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/tables/maps.h"
#include "libs/tables/match_list.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kEverybody = "static:anyone";
constexpr std::string_view kAnySender = "static:*";
constexpr std::string_view kNoName = "unknown";

std::string_view View(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::string LoginName(uid_t user) {
  const passwd* entry = getpwuid(user);
  return entry == nullptr ? "" : entry->pw_name;
}

absl::Status CheckSubmitter(const config::Config& config, uid_t user) {
  constexpr std::string_view kParameter = "authorized_submit_users";
  const std::string users = config.GetString(kParameter);
  if (users == kEverybody) return absl::OkStatus();
  absl::StatusOr<tables::MatchList> list = tables::MatchList::Open(kParameter, users, {});
  if (!list.ok()) return list.status();
  std::string name = LoginName(user);
  if (name.empty()) name = kNoName;
  const absl::StatusOr<bool> matches = list->Matches(name);
  if (!matches.ok()) return matches.status();
  if (*matches) return absl::OkStatus();
  return absl::PermissionDeniedError(
      Concat("User ", name, "(", user, ") is not allowed to submit mail"));
}

absl::StatusOr<AllowedSenders> AllowedSenders::Open(const config::Config& config, uid_t user) {
  constexpr std::string_view kParameter = "local_login_sender_maps";
  AllowedSenders allowed;
  if (config.GetString(kParameter) == kAnySender) {
    allowed.all_ = true;
    return allowed;
  }
  absl::StatusOr<tables::Maps> maps = tables::Maps::Open(config.GetList(kParameter));
  if (!maps.ok()) return maps.status();
  std::string key = LoginName(user);
  if (key.empty()) key = Concat("uid:", user);
  const absl::StatusOr<std::optional<std::string>> found = maps->Lookup(key);
  if (!found.ok()) return found.status();
  for (const absl::string_view pattern :
       absl::StrSplit(found->value_or(""), absl::ByAnyChar(", \t\r\n"), absl::SkipEmpty())) {
    allowed.patterns_.push_back(mail::LowerCasedAscii(View(pattern)));
  }
  allowed.recipient_delimiter_ = config.GetString("recipient_delimiter");
  allowed.null_sender_key_ = config.GetString("empty_address_local_login_sender_maps_lookup_key");
  return allowed;
}

absl::Status AllowedSenders::Check(std::string_view sender) const {
  if (all_) return absl::OkStatus();
  const std::string lower = mail::LowerCasedAscii(sender);
  const mail::Address address = mail::SplitAddress(lower);
  const auto matches = [&](const std::string& pattern) {
    if (pattern == "*") return true;
    if (lower.empty()) return pattern == null_sender_key_;
    if (pattern == lower) return true;
    const auto bare = tables::WithoutExtension(address.local_part, recipient_delimiter_);
    const std::string domain = address.HasDomain() ? Concat("@", address.domain) : "";
    if (bare && pattern == Concat(*bare, domain)) return true;
    return !domain.empty() && pattern == domain;
  };
  if (std::any_of(patterns_.begin(), patterns_.end(), matches)) return absl::OkStatus();
  return absl::PermissionDeniedError(Concat("not authorized to use sender='", sender, "'"));
}

}  // namespace postfleet::commands
