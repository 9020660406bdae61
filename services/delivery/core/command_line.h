// How a "|command" or mailbox_command becomes the words that are run (Postfix's exec_command): a
// line of harmless characters is split at blanks and run by itself, anything else is for /bin/sh.
// Blanks are space and tab. A word that is no file of the PATH may be the shell's own ("exit 75").
//
// pipe's argv= never comes here: it knows no shell.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::delivery {

// The PATH that every command gets (_PATH_DEFPATH).
inline constexpr std::string_view kCommandPath = "/usr/bin:/bin";

// A program of this name, without "/", is in a folder of kCommandPath. Looks at the disk.
bool IsOnCommandPath(const std::string& name);

// Never empty. {"/bin/sh", "-c", line} where a shell is needed. (Its name there is "sh" with
// Postfix; none but the shell sees it.)
std::vector<std::string> ArgvOfCommandLine(
    std::string_view line,
    const std::function<bool(const std::string&)>& is_on_path = IsOnCommandPath);

// With the words of local_command_shell (or a user's own) in front: these, then the line as one.
std::vector<std::string> ArgvWithShell(std::string_view shell, std::string_view line);

}  // namespace postfleet::delivery
