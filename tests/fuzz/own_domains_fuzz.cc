// Where an address leads: it comes to an end, and what is left as another's domain is not ours, and
// does not lead on to yet another.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/mail/address.h"
#include "services/lookup/core/own_domains.h"

namespace {

using postfleet::lookup::Destination;

bool IsOurs(std::string_view domain) { return postfleet::mail::LowerCasedAscii(domain) == "ours"; }

Destination Strip(const postfleet::lookup::OwnDomainRules& rules, std::string_view address) {
  auto to = postfleet::lookup::StripOwnDomains(
      rules, address,
      [](std::string_view domain) -> absl::StatusOr<bool> { return IsOurs(domain); });
  if (!to.ok()) std::abort();
  return *std::move(to);
}

std::string_view DomainOf(const Destination& to) {
  const std::string_view address = to.address;
  return address.substr(address.rfind('@') + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t bits = data[0];
  const std::string_view address(reinterpret_cast<const char*>(data) + 1, size - 1);
  const postfleet::lookup::OwnDomainRules rules = {
      .rewriting = {.origin = "ours",
                    .domain = "example",
                    .append_dot_domain = (bits & 1) != 0,
                    .swap_bangpath = (bits & 2) != 0,
                    .percent_hack = (bits & 4) != 0},
      .myhostname = "ours",
      .empty_address_recipient = "MAILER-DAEMON",
      .resolve_dequoted_address = (bits & 8) != 0,
      .resolve_null_domain = (bits & 16) != 0};
  const Destination to = Strip(rules, address);
  if (to.malformed || !postfleet::mail::IsMailDomain(DomainOf(to), true)) return 0;
  if (IsOurs(DomainOf(to)) != to.own) std::abort();
  // Of ours a mailbox is looked for, and nobody asks again.
  if (to.own) return 0;
  const Destination again = Strip(rules, to.address);
  if (!again.malformed && DomainOf(again) != DomainOf(to)) std::abort();
  return 0;
}
