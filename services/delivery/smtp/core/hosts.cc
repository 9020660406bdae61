#include "services/delivery/smtp/core/hosts.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>
#include <charconv>

#include "libs/base/concat.h"
#include "libs/dns/internationalized.h"
#include "libs/dns/resolver.h"
#include "libs/mail/address.h"

namespace postfleet::delivery::smtp {
namespace {

absl::Status Bad(std::string_view text) {
  return absl::InvalidArgumentError(Concat("bad next hop: ", text));
}

// Splits "[host]:port" and "host:port".
bool Split(std::string_view text, std::string_view* host, std::string_view* port, bool* literal) {
  *literal = !text.empty() && text.front() == '[';
  if (*literal) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    *host = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (!text.empty() && text.front() != ':') return false;
    *port = text.empty() ? text : text.substr(1);
    return text.size() != 1;
  }
  const size_t colon = text.rfind(':');
  *host = text.substr(0, colon);
  *port = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  return colon == std::string_view::npos || !port->empty();
}

void Shuffle(std::vector<Candidate>* candidates, const Random& random) {
  for (size_t left = candidates->size(); left > 1; --left) {
    std::swap((*candidates)[left - 1], (*candidates)[random(static_cast<uint32_t>(left))]);
  }
}

// Keeps the order; each family gets half of `addresses_max`, and what the other one does not need.
void CutBalanced(std::vector<Candidate>* candidates, size_t addresses_max) {
  const auto v6 =
      static_cast<size_t>(std::count_if(candidates->begin(), candidates->end(),
                                        [](const Candidate& c) { return c.address.is_v6(); }));
  const size_t v4 = candidates->size() - v6;
  size_t v6_left = std::min(v6, std::max<size_t>(addresses_max / 2, 1));
  const size_t v4_share = std::min(v4, addresses_max - v6_left);
  v6_left = std::min(v6, addresses_max - v4_share);
  size_t v4_left = v4_share;
  std::erase_if(*candidates, [&](const Candidate& candidate) {
    size_t& left = candidate.address.is_v6() ? v6_left : v4_left;
    if (left == 0) return true;
    --left;
    return false;
  });
}

}  // namespace

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error == std::errc() && end == text.data() + text.size() && port != 0) return port;
  servent entry;
  servent* found = nullptr;
  char buffer[1024];
  if (getservbyname_r(std::string(text).c_str(), "tcp", &entry, buffer, sizeof(buffer), &found) !=
          0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return ntohs(static_cast<uint16_t>(found->s_port));
}

absl::StatusOr<Nexthop> ParseNexthop(std::string_view text, uint16_t default_port,
                                     bool bare_address) {
  std::string_view host;
  std::string_view port;
  Nexthop nexthop{.port = default_port};
  if (!Split(text, &host, &port, &nexthop.literal_host)) return Bad(text);
  if (!port.empty()) {
    const auto number = ParsePort(port);
    if (!number) return Bad(text);
    nexthop.port = *number;
    nexthop.service = std::string(port);
  }
  if (nexthop.literal_host) {
    constexpr std::string_view kIpv6 = "ipv6:";
    if (mail::LowerCasedAscii(host.substr(0, kIpv6.size())) == kIpv6) {
      host.remove_prefix(kIpv6.size());
    }
    std::error_code error;
    asio::ip::make_address(std::string(host), error);
    nexthop.is_address = !error;
  }
  if (!nexthop.literal_host && bare_address) {
    std::error_code error;
    asio::ip::make_address_v4(std::string(host), error);
    nexthop.is_address = !error;
  }
  nexthop.host = nexthop.is_address ? std::string(host) : dns::AsciiName(host);
  if (!nexthop.is_address && !dns::IsHostName(nexthop.host)) return Bad(text);
  return nexthop;
}

std::vector<std::string> SplitNexthops(std::string_view text) {
  constexpr std::string_view kSeparators = ", \t\r\n";
  std::vector<std::string> nexthops;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kSeparators), text.size()));
    if (text.empty()) return nexthops;
    const size_t end = std::min(text.find_first_of(kSeparators), text.size());
    nexthops.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::string RelayName(const Candidate& host) {
  if (!host.path.empty()) return Concat(host.host, "[", host.path, "]");
  return Concat(host.host, "[", host.address.to_string(), "]:", host.port);
}

void OrderServiceTargets(std::vector<ServiceTarget>* targets, const Random& random) {
  // Weight 0 first: those are picked only when the others leave nothing to chance.
  std::stable_sort(
      targets->begin(), targets->end(), [](const ServiceTarget& a, const ServiceTarget& b) {
        return a.priority != b.priority ? a.priority < b.priority : a.weight < b.weight;
      });
  for (auto begin = targets->begin(); begin != targets->end(); ++begin) {
    uint32_t total = 0;
    auto end = begin;
    for (; end != targets->end() && end->priority == begin->priority; ++end) total += end->weight;
    uint32_t picked = random(total + 1);
    auto chosen = begin;
    while (chosen + 1 != end && picked > chosen->weight) picked -= chosen++->weight;
    std::rotate(begin, chosen, chosen + 1);
  }
}

void OrderCandidates(std::vector<Candidate>* candidates, const OrderOptions& options,
                     const Random& random) {
  if (options.randomize) Shuffle(candidates, random);
  const auto family = [&](const Candidate& candidate) {
    if (options.prefer == OrderOptions::Prefer::kAny) return 0;
    const bool wants_v6 = options.prefer == OrderOptions::Prefer::kIpv6;
    return candidate.address.is_v6() == wants_v6 ? 0 : 1;
  };
  std::stable_sort(candidates->begin(), candidates->end(),
                   [&](const Candidate& a, const Candidate& b) {
                     if (a.preference != b.preference) return a.preference < b.preference;
                     return family(a) < family(b);
                   });
  if (options.addresses_max == 0 || candidates->size() <= options.addresses_max) return;
  // One place is the first one's, whatever its family.
  if (options.balance && options.addresses_max > 1) {
    CutBalanced(candidates, options.addresses_max);
  } else {
    candidates->resize(options.addresses_max);
  }
}

Loop RemoveSelf(std::vector<Candidate>* candidates, const std::vector<asio::ip::address>& own,
                uint16_t best_preference) {
  if (candidates->empty()) return Loop::kNone;
  uint16_t best_found = candidates->front().preference;
  std::optional<uint16_t> self;
  for (const Candidate& candidate : *candidates) {
    best_found = std::min(best_found, candidate.preference);
    if (std::find(own.begin(), own.end(), candidate.address) == own.end()) continue;
    self = std::min(self.value_or(candidate.preference), candidate.preference);
  }
  if (!self) return Loop::kNone;
  std::erase_if(*candidates,
                [&](const Candidate& candidate) { return candidate.preference >= *self; });
  if (!candidates->empty()) return Loop::kNone;
  return best_found == best_preference ? Loop::kToMyself : Loop::kNoPrimary;
}

}  // namespace postfleet::delivery::smtp
