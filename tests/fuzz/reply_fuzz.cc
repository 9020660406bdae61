// Replies: any split gives the same replies, one after the other; their size stays bounded; nothing
// but printable ASCII (and, where it is kept, UTF-8) comes out; and the enhanced code is of the
// reply's class. The first byte chooses the splits and whether UTF-8 is kept.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/smtp/reply.h"

namespace {

using postfleet::smtp::ReplyParser;
using postfleet::smtp::ServerReply;

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckPrintable(std::string_view text, bool keep_utf8) {
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    Check((byte >= 32 && byte < 127) || (keep_utf8 && byte > 127));
  }
}

void CheckReply(const ServerReply& reply, bool keep_utf8) {
  using namespace postfleet::smtp;
  Check(reply.code == 0 || (reply.code >= 200 && reply.code < 600));
  Check(!reply.has_enhanced_status || reply.status.class_ == reply.code / 100);
  Check(reply.text.size() <= kReplyTextBytesMax + 1);
  CheckPrintable(reply.text, keep_utf8);
  CheckPrintable(reply.junk, keep_utf8);
  Check(reply.had_junk || reply.junk.empty());
  size_t bytes = 0;
  for (const std::string& line : reply.lines) bytes += line.size();
  Check(bytes <= kReplyTextBytesMax && reply.lines.size() <= kReplyLinesMax);
}

// All replies; the last element says how it ended.
std::vector<std::string> ParseAll(std::string_view in, size_t piece_bytes, bool keep_utf8) {
  ReplyParser parser(keep_utf8);
  std::vector<std::string> replies;
  ReplyParser::Result result = ReplyParser::kNeedMore;
  while (!in.empty() && result != ReplyParser::kFlood) {
    std::string_view piece = in.substr(0, piece_bytes);
    in.remove_prefix(piece.size());
    while ((result = parser.Feed(&piece)) == ReplyParser::kReply) {
      CheckReply(parser.reply(), keep_utf8);
      const ServerReply& reply = parser.reply();
      replies.push_back(std::to_string(reply.code) + reply.status.ToString() + reply.text + "\n" +
                        reply.junk);
      for (const std::string& line : reply.lines) replies.back() += "\n" + line;
      parser.Reset();
    }
  }
  replies.push_back(result == ReplyParser::kFlood ? "flood" : "more");
  return replies;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool keep_utf8 = data[0] >= 128;
  Check(ParseAll(in, in.size() + 1, keep_utf8) == ParseAll(in, 1 + data[0] % 7, keep_utf8));
  postfleet::smtp::ParseReplyText(in, 554, {5, 7, 1});
  return 0;
}
