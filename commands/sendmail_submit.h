// sendmail(1) as most programs use it: a message on standard input becomes a mail in maildrop, by
// postdrop. Works whether or not the mail system runs.
//
// Exit status 0: the mail is on disk. 75 (EX_TEMPFAIL) after an error, as Postfix; 69
// (EX_UNAVAILABLE) where the installation is at fault (postdrop says what to do); 71 (EX_OSERR)
// where the user has no name. Until the end nothing is kept, so a mail that is interrupted was not
// sent.
//
// With -bv nothing is read: a probe goes the mail's way, is delivered nowhere, and a report says
// what would become of each recipient.
#pragma once

#include "commands/console.h"
#include "commands/sendmail_options.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// `descriptor` is where the message comes from.
int SubmitMail(const SendmailRequest& request, const config::Config& config, int descriptor,
               Console& console);

}  // namespace postfleet::commands
