// The PROXY header's reader against what a stranger sends in its place, in pieces:
//   - it takes no byte behind the header, and no more than kBytesMax;
//   - pieces give what the whole gives;
//   - what it calls a client's address is one.
// The first byte is the pieces' length.
#include <arpa/inet.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/smtp/proxy_header.h"

namespace {

using postfleet::smtp::ProxiedConnection;
using postfleet::smtp::ProxyHeaderReader;
using State = ProxyHeaderReader::State;

void Check(bool holds) {
  if (!holds) std::abort();
}

size_t Feed(ProxyHeaderReader* reader, std::string_view in, size_t piece_bytes) {
  size_t taken = 0;
  while (reader->state() == State::kMore && taken < in.size()) {
    const std::string_view piece = in.substr(taken, piece_bytes);
    const size_t count = reader->Take(piece);
    // Without an end in sight everything is the header's.
    Check(count == piece.size() || (count < piece.size() && reader->state() != State::kMore));
    taken += count;
  }
  Check(taken <= ProxyHeaderReader::kBytesMax && reader->bytes() == in.substr(0, taken));
  return taken;
}

int FamilyOf(const std::string& address) {
  std::array<char, sizeof(in6_addr)> bytes;
  if (inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) return AF_INET;
  Check(inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1);
  return AF_INET6;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  ProxyHeaderReader whole;
  ProxyHeaderReader pieces;
  const size_t taken = Feed(&whole, in, in.size() + 1);
  const size_t taken_in_pieces = Feed(&pieces, in, size_t{data[0]} + 1);
  Check(whole.state() == pieces.state() || whole.state() == State::kBad ||
        pieces.state() == State::kBad);
  Check((whole.state() == State::kDone) == (pieces.state() == State::kDone));
  if (whole.state() != State::kDone) return 0;
  Check(taken == taken_in_pieces);
  const ProxiedConnection& connection = whole.connection();
  Check(connection.local == pieces.connection().local);
  if (connection.local) return 0;
  Check(connection.client_address == pieces.connection().client_address);
  FamilyOf(connection.client_address);
  FamilyOf(connection.server_address);
  return 0;
}
