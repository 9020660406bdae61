// Where a tree of addresses reaches users and their files: .forward, :include:, mailboxes,
// commands.

#include <cerrno>
#include <cstring>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/mail/address.h"
#include "services/delivery/local/expansion.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

constexpr char kConfigurationError[] = "mail system configuration error";
constexpr mode_t kOthersWrite = 002;

std::string Reason(const ActionFailure& failure) {
  return failure.error_number != 0 ? strerror(failure.error_number) : failure.text;
}

// Nobody knows whether the file is there: not now.
bool IsUnknown(const ActionFailure& failure) {
  return failure.kind == ActionFailure::Kind::kUnavailable ||
         failure.kind == ActionFailure::Kind::kCancelled;
}

std::vector<std::string> SplitPaths(const std::string& text) {
  std::vector<std::string> paths;
  constexpr char kBetween[] = ", \t\r\n";
  for (size_t start = 0; (start = text.find_first_not_of(kBetween, start)) != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, start), text.size());
    paths.push_back(text.substr(start, end - start));
    start = end;
  }
  return paths;
}

uint32_t WithoutSuccess(uint32_t notify) {
  if (notify == mail::v1::NOTIFY_FLAG_SUCCESS) return mail::v1::NOTIFY_FLAG_NEVER;
  return notify & ~static_cast<uint32_t>(mail::v1::NOTIFY_FLAG_SUCCESS);
}

}  // namespace

void Expansion::ToUser(Party party) {
  Push(party, MailboxPlace{});
  if (options_.forward_path.empty() && !options_.require_home_directory) return;
  auto user = accounts_.ByName(party.user);
  if (!user.ok()) {
    places_.pop_back();
    maillog::Warning(options_.program, "error looking up passwd info for ", party.user, ": ",
                     std::string(user.status().message()));
    return Defer(party, "4.0.0", "user lookup error");
  }
  if (!*user) return;
  SearchForward(std::move(party), **std::move(user));
}

void Expansion::SearchForward(Party party, User user) {
  ++party.level;
  party.rights = std::move(user);
  if (options_.require_home_directory) {
    Step step = {.kind = Step::Kind::kReadFile,
                 .party = party,
                 .text = party.rights->home,
                 .rights = party.rights->ids};
    return Ask(std::move(step),
               {.party = std::move(party), .what = ForwardPlace{.checks_home = true}});
  }
  Push(std::move(party), ForwardPlace{.paths = SplitPaths(options_.forward_path)});
}

// The next of forward_path, if there is one.
void Expansion::Visit(Party party, ForwardPlace place) {
  while (place.next < place.paths.size()) {
    const ExpandedNames path = ExpandNames(place.paths[place.next++], NamesOf(party, options_),
                                           &options_.forward_expansion_filter);
    if (path.is_malformed || path.has_undefined) continue;
    if (!options_.frozen_delivered_to) party.delivered = party.recipient.address();
    Party asking = party;
    if (path.has_extension ||
        (options_.extensions_go_to & static_cast<int>(Origin::kForward)) == 0) {
      asking.unmatched.reset();
    }
    Step step = {.kind = Step::Kind::kReadFile,
                 .party = party,
                 .text = path.text,
                 .rights = party.rights->ids};
    // Its own path, for OnFile; what follows it, should it not be there.
    place.paths[place.next - 1] = path.text;
    Ask(std::move(step), {.party = std::move(asking), .what = std::move(place)});
    return;
  }
}

void Expansion::OnFile(const UserFile& file) {
  Place place = *std::move(asked_);
  asked_.reset();
  if (auto* include = std::get_if<IncludePlace>(&place.what)) {
    return OnIncludeFile(std::move(place.party), include->path, file);
  }
  OnForwardFile(std::move(place.party), std::get<ForwardPlace>(std::move(place.what)), file);
}

void Expansion::OnForwardFile(Party party, ForwardPlace place, const UserFile& file) {
  const ActionFailure& failure = file.failure;
  if (IsUnknown(failure)) {
    places_.pop_back();  // the mailbox
    return Defer(party, "4.3.0", Concat("mail system error: ", failure.text));
  }
  if (place.checks_home) {
    if (failure.kind == ActionFailure::Kind::kFailed) {
      places_.pop_back();
      return Defer(
          party, "4.3.0",
          Concat("cannot access home directory ", party.rights->home, ": ", Reason(failure)));
    }
    return Push(std::move(party), ForwardPlace{.paths = SplitPaths(options_.forward_path)});
  }
  const bool is_absent = failure.kind == ActionFailure::Kind::kFailed &&
                         (failure.error_number == ENOENT || failure.error_number == ENOTDIR);
  if (!is_absent) return UseForward(std::move(party), std::move(place), file);
  // The extension is taken off by the file that is found alone.
  party.unmatched = party.extension;
  Push(std::move(party), std::move(place));
}

// Below on the stack is the user's mailbox, for a .forward that is not one.
void Expansion::UseForward(Party party, ForwardPlace place, const UserFile& file) {
  const std::string path = place.paths[place.next - 1];
  if (IsSeen(Concat("forward ", path))) {
    // Expanded already: done. Being expanded now: the user names himself.
    if (WasSeen(Concat("forward-done ", path))) places_.pop_back();
    return;
  }
  const uid_t owner = party.rights->ids.uid;
  if (file.failure.kind == ActionFailure::Kind::kNone && (!file.is_regular || file.is_link)) {
    maillog::Warning(options_.program, "file ", path, " is not a regular file");
  } else if (file.failure.kind == ActionFailure::Kind::kNone && file.owner != 0 &&
             file.owner != owner) {
    maillog::Warning(options_.program, "file ", path, " has bad owner uid ", file.owner);
  } else if (file.failure.kind == ActionFailure::Kind::kNone && (file.mode & kOthersWrite) != 0) {
    maillog::Warning(options_.program, "file ", path, " is world writable");
  } else if (file.failure.kind != ActionFailure::Kind::kNone) {
    maillog::Warning(options_.program, "cannot open file ", path, ": ", Reason(file.failure));
  } else if (file.is_longer) {
    places_.pop_back();
    maillog::Warning(options_.program, "file ", path, " is larger than ", kFileBytesMax, " bytes");
    Defer(party, "4.3.0", "error reading .forward file: File too large");
  } else {
    party.origin = Origin::kForward;
    party.owner = party.user;
    party.expanded_from = party.local;
    const uint32_t notify = party.recipient.dsn_notify();
    party.recipient.set_dsn_notify(WithoutSuccess(notify));
    auto destinations = std::make_shared<size_t>(0);
    Push(party, ForwardEndPlace{.path = path,
                                .notify = notify,
                                .deferred_before = deferred_,
                                .destinations = destinations});
    Push(std::move(party), LinesPlace{.text = file.text, .destinations = std::move(destinations)});
  }
}

void Expansion::Visit(Party, ForwardEndPlace place) {
  // Without a destination it is no .forward: then the mailbox is next.
  if (*place.destinations == 0 && deferred_ == place.deferred_before) return;
  places_.pop_back();
  IsSeen(Concat("forward-done ", place.path));
  if (deferred_ == place.deferred_before && (place.notify & mail::v1::NOTIFY_FLAG_SUCCESS) != 0) {
    success_ = Outcome::SUCCESS_EXPANDED;
  }
}

// One line after the other; none behind one that was deferred.
void Expansion::Visit(Party party, LinesPlace place) {
  if (place.deferred_before && deferred_ > *place.deferred_before) return;
  while (place.offset < place.text.size()) {
    const size_t end = place.text.find('\n', place.offset);
    const size_t size =
        std::min(end == std::string::npos ? place.text.size() - place.offset : end - place.offset,
                 options_.line_bytes_max);
    const std::string line = place.text.substr(place.offset, size);
    place.offset += size;
    if (place.offset < place.text.size() && place.text[place.offset] == '\n') ++place.offset;
    if (line.starts_with('#')) continue;
    std::vector<Destination> destinations = ReadDestinations(line);
    if (destinations.empty()) continue;
    *place.destinations += destinations.size();
    place.deferred_before = deferred_;
    Push(party, std::move(place));
    return Push(std::move(party), DestinationsPlace{.destinations = std::move(destinations)});
  }
}

void Expansion::ToInclude(Party party, const std::string& path) {
  ++party.level;
  const uid_t uid = party.rights ? party.rights->ids.uid : 0;
  if (IsSeen(Concat("include ", uid, " ", path))) return;
  if (party.level > kLevelsMax) {
    maillog::Warning(options_.program, ":include: file ", path, " is nested too deep");
    return Bounce(party, "5.4.6", Concat("possible :include: loop for ", path));
  }
  party.expanded_from = party.local;
  if (!path.starts_with('/')) {
    maillog::Warning(options_.program, ":include:", path, " uses a relative path");
    return Bounce(party, "5.3.5", kConfigurationError);
  }
  party.origin = Origin::kInclude;
  Step step = {
      .kind = Step::Kind::kReadFile, .party = party, .text = path, .rights = RightsOf(party)};
  Ask(std::move(step), {.party = std::move(party), .what = IncludePlace{.path = path}});
}

void Expansion::Visit(Party, IncludePlace) {}

void Expansion::OnIncludeFile(Party party, const std::string& path, const UserFile& file) {
  const ActionFailure& failure = file.failure;
  if (IsUnknown(failure)) {
    return Defer(party, "4.3.0", Concat("mail system error: ", failure.text));
  }
  std::string fault;
  if (failure.kind != ActionFailure::Kind::kNone) {
    fault = Concat(failure.error_number == EACCES ? "cannot open include file "
                                                  : "unable to lookup :include: file ",
                   path, ": ", Reason(failure));
  } else if (!file.is_regular) {
    fault = Concat(":include: file ", path, " is not a regular file");
  } else if ((file.mode & kOthersWrite) != 0) {
    fault = Concat(":include: file ", path, " is world writable");
  } else if (file.is_longer) {
    fault = Concat(":include: file ", path, " is larger than ", kFileBytesMax, " bytes");
  }
  if (!fault.empty()) {
    maillog::Warning(options_.program, fault);
    return Bounce(party, "5.3.5", kConfigurationError);
  }
  // A list's owner shall not act as the default user: a list of his, in an alias of root, acts as
  // he.
  if ((!party.rights || party.rights->ids.uid == 0) && file.owner != 0) {
    auto user = accounts_.ByUid(file.owner);
    if (!user.ok() || !*user) {
      maillog::Warning(options_.program, "cannot find username for uid ", file.owner);
      return Defer(party, "4.3.0", kConfigurationError);
    }
    party.rights = **std::move(user);
  }
  if (!party.owner) party.owner = party.recipient.address();
  if ((options_.extensions_go_to & static_cast<int>(Origin::kInclude)) == 0) {
    party.unmatched.reset();
  }
  Push(std::move(party), LinesPlace{.text = file.text, .destinations = std::make_shared<size_t>()});
}

void Expansion::Visit(Party party, MailboxPlace) {
  if (IsSeen(Concat("mailbox ", party.local))) return;
  if (PassOnByTables(party, tables_.mailbox_transports, options_.mailbox_transport)) return;
  auto user = accounts_.ByName(party.user);
  if (!user.ok()) {
    maillog::Warning(options_.program, "error looking up passwd info for ", party.user, ": ",
                     std::string(user.status().message()));
    return Defer(party, "4.0.0", "user lookup error");
  }
  if (!*user) return ToUnknown(std::move(party));
  party.rights = **user;
  ToMailbox(party, **user);
}

// True: to a transport, or it cannot be known which.
bool Expansion::PassOnByTables(const Party& party, tables::Maps& maps,
                               const std::string& transport) {
  const auto found = maps.Lookup(party.user);
  if (!tables_.opened.ok() || !found.ok()) {
    maillog::Warning(options_.program,
                     std::string((found.ok() ? tables_.opened : found.status()).message()));
    Defer(party, "4.3.0", "table lookup failure");
    return true;
  }
  const std::string to = *found ? **found : transport;
  if (to.empty()) return false;
  Do({.kind = Step::Kind::kPassOn, .party = party, .text = to});
  return true;
}

void Expansion::ToMailbox(const Party& party, const User& user) {
  Step step = {.kind = Step::Kind::kMailbox, .party = party, .rights = user.ids};
  const auto command = tables_.mailbox_commands.Lookup(party.user);
  if (!command.ok()) {
    maillog::Warning(options_.program, std::string(command.status().message()));
    return Defer(party, "4.3.0", "table lookup failure");
  }
  // What the administrator gives every mailbox to needs no permission.
  if (*command || !options_.mailbox_command.empty()) {
    Party free = party;
    free.origin = Origin::kNone;
    return ToCommand(free, *command ? **command : options_.mailbox_command);
  }
  if (!options_.home_mailbox.empty()) {
    step.text = Concat(user.home, "/", options_.home_mailbox);
  } else if (options_.mail_spool_directory.ends_with('/')) {
    step.text = Concat(options_.mail_spool_directory, party.user, "/");
  } else {
    step.text = Concat(options_.mail_spool_directory, "/", party.user);
    step.in_spool = true;
  }
  if (!options_.frozen_delivered_to) step.party.delivered = party.recipient.address();
  Do(std::move(step));
}

void Expansion::ToUnknown(Party party) {
  if (IsSeen(Concat("unknown ", party.local))) return;
  if (PassOnByTables(party, tables_.fallback_transports, options_.fallback_transport)) return;
  if (!options_.luser_relay.empty()) {
    party.unmatched.reset();
    const ExpandedNames relay =
        ExpandNames(options_.luser_relay, NamesOf(party, options_), nullptr);
    ++party.level;
    Step step = {.kind = Step::Kind::kFindRoute, .party = party, .text = relay.text};
    return Ask(std::move(step), {.party = std::move(party), .what = AddressPlace{}});
  }
  if (party.user == "mailer-daemon" || party.user == "postmaster") {
    maillog::Warning(options_.program, "required alias not found: ", party.user);
    return Decide(party, Outcome::ACTION_SENT, "2.0.0", "discarded");
  }
  Bounce(party, "5.1.1", Concat("unknown user: \"", party.user, "\""));
}

void Expansion::ToFile(const Party& party, const std::string& path) {
  const uid_t uid = party.rights ? party.rights->ids.uid : 0;
  if (IsSeen(Concat("file ", uid, " ", path))) return;
  if ((options_.files_from & static_cast<int>(party.origin)) == 0) {
    return Bounce(party, "5.7.1", "mail to file is restricted");
  }
  if (!MayAct(party)) return;
  Step step = {.kind = Step::Kind::kFile, .party = party, .text = path, .rights = RightsOf(party)};
  if (!options_.frozen_delivered_to) step.party.delivered = party.recipient.address();
  Do(std::move(step));
}

void Expansion::ToCommand(const Party& party, const std::string& command) {
  const uid_t uid = party.rights ? party.rights->ids.uid : 0;
  if (IsSeen(Concat("command ", party.user, ":", uid, " ", command))) return;
  if (party.origin != Origin::kNone &&
      (options_.commands_from & static_cast<int>(party.origin)) == 0) {
    return Bounce(party, "5.7.1", "mail to command is restricted");
  }
  if (!MayAct(party)) return;
  Step step = {
      .kind = Step::Kind::kCommand, .party = party, .text = command, .rights = RightsOf(party)};
  if (!options_.frozen_delivered_to) step.party.delivered = party.recipient.address();
  Do(std::move(step));
}

bool Expansion::MayAct(const Party& party) {
  const bool by_default = !party.rights || party.rights->ids.uid == 0;
  if (!by_default || options_.default_rights_fault.empty()) return true;
  maillog::Warning(options_.program, options_.default_rights_fault);
  Defer(party, "4.3.5", kConfigurationError);
  return false;
}

}  // namespace postfleet::delivery
