#include "libs/config/ip_network.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

constexpr int kMappedBits = 96;  // an IPv4 address starts behind ::ffff:0:0/96
constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::string_view WithoutBrackets(std::string_view text) {
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return text;
  text = text.substr(1, text.size() - 2);
  if (absl::StartsWithIgnoreCase(absl::string_view(text.data(), text.size()), "IPv6:")) {
    text.remove_prefix(5);
  }
  return text;
}

int ParseLength(std::string_view text) {
  if (text.empty() || text.size() > 3) return -1;
  int length = 0;
  for (char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return -1;
    length = length * 10 + (c - '0');
  }
  return length;
}

}  // namespace

IpAddress IpAddress::FromV4(const uint8_t bytes[4]) {
  IpAddress address;
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.bytes_.begin());
  std::copy(bytes, bytes + 4, address.bytes_.begin() + 12);
  return address;
}

IpAddress IpAddress::FromV6(const uint8_t bytes[16]) {
  IpAddress address;
  std::copy(bytes, bytes + 16, address.bytes_.begin());
  return address;
}

std::optional<IpAddress> IpAddress::Parse(std::string_view text) {
  std::string plain(WithoutBrackets(text));
  uint8_t bytes[16];
  if (inet_pton(AF_INET, plain.c_str(), bytes) == 1) return FromV4(bytes);
  if (absl::StartsWithIgnoreCase(plain, "IPv6:")) plain.erase(0, 5);
  if (inet_pton(AF_INET6, plain.c_str(), bytes) == 1) return FromV6(bytes);
  return std::nullopt;
}

bool IpAddress::is_v4() const {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes_.begin());
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  const uint8_t* start = bytes_.data() + (is_v4() ? 12 : 0);
  return inet_ntop(is_v4() ? AF_INET : AF_INET6, start, text, sizeof text);
}

IpNetwork::IpNetwork(const IpAddress& address, int prefix_length)
    : address_(address), prefix_length_(prefix_length) {
  std::array<uint8_t, 16> bytes = address.bytes();
  int kept = prefix_length + (address.is_v4() ? kMappedBits : 0);
  for (int bit = kept; bit < 128; ++bit) {
    bytes[static_cast<size_t>(bit / 8)] &= static_cast<uint8_t>(~(0x80 >> (bit % 8)));
  }
  address_ =
      address.is_v4() ? IpAddress::FromV4(bytes.data() + 12) : IpAddress::FromV6(bytes.data());
}

absl::StatusOr<IpNetwork> IpNetwork::Parse(std::string_view text) {
  absl::Status bad = absl::InvalidArgumentError(Concat("bad net/mask pattern: \"", text, "\""));
  // "[2001:db8::/32]" and "[2001:db8::]/32" are both in use.
  std::string_view plain = WithoutBrackets(text);
  size_t slash = plain.rfind('/');
  std::optional<IpAddress> address = IpAddress::Parse(plain.substr(0, slash));
  if (!address) return bad;
  if (slash == std::string_view::npos) return IpNetwork(*address, address->bits());
  int length = ParseLength(plain.substr(slash + 1));
  // Debian's mynetworks has [::ffff:127.0.0.0]/104.
  bool mapped = address->is_v4() && plain.find(':') != std::string_view::npos;
  if (mapped) length -= kMappedBits;
  if (length < 0 || length > address->bits()) return bad;
  IpNetwork network(*address, length);
  if (!(network.address() == *address)) {
    return absl::InvalidArgumentError(Concat("non-null host address bits in \"", text,
                                             "\", perhaps you should use \"", network.ToString(),
                                             "\" instead"));
  }
  return network;
}

bool IpNetwork::Contains(const IpAddress& address) const {
  if (address.is_v4() != address_.is_v4()) return false;
  return IpNetwork(address, prefix_length_).address() == address_;
}

std::string IpNetwork::ToString() const {
  if (address_.is_v4()) return Concat(address_.ToString(), '/', prefix_length_);
  return Concat('[', address_.ToString(), "]/", prefix_length_);
}

}  // namespace postfleet::config
