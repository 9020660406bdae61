// Cleanup at any split gives the same content, ends it with LF, leaves no CR, and its memory stays
// bounded. The first byte seeds the splits.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/message/cleanup.h"
#include "libs/message/header.h"

namespace {

std::string Clean(std::string_view in, size_t piece_bytes, size_t header_bytes_max) {
  postfleet::message::Cleanup cleanup({.header_bytes_max = header_bytes_max}, "Received: x\n");
  std::string out;
  for (size_t at = 0; at < in.size(); at += piece_bytes)
    cleanup.Append(in.substr(at, piece_bytes), &out);
  cleanup.Finish(&out);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t header_bytes_max = data[0] % 2 ? 102400 : 32;
  const std::string whole = Clean(in, in.size() + 1, header_bytes_max);
  if (whole != Clean(in, 1 + data[0] % 9, header_bytes_max)) std::abort();
  if (whole.back() != '\n' || whole.find('\r') != std::string::npos) std::abort();
  postfleet::message::HeaderReader reader(whole);
  while (reader.Next()) {
    if (postfleet::message::EqualsIgnoreCase(reader.field().name, "bcc")) std::abort();
  }
  // The header ends with an empty line, or with the message.
  if (reader.offset() != whole.size() && whole[reader.offset()] != '\n') std::abort();
  return 0;
}
