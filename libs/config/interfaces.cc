#include "libs/config/interfaces.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

std::optional<IpAddress> FromSocketAddress(const sockaddr* address) {
  if (address == nullptr) return std::nullopt;
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return IpAddress::FromV4(reinterpret_cast<const uint8_t*>(&v4->sin_addr));
  }
  if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    return IpAddress::FromV6(v6->sin6_addr.s6_addr);
  }
  return std::nullopt;
}

bool IsLoopback(const IpAddress& address) {
  if (address.is_v4()) return address.bytes()[12] == 127;
  return address == *IpAddress::Parse("::1");
}

int MaskLength(const sockaddr* mask, const IpAddress& address) {
  if (mask == nullptr) return address.bits();
  const uint8_t* bytes =
      address.is_v4()
          ? reinterpret_cast<const uint8_t*>(&reinterpret_cast<const sockaddr_in*>(mask)->sin_addr)
          : reinterpret_cast<const sockaddr_in6*>(mask)->sin6_addr.s6_addr;
  int length = 0;
  for (int i = 0; i < address.bits() / 8; ++i) length += std::popcount(bytes[i]);
  return length;
}

struct Families {
  bool v4 = false;
  bool v6 = false;
  bool Has(const IpAddress& address) const { return address.is_v4() ? v4 : v6; }
};

absl::StatusOr<Families> ParseFamilies(const std::vector<std::string>& protocols) {
  Families families;
  for (const std::string& item : protocols) {
    if (item != "all" && item != "ipv4" && item != "ipv6") {
      return absl::InvalidArgumentError(
          Concat("unknown inet_protocols value \"", item, "\"; specify all, ipv4 or ipv6"));
    }
    families.v4 |= item != "ipv6";
    families.v6 |= item != "ipv4";
  }
  if (!families.v4 && !families.v6) {
    return absl::InvalidArgumentError("parameter inet_protocols: empty; specify all, ipv4 or ipv6");
  }
  return families;
}

absl::StatusOr<std::vector<IpAddress>> LookUpHost(const std::string& host) {
  if (std::optional<IpAddress> literal = IpAddress::Parse(host)) {
    return std::vector<IpAddress>{*literal};
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(
        Concat("config variable inet_interfaces: host not found: ", host, " (",
               std::string_view(gai_strerror(error)), ")"));
  }
  absl::Cleanup release = [found] { freeaddrinfo(found); };
  std::vector<IpAddress> addresses;
  for (const addrinfo* next = found; next != nullptr; next = next->ai_next) {
    if (auto address = FromSocketAddress(next->ai_addr)) addresses.push_back(*address);
  }
  return addresses;
}

void AddOnce(std::vector<InterfaceAddress>& list, const InterfaceAddress& item) {
  for (const InterfaceAddress& other : list) {
    if (other.address == item.address) return;
  }
  list.push_back(item);
}

absl::StatusOr<InterfaceAddress> FindInterface(const IpAddress& address, const HostFacts& facts) {
  for (const InterfaceAddress& interface : facts.interfaces) {
    if (interface.address == address) return interface;
  }
  return absl::InvalidArgumentError(
      Concat("parameter inet_interfaces: no local interface found for ", address.ToString()));
}

// Of addresses that were asked for by name, as Postfix has them: IPv4 first, by their bytes from
// the last to the first.
bool GoesBefore(const InterfaceAddress& a, const InterfaceAddress& b) {
  const auto& left = a.address.bytes();
  const auto& right = b.address.bytes();
  if (a.address.is_v4() != b.address.is_v4()) return a.address.is_v4();
  if (!a.address.is_v4()) return left < right;
  return std::lexicographical_compare(left.rbegin(), left.rend(), right.rbegin(), right.rend());
}

// Class A, B and C; other addresses stand alone. IPv6 has no classes: the subnet.
int ClassLength(const InterfaceAddress& own) {
  if (!own.address.is_v4()) return own.prefix_length;
  uint8_t first = own.address.bytes()[12];
  if (first < 128) return 8;
  if (first < 192) return 16;
  return first < 224 ? 24 : 32;
}

}  // namespace

bool IsLinkLocal(const IpAddress& address) {
  return !address.is_v4() && address.bytes()[0] == 0xfe && (address.bytes()[1] & 0xc0) == 0x80;
}

absl::StatusOr<HostFacts> ReadHostFacts() {
  HostFacts facts;
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0) return absl::ErrnoToStatus(errno, "gethostname");
  facts.hostname = name;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return absl::ErrnoToStatus(errno, "getifaddrs");
  absl::Cleanup release = [list] { freeifaddrs(list); };
  for (const ifaddrs* next = list; next != nullptr; next = next->ifa_next) {
    if ((next->ifa_flags & IFF_UP) == 0) continue;
    std::optional<IpAddress> address = FromSocketAddress(next->ifa_addr);
    if (!address) continue;
    facts.interfaces.push_back({*address, MaskLength(next->ifa_netmask, *address)});
  }
  return facts;
}

absl::StatusOr<std::vector<InterfaceAddress>> SelectInterfaces(
    const std::vector<std::string>& inet_interfaces, const std::vector<std::string>& inet_protocols,
    const HostFacts& facts) {
  absl::StatusOr<Families> families = ParseFamilies(inet_protocols);
  if (!families.ok()) return families.status();
  std::vector<InterfaceAddress> own;
  const bool is_all = inet_interfaces == std::vector<std::string>{"all"};
  if (is_all || inet_interfaces == std::vector<std::string>{"loopback-only"}) {
    for (const InterfaceAddress& interface : facts.interfaces) {
      const bool wanted = is_all || IsLoopback(interface.address);
      if (wanted && families->Has(interface.address)) AddOnce(own, interface);
    }
    return own;
  }
  for (const std::string& item : inet_interfaces) {
    absl::StatusOr<std::vector<IpAddress>> addresses = LookUpHost(item);
    if (!addresses.ok()) return addresses.status();
    for (const IpAddress& address : *addresses) {
      if (!families->Has(address)) continue;
      const absl::StatusOr<InterfaceAddress> found = FindInterface(address, facts);
      if (!found.ok()) return found.status();
      AddOnce(own, *found);
    }
  }
  std::sort(own.begin(), own.end(), GoesBefore);
  return own;
}

absl::StatusOr<std::string> DefaultMynetworks(std::string_view style,
                                              const std::vector<InterfaceAddress>& own) {
  if (style != "host" && style != "subnet" && style != "class") {
    return absl::InvalidArgumentError(Concat("unknown mynetworks mask style value \"", style,
                                             "\"; specify one of host, subnet or class"));
  }
  std::vector<std::string> networks;
  for (const InterfaceAddress& interface : own) {
    int length = interface.address.bits();
    if (style == "subnet") length = interface.prefix_length;
    if (style == "class") length = ClassLength(interface);
    std::string network = IpNetwork(interface.address, length).ToString();
    if (std::find(networks.begin(), networks.end(), network) == networks.end()) {
      networks.push_back(std::move(network));
    }
  }
  std::string text;
  for (const std::string& network : networks) ConcatTo(&text, text.empty() ? "" : " ", network);
  return text;
}

}  // namespace postfleet::config
