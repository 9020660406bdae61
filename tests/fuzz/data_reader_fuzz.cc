// DATA's line discipline: any split gives the same content, and nothing but CRLF.CRLF ends it with
// kNormalize.
//
// The first byte is the mode, the second seeds the splits.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/smtp/data_reader.h"

namespace {

using postfleet::smtp::BareNewline;
using postfleet::smtp::DataReader;

struct Outcome {
  std::string content;
  size_t consumed = 0;
  bool done = false;
  bool bare_lf = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome Feed(std::string_view in, BareNewline mode, size_t piece_bytes, size_t room_bytes) {
  DataReader reader(mode);
  Outcome outcome;
  std::vector<char> out(DataReader::kHeldBytesMax + room_bytes);
  while (!reader.done() && outcome.consumed < in.size()) {
    const auto progress =
        reader.Read(in.substr(outcome.consumed, piece_bytes), out.data(), out.size());
    if (progress.consumed + progress.produced == 0) std::abort();
    outcome.consumed += progress.consumed;
    outcome.content.append(out.data(), progress.produced);
  }
  outcome.done = reader.done();
  outcome.bare_lf = reader.saw_bare_lf();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  constexpr BareNewline kModes[] = {BareNewline::kNormalize, BareNewline::kNo, BareNewline::kReject,
                                    BareNewline::kNote};
  const BareNewline mode = kModes[data[0] % 4];
  const std::string_view in(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Outcome whole = Feed(in, mode, in.size() + 1, in.size() + 1);
  const Outcome split = Feed(in, mode, 1 + data[1] % 7, 1 + data[1] / 7 % 11);
  // Held CRs can be written in the call after the one that took them, so only what was written so
  // far is compared.
  if (whole.done != split.done || whole.bare_lf != split.bare_lf) std::abort();
  if (whole.done && whole != split) std::abort();
  if (whole.done && mode != BareNewline::kNo) {
    const std::string_view seen = in.substr(0, whole.consumed);
    if (seen != ".\r\n" && (seen.size() < 5 || seen.substr(seen.size() - 5) != "\r\n.\r\n"))
      std::abort();
  }
  return 0;
}
