"""What both MTAs have in common: folders, ports, the tuned main.cf and master.cf, start and stop.

A node lives in a folder of its own, with its own configuration, queue, data and log. It is started
for one run and removed after it.
"""

import os
import pwd

import load
import log_tail

RELAY_DOMAIN = "sink.example"
MAILBOX_DOMAIN = "box.example"
MAILBOX_USER = "nobody"
MAIL_OWNER = "postfix"
START_SECONDS_MAX = 30.0

_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class NodeError(Exception):
    """The MTA did not start or stop; the text holds the end of its log."""


class Node:
    """One instance of one MTA. Subclasses say how it is started and stopped."""

    name = ""

    def __init__(self, folder, account, row, sink_port, defer_by):
        self.folder = folder
        self.account = account
        self.port = load.free_port()
        self.config = folder / "etc"
        self.queue = folder / "queue"
        self.mail = folder / "mail"
        self.log = folder / "log" / "mail.log"
        self._row = row
        self._sink_port = sink_port
        self._defer_by = defer_by

    @property
    def recipient(self):
        domain = MAILBOX_DOMAIN if self._row.end == "maildir" else RELAY_DOMAIN
        return f"user@{domain}"

    def parameters(self):
        """main.cf of both MTAs. README.md, "The best Postfix", gives the reasons."""
        user = pwd.getpwnam(MAILBOX_USER)
        found = {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.folder / "data",
            "maillog_file": self.log,
            "maillog_file_prefixes": self.folder,
            "mail_owner": MAIL_OWNER,
            "myhostname": "mta.example",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "biff": "no",
            "alias_maps": "",
            "local_recipient_maps": "",
            "transport_maps": f"inline:{{ {RELAY_DOMAIN}=smtp:[127.0.0.1]:{self._sink_port} }}",
            "default_process_limit": 200,
            "in_flow_delay": "0s",
            "initial_destination_concurrency": 50,
            "smtp_destination_concurrency_limit": 50,
            "virtual_destination_concurrency_limit": 50,
            "max_use": 10000,
            "smtpd_peername_lookup": "no",
            "smtpd_client_restrictions": "",
            "smtpd_helo_restrictions": "",
            "smtpd_sender_restrictions": "",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_recipient_restrictions": "",
            "smtpd_data_restrictions": "",
            "smtpd_end_of_data_restrictions": "",
            "smtpd_client_connection_count_limit": 0,
            "smtpd_client_connection_rate_limit": 0,
            "smtpd_client_message_rate_limit": 0,
            "smtpd_client_recipient_rate_limit": 0,
            "local_header_rewrite_clients": "",
            "virtual_mailbox_domains": MAILBOX_DOMAIN,
            "virtual_mailbox_base": self.mail,
            "virtual_mailbox_maps": "static:box/",
            "virtual_uid_maps": f"static:{user.pw_uid}",
            "virtual_gid_maps": f"static:{user.pw_gid}",
        }
        if self._row.end == "accept" and self._defer_by == "defer_transports":
            found["defer_transports"] = "smtp"
        return found

    def write_configuration(self):
        owner = pwd.getpwnam(MAIL_OWNER)
        box = pwd.getpwnam(MAILBOX_USER)
        for path in (self.config, self.queue, self.mail, self.log.parent, self.folder / "data"):
            path.mkdir()
        if os.geteuid() == 0:
            os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
            os.chown(self.mail, box.pw_uid, box.pw_gid)
        main = "".join(f"{name} = {value}\n" for name, value in self.parameters().items())
        (self.config / "main.cf").write_text(main)
        (self.config / "master.cf").write_text(_MASTER_CF.format(port=self.port))

    def start(self):
        """Returns when the MTA greets. NodeError otherwise."""
        self.write_configuration()
        self.launch()
        if not load.wait_for_greeting(self.port, self.running, START_SECONDS_MAX):
            raise NodeError(f"{self.name} does not greet on port {self.port}\n{self.last_words()}")

    def launch(self):
        raise NotImplementedError

    def running(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def abandon(self):
        """Ends what is left of a failed run."""
        try:
            self.stop()
        except NodeError:
            pass

    def output(self):
        """Where its standard error went."""
        return self.folder / "log" / "output"

    def last_words(self):
        return (f"--- {self.output()}\n{log_tail.last_lines(self.output())}"
                f"--- {self.log}\n{log_tail.last_lines(self.log)}")

    def mailbox_files(self):
        """Messages that are in the Maildir."""
        try:
            return sum(1 for _ in os.scandir(self.mail / "box" / "new"))
        except FileNotFoundError:
            return 0
