// IP addresses and networks: the grammar of mynetworks, match lists and cidr tables (postconf(5),
// cidr_table(5)).
//
// Addresses are kept as 16 bytes; an IPv4 address as ::ffff:a.b.c.d, so that both families compare
// alike but never match each other's patterns. A network's host part must be zero, as Postfix
// demands. No DNS.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace postfleet::config {

class IpAddress {
 public:
  // "1.2.3.4", "::1", "[::1]", "[1.2.3.4]", "IPv6:::1"; nullopt if it is none.
  static std::optional<IpAddress> Parse(std::string_view text);
  static IpAddress FromV4(const uint8_t bytes[4]);
  static IpAddress FromV6(const uint8_t bytes[16]);

  bool is_v4() const;
  int bits() const { return is_v4() ? 32 : 128; }
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  std::string ToString() const;  // without brackets

  friend bool operator==(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<uint8_t, 16> bytes_{};
};

class IpNetwork {
 public:
  // "192.0.2.0/24", "192.0.2.1", "[2001:db8::]/32", "[::1]", "2001:db8::/32" (cidr tables write
  // IPv6 without brackets). Errors: InvalidArgument in Postfix's words ("non-null host address bits
  // in \"10.0.0.1/8\", perhaps you should use \"10.0.0.0/8\" instead", "bad network/mask pattern:
  // ...").
  static absl::StatusOr<IpNetwork> Parse(std::string_view text);
  // The network of that length around an address: host bits are cleared.
  IpNetwork(const IpAddress& address, int prefix_length);

  bool Contains(const IpAddress& address) const;
  const IpAddress& address() const { return address_; }
  int prefix_length() const { return prefix_length_; }
  std::string ToString() const;  // "127.0.0.0/8", "[::1]/128"

 private:
  IpAddress address_;
  int prefix_length_;
};

}  // namespace postfleet::config
