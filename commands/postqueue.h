// postqueue(1): shows the queue and flushes deferred mail.
//
//   postqueue -p | -j | -f | -i queueid | -s site
//
// -p and -j read the queue page by page (queue_pages.h), so that memory does not grow with the
// queue; a message comes once, in the order of its id, which is its time. Corrupt mail is not in
// it, as Postfix's is not: `postfleet queue list` shows that.
//
// -s takes a domain, or an address literal with its brackets; "[host]" and "host:port" are none.
// Mail whose recipients have that very domain is flushed. fast_flush_domains has to name it, or a
// domain above it (".example.com", or "example.com" while parent_domain_matches_subdomains names
// the list): "fatal: Flush service is not configured for destination "SITE"". SMTP's ETRN asks for
// the same by the same rules.
//
// Every user may (queue_address.h) whom authorized_mailq_users and authorized_flush_users
// name: "fatal: User NAME(UID) is not allowed to view the mail queue". Nothing but queue_directory,
// postfleet_control_socket and postfleet_queue_address has to be right in main.cf. Exit status 69
// (EX_UNAVAILABLE) for every error, as in Postfix; "fatal: Queue report unavailable - mail system
// is down" and "Cannot flush mail queue - ...": there is no looking at the queue past the server.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostqueue(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
