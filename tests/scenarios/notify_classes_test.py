"""Transcripts of sessions for the postmaster (notify_classes): ours beside real Postfix.

Each dialogue is one session. Compared, field by field: what mail comes of it, with its envelope, and the lines about it
in the log. Each case runs with all classes of sessions told of, and with one class alone: who is told of what.
"""

import contextlib
import re
import socket
import unittest

import facts
import harness
import machine
from deadlines import wait_until
from smtp_peer import RecordingServer

ALL = "bounce, data, policy, protocol, resource, software"
_END = r"smtpd\[\d+\]: disconnect from "
HANG_UP = None  # in place of a command
_RCPT = "RCPT TO:<alice@box.example>"
_MAIL = "MAIL FROM:<a@b.example>"
_CONTENT = "Subject: x\r\n\r\ntext\r\n."

# Name -> commands; the banner comes before the first, a reply behind each. The end is QUIT.
DIALOGUES = {
    "good": ["EHLO c", _MAIL, _RCPT, "DATA", _CONTENT],
    "relay": ["EHLO c", _MAIL, "RCPT TO:<x@elsewhere.example>"],
    "relay-and-gone": ["EHLO c", _MAIL, "RCPT TO:<x@elsewhere.example>", HANG_UP],
    "unknown-user": ["EHLO c", _MAIL, "RCPT TO:<nobody@here.example>"],
    "unknown-verified": ["EHLO c", "VRFY nobody@here.example", "VRFY", "EXPN x"],
    "not-a-command": ["EHLO c", "FOO bar", "MAIL FROM:<a@b.example"],
    "out-of-order": ["RCPT TO:<x>", "DATA"],
    "behind-rset": ["HELO c", _MAIL, "RSET", "RCPT TO:<a@b>"],
    "gone": ["EHLO c", _MAIL, HANG_UP],
    "forgiven": ["EHLO c", "FOO", _MAIL, _RCPT, "DATA", _CONTENT, HANG_UP],
    "not-forgiven": ["EHLO c", _MAIL, "RCPT TO:<x@elsewhere.example>", _RCPT, "DATA", _CONTENT, "FOO"],
    "said-too-big": ["EHLO c", "MAIL FROM:<a@b.example> SIZE=999999999"],
    "too-big": ["EHLO c", _MAIL, _RCPT, "DATA", "Subject: x\r\n\r\n" + 3000 * "text of a line\r\n" + "."],
    "hops": ["EHLO c", _MAIL, _RCPT, "DATA", 60 * "Received: x\r\n" + "\r\n."],
    "errors": ["EHLO c", *(20 * ["FOO"])],
    "octets": ["EHLO c", "FOO \xe4\xc3\xa4\x01 tab\there \"q\""],
    "long-words": ["EHLO c", "FOO " + 300 * "x" + " " + 100 * "y" + " " + " ".join(30 * ["word"])],
    "nobody": ["EHLO c", _MAIL, "DATA"],
    "bad-recipient": ["EHLO c", _MAIL, "RCPT TO:<x y@d>"],
    "nested": ["EHLO c", _MAIL, _MAIL],
    "no-argument": ["EHLO", "HELO"],
    "parameters": ["EHLO c", "MAIL FROM:<a@b.example> FOO=BAR", "RSET x"],
    "lookup": ["EHLO c", _MAIL, "RCPT TO:<x@broken.example>"],
    "not-offered": ["EHLO c", "AUTH PLAIN x", "STARTTLS"],
    "etrn": ["EHLO c", "ETRN foo"],
    "etrn-of-no-name": ["EHLO c", "ETRN bad..name"],
    "replaced": ["EHLO c", "XXX"],
    "chunk": ["EHLO c", _MAIL, _RCPT, "BDAT 0"],
    "chunk-of-nobody": ["EHLO c", "BDAT 2 LAST\r\na"],
    "chunk-without-size": ["EHLO c", _MAIL, _RCPT, "BDAT x"],
    "chunk-too-big": ["EHLO c", _MAIL, _RCPT, "BDAT 30000 LAST\r\n" + 30000 * "x"],
    "xclient": ["EHLO c", "FOO", "XCLIENT NAME=other.example ADDR=192.0.2.7", "EHLO d", "BAR"],
    "xforward": ["EHLO c", "XFORWARD FOO=x"],
    "empty": ["", "   "],
    "refused-by-name": ["EHLO bad.example", _MAIL, _RCPT],
}
CLASSES = ("bounce", "data", "policy", "protocol", "resource", "software")


class Side:
    """One of the two mail systems, with the postmaster's server."""

    def __init__(self, stack, oracle, classes, settings):
        self.label = "postfix" if oracle else "postfleet"
        self.postmaster = stack.enter_context(RecordingServer())
        self.mta = stack.enter_context(harness.Instance(stack.enter_context(machine.folder()), {
            "notify_classes": classes,
            "error_notice_recipient": "errors@postmaster.example",
            "bounce_notice_recipient": "bounces@postmaster.example",
            "transport_maps": f"inline:{{ {{ postmaster.example = smtp:[127.0.0.1]:{self.postmaster.port} }},"
                              f" {{ mta.example = smtp:[127.0.0.1]:{self.postmaster.port} }} }}",
            "virtual_mailbox_domains": "box.example, broken.example",
            "virtual_mailbox_maps": "inline:{ alice@box.example=alice/ }, hash:/nonexistent/table",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_recipient_restrictions": "",
            "smtpd_helo_restrictions": "",
            "smtpd_command_filter": "inline:{ XXX=YYY }",
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_authorized_xforward_hosts": "127.0.0.1",
            "mydestination": "here.example",
            "local_recipient_maps": "inline:{ x=x }",
            "in_flow_delay": "0s",
            "smtpd_error_sleep_time": "0s",
            "message_size_limit": "20000",
            **settings,
        }, name=self.label, oracle=oracle))
        # Whoever looked whether it greets.
        wait_until("the end of first sessions", self._is_idle, 30.0, self.mta.why_ended)
        self._sessions = len(self.mta.find_log(_END))

    def _is_idle(self):
        ends = len(self.mta.find_log(_END))
        return ends and ends == len(self.mta.find_log(r"smtpd\[\d+\]: connect from "))

    def talk(self, commands):
        """What is mailed to the postmaster of one session, and what the log says of it."""
        before = len(self.postmaster.messages)
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.mta.port), 30) as client, \
                client.makefile("rb") as replies:
            self._read_reply(replies)
            for command in [*commands, "QUIT"]:
                if command is HANG_UP:
                    break
                client.sendall(command.encode("latin-1") + b"\r\n")
                if not self._read_reply(replies):
                    break
        self._sessions += 1
        self.mta.wait_for_log(_END, self._sessions)
        notices = self.mta.find_log(r"cleanup\[\d+\]: (\w+): message-id=<\1@")
        messages = self.postmaster.wait_for(len(notices))[before:]
        return [self._plain(f"{message.sender} -> {message.recipients}\n" + message.content.replace(b"\r\n", b"\n").decode())
                for message in messages]

    @staticmethod
    def _read_reply(replies):
        while line := replies.readline():
            if line[3:4] != b"-":
                return line
        return b""

    @staticmethod
    def _plain(text):
        text = re.sub(r"\b(?=[0-9])[0-9A-Za-z]{13,20}\b", "QUEUEID", text)
        return re.sub(r"\w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d \+0000 \(UTC\)", "DATE", text)


@unittest.skipUnless(machine.IS_ROOT, "real Postfix needs root: run ./dev test as root, as CI does")
class Transcripts(unittest.TestCase):
    maxDiff = None

    def assert_told_alike(self, classes, names=tuple(DIALOGUES), settings=None):
        with contextlib.ExitStack() as stack:
            theirs, ours = [Side(stack, oracle, classes, settings or {}) for oracle in (True, False)]
            told = 0
            for name in names:
                with self.subTest(name):
                    expected = theirs.talk(DIALOGUES[name])
                    told += len(expected)
                    self.assertEqual("\n".join(expected), "\n".join(ours.talk(DIALOGUES[name])))
        return told

    def test_of_all_classes_are_postfixs(self):
        self.assertGreater(self.assert_told_alike(ALL), 20)

    def test_of_one_class_are_postfixs(self):
        for name in CLASSES:
            with self.subTest(name):
                self.assert_told_alike(name)

    def test_by_default_are_postfixs(self):
        self.assertEqual(self.assert_told_alike("resource, software", ("relay", "not-a-command", "unknown-user")), 0)

    def test_for_an_incomplete_address_are_postfixs(self):
        self.assertGreater(self.assert_told_alike(ALL, ("relay", "unknown-user"), {
            "error_notice_recipient": "postmaster", "bounce_notice_recipient": "postmaster"}), 0)

    def test_of_clients_that_are_refused_are_postfixs(self):
        self.assertGreater(self.assert_told_alike("policy", ("good", "relay", "gone"), {
            "smtpd_helo_restrictions": "reject", "smtpd_delay_reject": "no"}), 0)


if __name__ == "__main__":
    facts.main()
