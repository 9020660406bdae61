"""What both MTAs have in common: folders, ports, the tuned main.cf and master.cf, start and stop.

A node lives in a folder of its own, with its own configuration, queue, data and log. It is started
for one run and removed after it.
"""

import os

import stock
from deadlines import Missed

RELAY_DOMAIN = "sink.example"
MAILBOX_DOMAIN = "box.example"
MAILBOX_USER = "nobody"
MAIL_OWNER = "postfix"


class NodeError(Exception):
    """The MTA did not start or stop; the text holds the end of its log."""


class Node(stock.Node):
    """One instance of one MTA. Subclasses say how it is started and stopped."""

    name = ""
    owns_queue = True

    def __init__(self, folder, account, row, sink_port, defer_by):
        super().__init__(folder, MAIL_OWNER, MAILBOX_USER)
        self.account = account
        self.port = stock.free_port()
        self._row = row
        self._sink_port = sink_port
        self._defer_by = defer_by

    @property
    def recipient(self):
        return f"user@{self.domain}"

    @property
    def domain(self):
        """Where the row's mail goes; {} is the message's number."""
        if self._row.destinations > 1:
            return "d{}." + RELAY_DOMAIN
        return MAILBOX_DOMAIN if self._row.end in ("maildir", "mbox") else RELAY_DOMAIN

    def _transport_maps(self):
        """All destinations are one sink, which is reached by an address for each of them."""
        if self._row.destinations == 1:
            return f"inline:{{ {RELAY_DOMAIN}=smtp:[127.0.0.1]:{self._sink_port} }}"
        table = self.config / "routes"
        table.write_text("".join(
            f"{self.domain.format(number)} smtp:[127.1.{number // 250}.{number % 250 + 1}]:{self._sink_port}\n"
            for number in range(self._row.destinations)))
        return f"texthash:{table}"

    def _mailbox_maps(self):
        """One Maildir, or an mbox for each number of two digits before the user's name (smtp-source -N)."""
        if self._row.end != "mbox":
            return "static:box/"
        table = self.config / "boxes"
        table.write_text("".join(
            f"if /{last}user@/\n" + "".join(f"/(^|{tens}){last}user@/ box{tens}{last}\n" for tens in range(10)) + "endif\n"
            for last in range(10)))
        return f"regexp:{table}"

    def parameters(self):
        """main.cf of both MTAs. README.md, "The best Postfix", gives the reasons."""
        found = {
            **self.stock_parameters(),
            "biff": "no",
            "transport_maps": self._transport_maps(),
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
            "virtual_mailbox_domains": MAILBOX_DOMAIN,
            "virtual_mailbox_maps": self._mailbox_maps(),
        }
        if self._row.big_recipients:
            found["smtpd_recipient_limit"] = found["smtpd_recipient_overshoot_limit"] = self._row.big_recipients
        if self._row.end == "accept" and self._defer_by == "defer_transports":
            found["defer_transports"] = "smtp"
        return found

    def start(self):
        """Returns when the MTA greets. NodeError otherwise."""
        self.make_folders(self.owns_queue)
        self.write_files(self.parameters(), self.port)
        self.launch()
        try:
            stock.wait_for_greeting(self.port, lambda: None if self.running() else f"{self.name} ended")
        except Missed as missed:
            raise NodeError(f"{missed}\n{self.last_words()}") from missed

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

    def mailbox_messages(self):
        """Messages that are in the Maildir, or in the mbox files."""
        if self._row.end == "mbox":
            return sum(_messages_of(path) for path in self.mail.glob("box*"))
        try:
            return sum(1 for _ in os.scandir(self.mail / "box" / "new"))
        except FileNotFoundError:
            return 0


def _messages_of(mbox):
    """smtp-source sends no line that would be quoted."""
    with open(mbox, "rb") as lines:
        return sum(line.startswith(b"From ") for line in lines)
