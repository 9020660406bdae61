"""Postfix and this server, set up alike: who runs clients against both and compares finds here what came of it."""

import collections
import re
import unittest

import harness
import machine
from clients_mails import DOMAIN, SIZE_BYTES_MAX, USERS
from deadlines import wait_until

LABELS = ("postfix", "postfleet")
_BOX = "all"
_DATE = rb"[A-Z][a-z]{2}, +\d+ [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [-+]\d{4}(?: \([A-Z]+\))?"
_MASKS = (
    # What differs by nature: whose it is, when it was, which it is.
    (rb"<\d{14}\.[\w-]{8}@", b"<ID@"),
    (rb"<[0-9a-f]{4,}\.[0-9a-f]{4,}\.[0-9a-f]{4,}@", b"<ID@"),
    (rb"\b\d{5,}\b", b"N"),
    (rb"queued as \w+", b"queued as ID"),
    (_DATE, b"DATE"),
)
_MASTER_CF = harness.MASTER_CF.replace("inet n - n - - smtpd", "inet n - n - 500 smtpd") + """\
[::1]:{port} inet n - n - 500 smtpd
127.0.0.1:{submission} inet n - n - - smtpd
  -o syslog_name=postfix/submission -o smtpd_banner=$myhostname,submission -o smtpd_relay_restrictions=$mua_relay
  -o smtpd_recipient_limit=5 -o message_size_limit=2000 -o { smtpd_recipient_restrictions = permit_mynetworks, reject }
127.0.0.1:{closed} inet n - n - - smtpd
  -o smtpd_client_restrictions=$mua_client -o smtpd_delay_reject=no
"""


def _master_cf(submission, closed):
    text = _MASTER_CF.replace("-o { smtpd", "-o {{ smtpd").replace("reject }", "reject }}")
    return text.replace("{submission}", str(submission)).replace("{closed}", str(closed))


class Side:
    """One of the two."""

    def __init__(self, folder, label):
        self.label = label
        self._ports = [machine.Port(), machine.Port()]
        self.submission, self.closed = (port.number for port in self._ports)
        self.mta = harness.Instance(folder, {
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_maps": "inline:{ " + " ".join(f"{{ {user}@{DOMAIN} = {_BOX}/ }}" for user in USERS) + " }",
            "message_size_limit": SIZE_BYTES_MAX,
            "inet_protocols": "all",
            "inet_interfaces": "127.0.0.1, [::1]",
            "mynetworks": "127.0.0.0/8 [::1]/128",
            "mua_relay": "permit_mynetworks,reject",
            "mua_client": "reject",
            "in_flow_delay": "0s",
        }, _master_cf(self.submission, self.closed), name=label, oracle=label == "postfix")

    def __enter__(self):
        self.mta.__enter__()
        return self

    def __exit__(self, *error):
        self.mta.__exit__(*error)
        for port in self._ports:
            port.close()

    def mask(self, content):
        """Without what differs by nature."""
        for pattern, instead in _MASKS:
            content = re.sub(pattern, instead, content)
        return content.replace(b"127.0.0.1:N", b"HOST:N")

    def masked(self, text):
        return self.mask(text.encode()).decode()

    def arrived(self, having=b""):
        """{sender: [contents]} of what has this, in an order that does not depend on when they came."""
        found = {}
        for content in self.mta.maildir(_BOX):
            if having in content:
                sender = re.match(rb"Return-Path: <(.*)>\n", content).group(1).decode()
                found.setdefault(sender, []).append(content)
        return {sender: sorted(contents, key=_of_whom) for sender, contents in found.items()}

    def wait_for_arrivals(self, count, having=b""):
        """As arrived, once so many are there and the queue is empty."""
        wait_until(f"{count} messages at {self.label}", lambda: sum(map(len, self.arrived(having).values())) >= count,
                   hopeless=self.mta.why_ended, seconds_max=60, poll_seconds=0.2)
        self.mta.wait_until_empty()
        return self.arrived(having)

    def disconnections(self):
        """What was counted in the sessions that sent mail, once all are over, in order of the text."""
        wait_until(f"the ends of all sessions of {self.label}", lambda: len(self.mta.find_log(r"smtpd\[\d+\]: connect from ")) ==
                   len(self.mta.find_log(r"smtpd\[\d+\]: disconnect from ")), hopeless=self.mta.why_ended)
        return sorted(found.group(1) for found in self.mta.find_log(r"smtpd\[\d+\]: disconnect from (\S+ .*mail=.*)$"))

    def commands(self):
        """Commands by name, good ones and all, of the sessions that sent mail: however it was spread over them."""
        total = collections.Counter()
        for line in self.disconnections():
            for verb, good, tried in re.findall(r"\b(mail|rcpt|data|rset|bdat)=(\d+)(?:/(\d+))?", line):
                total[verb, "good"] += int(good)
                total[verb, "all"] += int(tried or good)
        return total


def _of_whom(content):
    return re.search(rb"^Delivered-To: (.*)$", content, re.MULTILINE).group(1)


_RECEIVED = re.compile(rb"^Received: (?:.*\n)(?:[ \t].*\n)*", re.MULTILINE)


def below_trace(content):
    """What the client sent, of a message in the mailbox."""
    found = _RECEIVED.search(content)
    return content[found.end():]


def trace(content):
    """Return-Path and the like, and Received, without identifiers and dates."""
    found = _RECEIVED.search(content)
    return re.sub(rb"\bid \w+", b"id ID", re.sub(_DATE, b"DATE", content[:found.end()]))


def relayed(content):
    """All of it, where another server passed it on and said so in a field of its own."""
    return re.sub(rb"\bid [\w-]+", b"id ID", re.sub(_DATE, b"DATE", content))


class Both(unittest.TestCase):
    """Postfix and this server, for the facts of one class."""
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root: run ./dev test as root, as CI does")
        folder = cls.enterClassContext(machine.folder())
        cls.sides = [cls.enterClassContext(Side(folder, label)) for label in LABELS]
        cls.postfix, cls.postfleet = cls.sides
