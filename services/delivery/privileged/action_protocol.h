// What the delivery service and the privileged helper say to each other about one action: a mailbox
// to be written, a file to be read, a command to be run, with a user's rights.
//
// Each action has a connection of its own (SOCK_STREAM), of which the server sends the helper one
// end over the worker's last connection: one byte, and the descriptor (SCM_RIGHTS). So an action
// that takes long holds nobody up, and whoever closes a connection has called its action off.
//
//   request   magic "PFX1", u32 bytes, then that many bytes: u8 kind, the fields below in order
//   content   for all but kReadFile: pieces as in protocol.h
//   answer    magic "PFY1", u32 bytes, then that many bytes of ActionAnswer; it may come before all
//             of the content has been sent: the rest is not wanted then
//
// The helper trusts nothing of a request: what does not parse ends the connection.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::delivery::privileged {

inline constexpr uint32_t kActionMagic = 0x31584650;        // "PFX1"
inline constexpr uint32_t kActionAnswerMagic = 0x31594650;  // "PFY1"
inline constexpr size_t kActionBytesMax = 4 << 20;
inline constexpr size_t kActionAnswerBytesMax = 4 << 20;
inline constexpr size_t kWordsMax = 100'000;  // of argv, and of the environment
inline constexpr size_t kOutputBytesMax = 1 << 20;
inline constexpr size_t kFileReadBytesMax = 2 << 20;

enum class ActionKind : uint8_t { kMaildir = 1, kMbox = 2, kReadFile = 3, kCommand = 4 };

struct ActionRequest {
  ActionKind kind = ActionKind::kMaildir;
  uint32_t uid = 0;
  uint32_t gid = 0;
  // kMaildir: below `base`. kMbox, kReadFile: absolute. kCommand: the folder to begin in.
  std::string path;
  std::string header;  // in front of the content

  // kMaildir
  std::string base;
  std::string host;
  int64_t seconds = 0;
  uint32_t microseconds = 0;
  // kMaildir, kMbox
  uint64_t file_bytes_max = 0;
  // kMbox
  uint32_t owner_uid = 0;  // 0: nobody else's
  uint32_t owner_gid = 0;
  bool must_be_owned = false;
  bool is_any_file = false;
  bool fcntl_lock = false;
  bool flock_lock = false;
  bool dotlock = false;
  uint32_t lock_tries = 1;
  uint32_t lock_delay_ms = 1000;
  uint32_t lock_stale_ms = 500'000;
  // kReadFile, kCommand: of the file, of the output.
  uint64_t bytes_max = 0;
  // kCommand
  std::string chroot;
  std::vector<std::string> argv;
  std::vector<std::string> environment;
  uint32_t time_limit_ms = 0;
};

enum class ActionCode : uint8_t {
  kDone = 1,
  kFailed = 2,   // error_number
  kRefused = 3,  // `text` says why
  kAbandoned = 4,
  kExited = 5,     // kCommand: `value` is the status
  kSignalled = 6,  // the signal
  kTimedOut = 7,
};

struct ActionAnswer {
  ActionCode code = ActionCode::kFailed;
  int32_t error_number = 0;
  std::string text;
  int32_t value = 0;
  std::string bytes;  // of the file, or the output
  // kReadFile
  bool is_longer = false;
  bool is_link = false;
  bool is_regular = false;
  uint32_t owner = 0;
  uint32_t mode = 0;
};

// With prefix.
std::string EncodeAction(const ActionRequest& request);
std::string EncodeActionAnswer(const ActionAnswer& answer);
// Without. False: malformed.
bool DecodeAction(std::string_view body, ActionRequest* request);
bool DecodeActionAnswer(std::string_view body, ActionAnswer* answer);

}  // namespace postfleet::delivery::privileged
