// What the delivery service and the privileged helper say to each other, over a SOCK_STREAM
// socketpair: one request at a time, one answer each. Both ends run on one machine; integers are
// little-endian all the same.
//
//   request    magic "PFR1", u32 bytes, then that many bytes of
//                u8 operation (1: Maildir), u64 content_bytes, u64 file_bytes_max (0: no limit),
//                i64 seconds, u32 microseconds (of the file's name), text host, text base,
//                u32 targets, for each: u32 uid, u32 gid, text path, text header
//   content    any number of pieces: u32 bytes (1 to kPieceBytesMax), the bytes; then u32 0: the
//   end, deliver;
//              or u32 0xffffffff: abandoned, nothing is delivered
//   answer     magic "PFA1", u32 bytes, then that many bytes of
//                u32 targets, for each: u8 code, u32 errno, text
//   text       u32 bytes, the bytes
//
// The helper runs as root and trusts nothing of a request: what does not parse ends the connection;
// what parses and must not be done (CheckTarget, CheckRequest) is refused for its target, in the
// answer. The content of a refused request is read and dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::delivery::privileged {

inline constexpr uint32_t kRequestMagic = 0x31524650;  // "PFR1"
inline constexpr uint32_t kAnswerMagic = 0x31414650;   // "PFA1"
inline constexpr size_t kPrefixBytes = 8;              // magic and length
inline constexpr size_t kRequestBytesMax = 8 << 20;
inline constexpr size_t kAnswerBytesMax = 8 << 20;
inline constexpr size_t kTargetsMax = 1000;
inline constexpr size_t kPathBytesMax = 2048;
inline constexpr size_t kHostBytesMax = 200;
inline constexpr size_t kTextBytesMax = 4096;
inline constexpr size_t kHeaderBytesMax = 64 << 10;
inline constexpr uint32_t kPieceBytesMax = 1 << 20;
inline constexpr uint32_t kContentEnd = 0;
inline constexpr uint32_t kContentAbandoned = 0xffffffff;

enum class Operation : uint8_t { kMaildir = 1 };

// One mailbox that gets the message.
struct Target {
  uint32_t uid = 0;
  uint32_t gid = 0;
  // Below `base`, without "..": "example.com/alice/".
  std::string path;
  // Put in front of the content: complete fields with LF.
  std::string header;
};

struct Request {
  Operation operation = Operation::kMaildir;
  uint64_t content_bytes = 0;
  // A file of more bytes, header included, is refused with EFBIG.
  uint64_t file_bytes_max = 0;
  int64_t seconds = 0;
  uint32_t microseconds = 0;
  std::string host;
  std::string base;
  std::vector<Target> targets;
};

enum class Code : uint8_t {
  kDelivered = 1,  // durable
  kFailed = 2,     // the world's error: errno
  kRefused = 3,    // the request may not or cannot be done here: `text`
  kAbandoned = 4,  // as asked for
};

struct TargetResult {
  Code code = Code::kFailed;
  int error_number = 0;
  std::string text;
};

// With prefix.
std::string EncodeRequest(const Request& request);
std::string EncodeAnswer(const std::vector<TargetResult>& results);
std::string EncodePieceLength(uint32_t length);

// The body's length; false: not such a prefix, or too long.
bool DecodePrefix(std::string_view prefix, uint32_t magic, size_t bytes_max, uint32_t* length);
uint32_t DecodePieceLength(std::string_view length);
// Without prefix. False: malformed (also: bytes left over, a bound passed).
bool DecodeRequest(std::string_view body, Request* request);
bool DecodeAnswer(std::string_view body, std::vector<TargetResult>* results);

// Empty: may be done. Otherwise why not. Of what all targets share: host and base.
std::string CheckRequest(const Request& request);
// Of the path. On success `components` are its parts.
std::string CheckPath(std::string_view path, std::vector<std::string>* components);

}  // namespace postfleet::delivery::privileged
