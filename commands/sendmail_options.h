// The command line of sendmail(1), mailq(1) and newaliases(1), as Postfix reads it: options end at
// the first operand, "-q" is a word of its own, an id or a site stands in the same word as -qI or
// -qR, the last of -bp, -q, ... decides. What Postfix ignores is ignored (-A, -h, -L, -m, -O, -o
// letters but i and A, -p, -U, -x, ...).
//
// Errors: InvalidArgument in Postfix's words; what sendmail then says is "usage: ..." if is_usage.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace postfleet::commands {

enum class SendmailMode {
  kSubmit,
  kList,
  kFlush,
  kNothing,  // -bh, -bH, -qINTERVAL
  kDaemon,
  kAliases,
  kServer,
};

struct SendmailRequest {
  SendmailMode mode = SendmailMode::kSubmit;
  std::string config_directory;  // of -C; empty: not said
  int verbose = 0;

  // Of the queue.
  std::string queue_id;  // -qI
  std::string site;      // -qR

  // Of mail.
  std::optional<std::string> sender;     // -f, as it was said
  std::optional<std::string> full_name;  // -F
  bool dot_ends = true;                  // no -i
  bool recipients_in_header = false;     // -t
  bool probe = false;                    // -bv
  bool is_remote = false;                // -G
  std::string encoding;                  // "7bit", "8bit"; empty: not said
  uint32_t notify = 0;                   // -N, as mail.v1.NotifyFlag; 0: not said
  uint32_t dsn_return = 0;               // -R: 1 full, 2 hdrs; 0: not said
  std::string envelope_id;               // -V
  std::optional<std::string> verp;       // -XV
  std::vector<std::string> operands;     // recipients

  // What is to be said, and does not matter.
  std::vector<std::string> warnings;
  bool is_usage = false;  // of an error
};

// `mode`: what the name that it was called by asks for. On an error `request` has the warnings
// until then.
absl::Status ReadSendmailArguments(const std::vector<std::string>& arguments, SendmailMode mode,
                                   SendmailRequest* request);

// "display queue", as messages have it.
std::string_view SendmailModeName(SendmailMode mode);

}  // namespace postfleet::commands
