// Asynchronous DNS lookups: MX with preferences, SRV, A and AAAA (RFC 1035, 2782, 3596, 7505), and
// the name of an address.
//
// Names are absolute: no search list. CNAMEs are followed by the resolver. A name that cannot be a
// host name is answered kBadName without a query.
//
// Answers are bounded: kRecordsMax records of an answer are looked at, the rest is dropped. A
// record that is malformed, or whose exchange is neither a host name nor an IPv4 address in words
// (as some write, and Postfix takes), is dropped; an answer of only such
// records is kMalformed, which is not kNoData (no MX means "ask for A").
//
// `done` is called once, on the resolver's loop, never before Lookup returns; not at all once the
// resolver is destroyed. Not thread-safe: used on its loop.
#pragma once

#include <asio/ip/address.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::dns {

// As Postfix 3.9's cap.
inline constexpr size_t kRecordsMax = 100;

// kPtr: the name asked about is an address in words, 192.0.2.1 or 2001:db8::1.
enum class Type { kMx, kA, kAaaa, kSrv, kPtr };

enum class Result {
  kFound,
  kNoName,     // NXDOMAIN
  kNoData,     // the name exists, it has no such record
  kTemporary,  // no answer, SERVFAIL, timeout: ask again later
  kBadName,    // not a host name
  kMalformed,  // records, but none that can be used
};

struct MxRecord {
  uint16_t preference = 0;
  // Lower case, without the final dot. Empty: the null MX (RFC 7505), the domain takes no mail.
  std::string exchange;

  friend bool operator==(const MxRecord&, const MxRecord&) = default;
};

struct SrvRecord {
  uint16_t priority = 0;
  uint16_t weight = 0;
  uint16_t port = 0;
  // As MxRecord::exchange. Empty: the domain has no such service (RFC 2782).
  std::string target;

  friend bool operator==(const SrvRecord&, const SrvRecord&) = default;
};

struct Answer {
  Result result = Result::kTemporary;
  std::vector<MxRecord> mx;                  // kMx, in the order of the answer
  std::vector<asio::ip::address> addresses;  // kA, kAaaa
  std::vector<SrvRecord> srv;                // kSrv, in the order of the answer
  std::string host;                          // kPtr: as it was given, without the final dot
  // The name at the end of a chain of CNAMEs, as MxRecord::exchange; empty: the one asked for.
  std::string canonical;
  uint32_t ttl_s = 0;  // kFound only

  bool found() const { return result == Result::kFound; }
  // Not there, for certain.
  bool absent() const { return result == Result::kNoName || result == Result::kNoData; }
};

class Resolver {
 public:
  using Done = std::function<void(Answer)>;

  virtual ~Resolver() = default;
  virtual void Lookup(Type type, std::string_view name, Done done) = 0;
};

// "MX", "A", "AAAA", "SRV", "PTR".
std::string_view TypeName(Type type);

// "Host or domain name not found. Name service error for name=example.com type=MX: Host not found",
// as Postfix says it. `result` is not kFound.
std::string FailureText(Result result, Type type, std::string_view name);

// Letters, digits, `-` and `_` in labels of 1 to 63 bytes, 255 bytes in all; a final dot is
// allowed; not only digits and dots.
bool IsHostName(std::string_view name);

}  // namespace postfleet::dns
