// What a load balancer says of a client before the client's first byte: the PROXY protocol of
// HAProxy, versions 1 (a line) and 2 (binary).
//
//   PROXY TCP4 192.0.2.7 192.0.2.1 25041 25 CR LF      or TCP6; CR may be missing
//   signature, version and command, family, length, addresses, TLVs (which are passed over)
//
// The reader takes no byte that is not the header's: what follows belongs to the session. So bytes
// are given to it as they lie in the socket (MSG_PEEK), and what Take took is then read.
//
// Version 2's LOCAL means the proxy's own connection. Everything else that names no TCP client,
// version 1's UNKNOWN included, is an error, as in Postfix: who may use a listener that trusts what
// it is told must tell. IPv6-mapped addresses are IPv4. A header has at most kBytesMax bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace postfleet::smtp {

struct ProxiedConnection {
  bool local = false;          // of the proxy itself: nothing else is set
  std::string client_address;  // "192.0.2.7"
  uint16_t client_port = 0;
  std::string server_address;
  uint16_t server_port = 0;
};

class ProxyHeaderReader {
 public:
  static constexpr size_t kBytesMax = 536;
  enum class State { kMore, kDone, kBad };

  // kMore only. `in`: what came and was not taken yet. How many of these bytes are the header's.
  size_t Take(std::string_view in);

  State state() const { return state_; }
  // kDone.
  const ProxiedConnection& connection() const { return connection_; }
  // kBad: "bad or missing client address". kMore: what is missing, for a time limit or an end.
  std::string_view error() const { return error_; }
  // Of the header, as far as it came.
  const std::string& bytes() const { return bytes_; }

 private:
  // How many bytes the header has at least, by those that are there.
  size_t BytesNeeded() const;
  void Parse();
  void ParseLine(std::string_view line);
  void ParseBinary(std::string_view header);
  void Fail(std::string_view error);

  std::string bytes_;
  State state_ = State::kMore;
  std::string_view error_ = "missing protocol header terminator";
  ProxiedConnection connection_;
};

}  // namespace postfleet::smtp
