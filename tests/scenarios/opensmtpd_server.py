"""A real OpenSMTPD (6.8): without PIPELINING, which it refuses; with DSN, SIZE and 8BITMIME.

    with OpensmtpdServer(folder, users, back_port) as server: ...

Takes mail for users @ DOMAINS; refuses others. Mail for BACK_DOMAIN goes on to back_port. By name of the user:
"grey..." is put off the first time, "busy" always, "listed" is refused.
"""

import re

import own_root

DOMAINS = ("peer.example", "reuse.example", "client.example")
BACK_DOMAIN = "back.example"
SIZE_BYTES_MAX = 50 * 1024

_CONF = """\
smtp max-message-size {size_bytes_max}
table users {{ {users} }}
table domains {{ {domains} }}
filter verdicts proc-exec "verdicts" user opensmtpd
action keep maildir "/var/mail/%{{rcpt.user}}" virtual <users>
action onward relay host smtp://127.0.0.1:{back_port}
listen on 127.0.0.1 port {port} hostname opensmtpd.example filter verdicts
match from any for domain <domains> action keep
match from any for domain {back_domain} action onward
"""
# smtpd-filters(7).
_VERDICTS = """\
#!/bin/sh
met=" "
while IFS="|" read -r kind version _ _ _ session token address; do
  case "$kind" in
    config)
      [ "$version" != ready ] || printf 'register|filter|smtp-in|rcpt-to\\nregister|ready\\n'
      continue ;;
  esac
  verdict=proceed
  case "$address" in
    grey*)
      case "$met" in
        *" $address "*) ;;
        *) met="$met$address " verdict="reject|451 4.7.1 Greylisted, try again later" ;;
      esac ;;
    busy@*) verdict="reject|450 4.2.1 Mailbox busy" ;;
    listed@*) verdict="reject|554 5.7.1 Not welcome here" ;;
  esac
  printf 'filter-result|%s|%s|%s\\n' "$session" "$token" "$verdict"
done
"""


class OpensmtpdServer(own_root.Server):
    def __init__(self, folder, users, back_port):
        super().__init__(folder, "opensmtpd", ("opensmtpd", "opensmtpq", "mailbox"))
        root = self.root
        root.make_folder("var/lib/opensmtpd/empty")
        root.make_folder("var/spool/smtpd", mode=0o711)
        root.give("var/mail", "mailbox")
        root.write("etc/mailname", "opensmtpd.example\n")
        root.write("usr/libexec/opensmtpd/verdicts", _VERDICTS, 0o755)
        root.write("etc/smtpd.conf", _CONF.format(
            size_bytes_max=SIZE_BYTES_MAX, users=", ".join(f"{user} = mailbox" for user in users), domains=", ".join(DOMAINS),
            back_port=back_port, back_domain=BACK_DOMAIN, port=self.port))

    def program(self):
        # In words what is said at SMTP, on standard error.
        return ["/usr/sbin/smtpd", "-d", "-T", "smtp"]

    def sessions_of(self, sender):
        """{message: its session} of all that was taken from the sender."""
        return {message: session for session, message in re.findall(
            rf"^(\w+) smtp envelope evpid=(\w{{8}})\w+ from=<{re.escape(sender)}> ", self.log(), re.MULTILINE)}
