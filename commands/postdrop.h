// postdrop(1): makes a file in maildrop of a mail that comes as records
// (libs/maildrop/submission.h) on standard input.
//
//   postdrop [-rv] [-c config_dir]
//
// A program of its own, since it is set-group-id: it has the right to make files in maildrop and is
// run by every user. So it believes nothing. Of its environment only what import_environment names
// stays; a configuration other than /etc/postfix must be named there (alternate_config_directories,
// multi_instance_directories), unless root asks; descriptors beside the first three are closed;
// what comes is bounded by message_size_limit, and must be whole and in order. On SIGHUP, SIGINT,
// SIGQUIT and SIGTERM the file goes. It may be killed at any moment: the file is shown to pickup
// once it is on the disk, with one change of its mode.
//
// Standard output: the queue id, in one line, as soon as there is a file; then, once the mail is on
// disk, "ok" in a line, or "refused TEXT" where the sender may not be named. Exit status 0: it is
// on disk. What is wrong is said on standard error ("uid=1000: malformed input") and is exit status
// 1; an input that ends too early is said by the status alone.
//
// Unlike Postfix's, it does not wait where it cannot make a file, and says what is to be done.
#pragma once

#include <string>
#include <vector>

namespace postfleet::commands {

inline constexpr int kPostdropTooBig = 2;    // over message_size_limit
inline constexpr int kPostdropNoRights = 3;  // maildrop is not to be written

// Sees to it that descriptors 0 to 2 are open: a file or pipe that got one of these numbers would
// be taken for standard input or error.
void OpenStandardDescriptors();

int RunPostdrop(const std::vector<std::string>& arguments);

}  // namespace postfleet::commands
