#include "libs/dns/records.h"

#include <algorithm>
#include <asio/ip/address_v4.hpp>
#include <optional>

namespace postfleet::dns {
namespace {

bool IsIpv4Address(const std::string& name) {
  // The parser takes what stands before a zero byte for the whole.
  if (name.find_first_not_of("0123456789.") != std::string::npos) return false;
  std::error_code error;
  asio::ip::make_address_v4(name, error);
  return !error;
}

// A name of uncompressed labels that takes all of `wire`: "mx.example.com", "" for the root.
// nullopt: no host name, nor an address in words.
std::optional<std::string> ParseName(std::string_view wire) {
  std::string name;
  while (!wire.empty() && wire.front() != 0) {
    const size_t length = static_cast<unsigned char>(wire.front());
    if (length > 63 || wire.size() < 1 + length) return std::nullopt;
    if (!name.empty()) name += '.';
    for (char c : wire.substr(1, length)) {
      // A dot inside a label would make two of it.
      if (c == '.') return std::nullopt;
      name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    wire.remove_prefix(1 + length);
  }
  if (wire.size() != 1) return std::nullopt;
  if (!name.empty() && !IsHostName(name) && !IsIpv4Address(name)) return std::nullopt;
  return name;
}

uint16_t ParseNumber(std::string_view wire) {
  return static_cast<uint16_t>((static_cast<unsigned char>(wire[0]) << 8) |
                               static_cast<unsigned char>(wire[1]));
}

std::optional<MxRecord> ParseMx(std::string_view rdata) {
  if (rdata.size() < 3) return std::nullopt;
  const auto name = ParseName(rdata.substr(2));
  if (!name) return std::nullopt;
  return MxRecord{.preference = ParseNumber(rdata), .exchange = *name};
}

std::optional<SrvRecord> ParseSrv(std::string_view rdata) {
  if (rdata.size() < 7) return std::nullopt;
  const auto name = ParseName(rdata.substr(6));
  if (!name) return std::nullopt;
  return SrvRecord{.priority = ParseNumber(rdata),
                   .weight = ParseNumber(rdata.substr(2)),
                   .port = ParseNumber(rdata.substr(4)),
                   .target = *name};
}

template <typename Address>
std::optional<asio::ip::address> ParseAddress(std::string_view rdata) {
  typename Address::bytes_type bytes;
  if (rdata.size() != bytes.size()) return std::nullopt;
  std::copy(rdata.begin(), rdata.end(), bytes.begin());
  return asio::ip::address(Address(bytes));
}

}  // namespace

Answer ParseRecords(Type type, const std::vector<std::string_view>& rdata) {
  Answer answer;
  for (size_t i = 0; i < std::min(rdata.size(), kRecordsMax); ++i) {
    if (type == Type::kMx) {
      if (auto mx = ParseMx(rdata[i])) answer.mx.push_back(std::move(*mx));
    } else if (type == Type::kSrv) {
      if (auto srv = ParseSrv(rdata[i])) answer.srv.push_back(std::move(*srv));
    } else {
      const auto address = type == Type::kA ? ParseAddress<asio::ip::address_v4>(rdata[i])
                                            : ParseAddress<asio::ip::address_v6>(rdata[i]);
      if (address) answer.addresses.push_back(*address);
    }
  }
  const bool some = !answer.mx.empty() || !answer.addresses.empty() || !answer.srv.empty();
  answer.result = some ? Result::kFound : Result::kMalformed;
  return answer;
}

}  // namespace postfleet::dns
