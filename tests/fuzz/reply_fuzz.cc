// Replies: any split gives the same reply, and its size stays bounded. The first byte seeds the
// splits.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/smtp/reply.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace postfleet::smtp;
  if (size < 1) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  ReplyParser whole, split;
  std::string_view rest = in;
  const auto want = whole.Feed(&rest);
  auto got = ReplyParser::kNeedMore;
  for (size_t at = 0; at < in.size() && got == ReplyParser::kNeedMore;) {
    std::string_view piece = in.substr(at, 1 + data[0] % 7);
    const size_t before = piece.size();
    got = split.Feed(&piece);
    at += before - piece.size();
  }
  if (got != want || whole.reply().text != split.reply().text ||
      whole.reply().code != split.reply().code)
    std::abort();
  if (whole.reply().text.size() > kReplyTextBytesMax + 1) std::abort();
  ParseReplyText(in, 554, {5, 7, 1});
  return 0;
}
