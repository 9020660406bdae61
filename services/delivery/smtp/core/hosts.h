// Which hosts a nexthop means, and in what order their addresses are tried (RFC 5321, 5.1; RFC
// 7505). Pure: lookups are the caller's.
#pragma once

#include <asio/ip/address.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::delivery::smtp {

// "example.com", "example.com:587", "[mx.example.com]:submission", "[192.0.2.1]",
// "[2001:db8::1]:25", "[IPv6:2001:db8::1]".
struct Nexthop {
  std::string host;  // without brackets; of a name in UTF-8 the A-labels
  // As written; empty: the default one.
  std::string service;
  uint16_t port = 0;
  bool literal_host = false;  // in brackets: no MX lookup
  bool is_address = false;    // `host` is an IP address
};

// "25", "submission" (/etc/services).
std::optional<uint16_t> ParsePort(std::string_view text);

// A port is a number or a service's name; without one it is `default_port`. InvalidArgument: not a
// nexthop.
// With `bare_address`, an IPv4 address needs no brackets: where nothing is looked up by MX.
absl::StatusOr<Nexthop> ParseNexthop(std::string_view text, uint16_t default_port,
                                     bool bare_address = false);

// The destinations of a list, "a, b c", in the order to be tried (Postfix 3.5 and later).
std::vector<std::string> SplitNexthops(std::string_view text);

// Where a server listens: an address and port, or the path of a unix socket.
struct Candidate {
  std::string host;
  asio::ip::address address;
  uint16_t preference = 0;  // of MX; of SRV the priority
  uint16_t port = 0;
  std::string path;  // as written, maybe relative; empty: not a unix socket
};

// As log lines name it: "mx.example[192.0.2.1]:25", "myhostname[private/dovecot-lmtp]".
std::string RelayName(const Candidate& host);

struct ServiceTarget {
  uint16_t priority = 0;
  uint16_t weight = 0;
  uint16_t port = 0;
  std::string host;
};

struct OrderOptions {
  size_t addresses_max = 5;  // smtp_mx_address_limit; 0: no limit
  bool randomize = true;     // equal preferences are shuffled
  enum class Prefer { kAny, kIpv4, kIpv6 } prefer = Prefer::kAny;
  // Where the limit cuts, both families keep a share.
  bool balance = true;
};

// A number below `bound`, which is at least 1.
using Random = std::function<uint32_t(uint32_t bound)>;

// RFC 2782: by priority; in each, a random order in which a greater weight tends to come first.
void OrderServiceTargets(std::vector<ServiceTarget>* targets, const Random& random);

// By preference; equal ones shuffled, then by family if one is preferred; then cut.
void OrderCandidates(std::vector<Candidate>* candidates, const OrderOptions& options,
                     const Random& random);

enum class Loop { kNone, kToMyself, kNoPrimary };

// Takes away the candidates that are not better than ourselves: with our address at some
// preference, that and all that follow. When none is left: kToMyself if a best one is ours,
// kNoPrimary if a better one than ours (`best_preference`, by MX) had no address.
Loop RemoveSelf(std::vector<Candidate>* candidates, const std::vector<asio::ip::address>& own,
                uint16_t best_preference);

}  // namespace postfleet::delivery::smtp
