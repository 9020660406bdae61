// postconf -t and -b: the texts of notices (bounce(5)), as they are written, or with their
// parameters.
//
//   postconf -t [FILE]   templates, in the form of a bounce_template_file
//   postconf -b [FILE]   their texts with $names expanded
//
// FILE is read in place of bounce_template_file; an empty name stands for the built-in texts. What
// is wrong in it is a warning, and the built-in text is shown. Errors: a FILE that cannot be read;
// for -b a $name that nobody knows.
#pragma once

#include "commands/console.h"
#include "commands/postconf_request.h"

namespace postfleet::commands {

int ShowTemplates(const PostconfRequest& request, Console& console);

}  // namespace postfleet::commands
