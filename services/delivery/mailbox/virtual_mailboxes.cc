#include "services/delivery/mailbox/virtual_mailboxes.h"

#include <unistd.h>

#include <charconv>
#include <optional>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

// nullopt: not a number, or not an id.
std::optional<uint32_t> ParseId(const std::string& text) {
  uint32_t id = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, id);
  if (parsed.ec != std::errc() || parsed.ptr != end || id == uint32_t(-1)) return std::nullopt;
  return id;
}

absl::StatusOr<MailboxLocks> LocksFrom(const config::Config& config) {
  constexpr char kParameter[] = "virtual_mailbox_lock";
  MailboxLocks locks{.fcntl = false, .flock = false, .dotlock = false};
  const std::pair<std::string_view, bool*> words[] = {
      {"fcntl", &locks.fcntl}, {"flock", &locks.flock}, {"dotlock", &locks.dotlock}};
  for (const std::string& given : config.GetList(kParameter)) {
    const auto* word = std::find_if(std::begin(words), std::end(words),
                                    [&](const auto& known) { return known.first == given; });
    if (word == std::end(words)) {
      return absl::InvalidArgumentError(Concat("unknown ", kParameter, " value \"", given,
                                               "\" in \"", config.GetString(kParameter), "\""));
    }
    *word->second = true;
  }
  locks.tries = static_cast<int>(config.GetInt("deliver_lock_attempts"));
  const auto seconds = [&config](const char* parameter) {
    return std::chrono::seconds(absl::ToInt64Seconds(config.GetTime(parameter)));
  };
  locks.delay = seconds("deliver_lock_delay");
  locks.stale_after = seconds("stale_lock_time");
  return locks;
}

}  // namespace

VirtualOptions VirtualOptions::FromConfig(const config::Config& config) {
  VirtualOptions options;
  const absl::StatusOr<MailboxLocks> locks = LocksFrom(config);
  locks.ok() ? void(options.locks = *locks) : void(options.problem = locks.status());
  options.host = HostName();
  options.base = config.GetString("virtual_mailbox_base");
  options.mailbox_maps = config.GetList("virtual_mailbox_maps");
  options.uid_maps = config.GetList("virtual_uid_maps");
  options.gid_maps = config.GetList("virtual_gid_maps");
  options.minimum_uid = static_cast<uid_t>(config.GetInt("virtual_minimum_uid"));
  options.file_bytes_max = static_cast<uint64_t>(config.GetSize("virtual_mailbox_limit"));
  options.strict_mailbox_ownership = config.GetBool("strict_mailbox_ownership");
  options.recipient_delimiter = config.GetString("recipient_delimiter");
  options.soft_bounce = config.GetBool("soft_bounce");
  options.tables.allow_substitution = false;
  options.tables.default_type = config.GetString("default_database_type");
  options.status_filter = {.parameter = "virtual_delivery_status_filter",
                           .program = options.program,
                           .maps = config.GetList("virtual_delivery_status_filter"),
                           .default_table_type = options.tables.default_type};
  return options;
}

Outcome MakeOutcome(Outcome::Action action, std::string status, std::string text) {
  Outcome outcome;
  outcome.set_action(action);
  outcome.set_status(std::move(status));
  outcome.set_text(std::move(text));
  return outcome;
}

VirtualMailboxes::VirtualMailboxes(const VirtualOptions& options) : options_(options) {
  const std::pair<const std::vector<std::string>*, tables::Maps*> all[] = {
      {&options_.mailbox_maps, &mailboxes_},
      {&options_.uid_maps, &uids_},
      {&options_.gid_maps, &gids_}};
  for (const auto& [items, maps] : all) {
    auto opened = tables::Maps::Open(*items, options_.tables);
    if (opened.ok()) {
      *maps = *std::move(opened);
    } else {
      maillog::Warning(options_.program, std::string(opened.status().message()));
      opened_ = opened.status();
    }
  }
}

Outcome VirtualMailboxes::Misconfigured(const std::string& warning) const {
  maillog::Warning(options_.program, warning);
  return MakeOutcome(Outcome::ACTION_DEFERRED, "4.3.5", "mail system configuration error");
}

std::variant<Mailbox, Outcome> VirtualMailboxes::Find(const std::string& given) {
  const std::string address = mail::LowerCasedAscii(given);
  if (!opened_.ok()) {
    return Misconfigured(Concat("recipient ", address, ": ", std::string(opened_.message())));
  }
  const tables::AddressForms forms = {.recipient_delimiter = options_.recipient_delimiter};
  const auto found = mailboxes_.FindAddress(address, forms);
  if (!found.ok()) {
    return Misconfigured(
        Concat("recipient ", address, ": ", std::string(found.status().message())));
  }
  if (!*found) {
    return MakeOutcome(Outcome::ACTION_BOUNCED, "5.1.1", Concat("unknown user: \"", address, '"'));
  }
  std::variant<Mailbox, Outcome> place = PlaceOf(**found, address);
  if (std::holds_alternative<Outcome>(place)) return place;
  Mailbox& mailbox = std::get<Mailbox>(place);

  const Value uid = FindNumber(uids_, "virtual_uid_maps", address);
  if (const auto* outcome = std::get_if<Outcome>(&uid)) return *outcome;
  mailbox.uid = ParseId(std::get<std::string>(uid)).value_or(0);
  if (mailbox.uid == 0 || mailbox.uid < options_.minimum_uid) {
    return Misconfigured(Concat("recipient ", address, ": bad uid ", std::get<std::string>(uid),
                                " in virtual_uid_maps"));
  }
  const Value gid = FindNumber(gids_, "virtual_gid_maps", address);
  if (const auto* outcome = std::get_if<Outcome>(&gid)) return *outcome;
  mailbox.gid = ParseId(std::get<std::string>(gid)).value_or(0);
  if (mailbox.gid == 0) {
    return Misconfigured(Concat("recipient ", address, ": bad gid ", std::get<std::string>(gid),
                                " in virtual_gid_maps"));
  }
  return place;
}

std::variant<Mailbox, Outcome> VirtualMailboxes::PlaceOf(const std::string& result,
                                                         const std::string& address) const {
  Mailbox mailbox;
  mailbox.is_mbox = !result.ends_with('/');
  mailbox.base = options_.base.empty() ? "/" : options_.base;
  if (!mailbox.base.starts_with('/') || (options_.base.empty() && !result.starts_with('/'))) {
    return Misconfigured(Concat("recipient ", address, ": mailbox ", options_.base, "/", result,
                                " is no absolute path: set virtual_mailbox_base"));
  }
  const size_t start = result.find_first_not_of('/');
  mailbox.path = start == std::string::npos ? "" : result.substr(start);
  return mailbox;
}

VirtualMailboxes::Value VirtualMailboxes::FindNumber(tables::Maps& maps, const char* parameter,
                                                     const std::string& address) {
  const auto found =
      maps.FindAddress(address, {.recipient_delimiter = options_.recipient_delimiter});
  if (!found.ok()) {
    return Misconfigured(
        Concat("recipient ", address, ": ", std::string(found.status().message())));
  }
  if (!*found) return Misconfigured(Concat("recipient ", address, ": not found in ", parameter));
  return **found;
}

}  // namespace postfleet::delivery
