// What the end of a command says of the mail that it was given (Postfix's pipe_command, sysexits.h,
// RFC 3463):
//
//   exit status 0           sent      2.0.0  the command's output: the agent puts it into its words
//   "5.7.1 text" as output  bounced   5.7.1  text              (4.X.X: deferred; another exit
//   status) 64 to 78                by table         user unknown. Command output: ... other exit
//   status       bounced   5.3.0  Command died with status 1: "/bin/x". Command output: .. a signal
//   deferred  4.3.0  Command died with signal 9: "/bin/x" the time limit          bounced   5.3.0
//   Command time limit exceeded: "/bin/x" cannot be run           deferred  4.3.0  temporary
//   failure. Command output: pipe: fatal: ... contents, the helper    deferred  4.3.0
//
// Output is one line: tabs and newlines are blanks, all else that is not printable ASCII is "_".
// The diagnostic of such an outcome has no remote_mta: a notice says "Diagnostic-Code: x-unix".
#pragma once

#include <string>
#include <string_view>

#include "proto/postfleet/mail/v1/mail.pb.h"
#include "services/delivery/core/user_actions.h"

namespace postfleet::delivery {

// As Postfix's agents run: what comes after it is dropped.
inline constexpr size_t kCommandOutputBytesMax = 4096;

// Without recipient. `command`: as the configuration has it. `program`: "local", "pipe", and
// `what` it says before the name of a command that cannot be executed: "execvp", of pipe
// "pipe_command: execvp". Text of a SENT outcome: the output, maybe empty, blanks at its ends gone.
mail::v1::Outcome OutcomeOfCommand(const CommandEnd& end, std::string_view command,
                                   std::string_view first_word, std::string_view program,
                                   std::string_view what);

// One printable line, at most kCommandOutputBytesMax.
std::string PrintableOutput(std::string_view output);

}  // namespace postfleet::delivery
