#include "libs/smtp/proxy_header.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

namespace postfleet::smtp {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view kWord = "PROXY";
// Of version 2, before the addresses.
constexpr size_t kPrefixBytes = 16;
constexpr int kVersion2 = 2;
constexpr int kLocal = 0;
constexpr int kProxy = 1;
constexpr uint8_t kTcp4 = 0x11;
constexpr uint8_t kTcp6 = 0x21;

uint8_t Byte(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]); }
uint16_t Number16(std::string_view text, size_t at) {
  return static_cast<uint16_t>(Byte(text, at) << 8 | Byte(text, at + 1));
}

std::string_view NextWord(std::string_view* line) {
  line->remove_prefix(std::min(line->find_first_not_of(' '), line->size()));
  const std::string_view word = line->substr(0, line->find(' '));
  line->remove_prefix(word.size());
  return word;
}

// Of 4 or 16 bytes.
std::string AddressText(std::string_view bytes) {
  constexpr std::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  if (bytes.starts_with(kMapped)) bytes.remove_prefix(kMapped.size());
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(bytes.size() == sizeof(in_addr) ? AF_INET : AF_INET6, bytes.data(), text.data(),
            text.size());
  return text.data();
}

// Empty: no address of the family.
std::string ParseAddress(std::string_view word, int family) {
  std::array<char, sizeof(in6_addr)> bytes{};
  if (inet_pton(family, std::string(word).c_str(), bytes.data()) != 1) return {};
  return AddressText({bytes.data(), family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr)});
}

std::optional<uint16_t> ParsePort(std::string_view word) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), port);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  if (word.size() > 1 && word[0] == '0') return std::nullopt;
  return port;
}

}  // namespace

size_t ProxyHeaderReader::Take(std::string_view in) {
  size_t taken = 0;
  while (state_ == State::kMore && taken < in.size()) {
    const std::string_view left = in.substr(taken);
    const bool binary = bytes_.starts_with(kSignature);
    // Version 1 ends with its line; so do bytes that are neither.
    size_t count = BytesNeeded() - bytes_.size();
    if (!binary && bytes_.size() >= kSignature.size()) {
      const size_t newline = left.find('\n');
      count = newline == std::string_view::npos ? left.size() : newline + 1;
    }
    count = std::min({count, left.size(), kBytesMax - bytes_.size()});
    bytes_.append(left.substr(0, count));
    taken += count;
    Parse();
  }
  return taken;
}

size_t ProxyHeaderReader::BytesNeeded() const {
  if (!bytes_.starts_with(kSignature)) return std::max(kSignature.size(), bytes_.size() + 1);
  if (bytes_.size() < kPrefixBytes) return kPrefixBytes;
  return kPrefixBytes + Number16(bytes_, kPrefixBytes - 2);
}

void ProxyHeaderReader::Parse() {
  if (bytes_.starts_with(kSignature)) {
    if (bytes_.size() < kPrefixBytes) {
      error_ = "short version 2 protocol header";
    } else if (BytesNeeded() > kBytesMax) {
      Fail("short version 2 protocol header");
    } else if (bytes_.size() == BytesNeeded()) {
      ParseBinary(bytes_);
    }
    return;
  }
  const size_t newline = bytes_.find('\n');
  const bool may_be_binary = kSignature.starts_with(bytes_);
  if (may_be_binary) return;
  if (!kWord.starts_with(std::string_view(bytes_).substr(0, kWord.size()))) {
    return Fail("unrecognized protocol header");
  }
  if (newline == std::string_view::npos) {
    if (bytes_.size() >= kBytesMax) Fail("missing protocol header terminator");
    return;
  }
  std::string_view line(bytes_.data(), newline);
  if (line.ends_with('\r')) line.remove_suffix(1);
  ParseLine(line);
}

void ProxyHeaderReader::ParseLine(std::string_view line) {
  if (NextWord(&line) != kWord) return Fail("unrecognized protocol header");
  const std::string_view protocol = NextWord(&line);
  if (protocol != "TCP4" && protocol != "TCP6") return Fail("bad or missing protocol type");
  const int family = protocol == "TCP4" ? AF_INET : AF_INET6;
  connection_.client_address = ParseAddress(NextWord(&line), family);
  if (connection_.client_address.empty()) return Fail("bad or missing client address");
  connection_.server_address = ParseAddress(NextWord(&line), family);
  if (connection_.server_address.empty()) return Fail("bad or missing server address");
  const auto client_port = ParsePort(NextWord(&line));
  if (!client_port) return Fail("bad or missing client port");
  const auto server_port = ParsePort(NextWord(&line));
  if (!server_port) return Fail("bad or missing server port");
  connection_.client_port = *client_port;
  connection_.server_port = *server_port;
  state_ = State::kDone;
}

void ProxyHeaderReader::ParseBinary(std::string_view header) {
  const int version = Byte(header, 12) >> 4;
  const int command = Byte(header, 12) & 0xf;
  const uint8_t family = Byte(header, 13);
  if (version != kVersion2) return Fail("unrecognized protocol version");
  if (command == kLocal) {
    connection_.local = true;
    state_ = State::kDone;
    return;
  }
  if (command != kProxy) return Fail("bad command in proxy header");
  if (family != kTcp4 && family != kTcp6) return Fail("unsupported network protocol");
  const size_t size = family == kTcp4 ? sizeof(in_addr) : sizeof(in6_addr);
  const std::string_view fields = header.substr(kPrefixBytes);
  if (fields.size() < 2 * size + 4) return Fail("short address field");
  connection_.client_address = AddressText(fields.substr(0, size));
  connection_.server_address = AddressText(fields.substr(size, size));
  connection_.client_port = Number16(fields, 2 * size);
  connection_.server_port = Number16(fields, 2 * size + 2);
  state_ = State::kDone;
}

void ProxyHeaderReader::Fail(std::string_view error) {
  state_ = State::kBad;
  error_ = error;
}

}  // namespace postfleet::smtp
