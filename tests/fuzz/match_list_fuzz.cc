// Match lists, asked for names and addresses of hostile clients: the answer is that of the rules,
// said once more here, and does not depend on letters; addresses that parse are written so that
// they parse to the same. The rest of the input is a list itself: it opens, or says why not.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/mail/address.h"
#include "libs/tables/match_list.h"

namespace {

using postfleet::config::IpAddress;
using postfleet::mail::LowerCasedAscii;
using postfleet::tables::MatchKind;
using postfleet::tables::MatchList;
using postfleet::tables::MatchListOptions;

void Check(bool holds) {
  if (!holds) std::abort();
}

constexpr std::string_view kList = "!no.Example.com, example.com .below.example 192.0.2.0/24 [::1]";

bool IsBelow(std::string_view name, std::string_view domain) {
  return name.size() > domain.size() && name.ends_with(domain) &&
         name[name.size() - domain.size() - 1] == '.';
}

// What kList says of a name, by postconf(5).
bool Expected(const std::string& name, bool parents) {
  const auto matches = [&](std::string_view domain) {
    return name == domain || (parents && IsBelow(name, domain));
  };
  if (matches("no.example.com")) return false;
  return matches("example.com") || (!parents && IsBelow(name, "below.example"));
}

MatchList* Open(bool parents) {
  const MatchListOptions options{.kind = MatchKind::kDomain, .parent_matches_subdomains = parents};
  return new MatchList(*MatchList::Open("relay_domains", kList, options));
}

void CheckName(const std::string& name) {
  static MatchList* const lists[] = {Open(false), Open(true)};
  // Items of networks are no names.
  const std::string lower = LowerCasedAscii(name);
  if (lower.find_first_of("/[") != lower.npos || lower.starts_with("192.0.2")) return;
  for (const bool parents : {false, true}) {
    const auto matches = lists[parents ? 1 : 0]->Matches(name);
    Check(matches.ok() && *matches == *lists[parents ? 1 : 0]->Matches(lower));
    if (!lower.starts_with('.')) Check(*matches == Expected(lower, parents));
  }
}

void CheckHost(const std::string& name, std::string_view text) {
  static MatchList* const hosts = new MatchList(
      *MatchList::Open("mynetworks", "192.0.2.0/24 [::1]", {.kind = MatchKind::kHost}));
  const auto address = IpAddress::Parse(text);
  if (!address) return;
  Check(IpAddress::Parse(address->ToString()) == address);
  const auto matches = hosts->MatchesHost(name, *address);
  const std::string written = address->ToString();
  Check(matches.ok() && *matches == (written.starts_with("192.0.2.") || written == "::1"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = text.find('\n');
  const std::string name(text.substr(0, cut));
  CheckName(name);
  CheckName(name + ".example.com");
  CheckName(name + ".below.example");
  CheckHost("unknown", name);
  if (cut == text.npos) return 0;
  // Lists are the administrator's: no files, so that this stays in memory.
  const std::string list(text.substr(cut + 1));
  if (list.find_first_of("/:") != list.npos) return 0;
  auto open = MatchList::Open("relay_domains", list, {.kind = MatchKind::kDomain});
  if (open.ok()) Check(open->Matches(name).ok());
  return 0;
}
