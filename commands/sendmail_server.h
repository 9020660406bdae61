// sendmail -bs: SMTP (RFC 5321) on standard input and output, as Postfix's `smtpd -S` does it for
// mail programs that want a dialogue. Each message goes into maildrop, so it works whether or not
// the mail system runs; there are no restrictions, since who calls may send anyway.
//
// Commands: HELO, EHLO, MAIL, RCPT, DATA, BDAT (RFC 3030), RSET, NOOP, VRFY, HELP, QUIT, with SIZE,
// 8BITMIME, DSN, SMTPUTF8 and XVERP (POSTFIX VERP_README). ETRN is answered as by Postfix: there is
// no queue manager to ask, 458. Bounds: line_length_limit, message_size_limit,
// smtpd_recipient_limit, smtpd_hard_error_limit, smtpd_timeout for each read.
#pragma once

#include "commands/console.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// The exit status.
int ServeStandardInput(const config::Config& config, Console& console);

}  // namespace postfleet::commands
