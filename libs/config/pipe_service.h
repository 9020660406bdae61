// What stands behind "pipe" in master.cf (pipe(8)): attributes, the last of which is argv=.
//
//   flags=DRhu user=vmail:mail directory=/srv eol=\r\n size=10000 argv=/bin/maildrop -d
//   ${recipient}
//
// Names of users and groups are not looked up here. Errors in Postfix's words: "unknown flag: Z",
// "unknown attribute name: x", "missing user= command-line attribute", ...
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::config {

struct PipeService {
  // flags=
  bool blank_line = false;        // B
  bool delivered_to = false;      // D
  bool from_line = false;         // F
  bool original_to = false;       // O
  bool return_path = false;       // R
  bool final_delivery = false;    // X
  bool fold_host = false;         // h
  bool quote_local_part = false;  // q
  bool fold_user = false;         // u
  bool double_dots = false;       // .
  bool quote_from = false;        // >

  std::string user;
  std::string group;  // empty: the user's
  std::string directory;
  std::string chroot;
  std::string eol = "\n";
  std::string null_sender = "MAILER-DAEMON";
  uint64_t message_bytes_max = 0;  // 0: no limit
  std::vector<std::string> argv;   // with macros; never empty
};

// `arguments`: MasterService::arguments.
absl::StatusOr<PipeService> ParsePipeService(const std::vector<std::string>& arguments);

}  // namespace postfleet::config
