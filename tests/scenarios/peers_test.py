"""Other people's servers as the next hop: aiosmtpd, real Postfix, and smtp-sink at its most awkward."""

import contextlib
import json
import pathlib
import shutil
import subprocess
import unittest

import facts
import harness
import machine
import smtp_client
import stock
from deadlines import wait_until

CONTENT = (b"From: alice@client.example\nTo: bob@peer.example\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\n"
           b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
           b"gr\xc3\xbc\xc3\x9fe\n.\n..\n" + b"x" * 998 + b"\n" + b"y" * 2000 + b"\nlast line\n")
MESSAGES = 50
# Debian's packages of Python modules are its, whatever python3 is first in PATH.
SYSTEM_PYTHON = "/usr/bin/python3"


def folded(content):
    """As postfix_form has it, for a test of its own: a space after each break."""
    return content.replace(b"y" * 2000, b"y" * 998 + b"\n " + b"y" * 997 + b"\n " + b"y" * 5)


def below_received(content, count):
    """The content without the first `count` Received fields, which are on top."""
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    for _ in range(count):
        while not lines[0].startswith(b"Received: "):
            lines.pop(0)  # Return-Path and the like
        lines.pop(0)
        while lines[0][:1] in (b" ", b"\t"):
            lines.pop(0)
    return b"\n".join(lines)


class _Peer(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(machine.folder())

    def start(self, port, **parameters):
        self.mta = self.stack.enter_context(harness.Instance(self.folder, {
            "relayhost": f"[127.0.0.1]:{port}", "in_flow_delay": "0s", **parameters}))

    def deliver(self, *recipients, sender="alice@client.example"):
        reply = smtp_client.deliver(self.mta.port, sender, list(recipients), CONTENT, " BODY=8BITMIME")
        return smtp_client.queue_id(reply)

    def fate(self, queue_id, recipient):
        [line] = self.mta.wait_for_log(rf"smtp\[\d+\]: {queue_id}: to=<{recipient}>, .*dsn=([\d.]+), status=(\w+) \((.*)\)$")
        return line.groups()


class Aiosmtpd(_Peer):
    def setUp(self):
        super().setUp()
        port = machine.Port()
        self.addCleanup(port.close)
        self.kept = self.folder / "kept"
        self.kept.mkdir()
        process = subprocess.Popen([SYSTEM_PYTHON, "-B", pathlib.Path(__file__).with_name("aiosmtpd_server.py"),
                                    str(port.number), self.kept], stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        stock.wait_for_greeting(port.number, lambda: process.poll() is not None and (
            "aiosmtpd ended; ./dev installs what deploy/packages lists") or None)
        self.start(port.number)

    def taken(self):
        """(sender, recipients, content) of each message."""
        kept = [json.loads(path.read_text()) for path in sorted(self.kept.iterdir())]
        return [(sender, recipients, content.encode("latin-1")) for sender, recipients, content in kept]

    def test_takes_one_user_and_refuses_others(self):
        queue_id = self.deliver("bob@peer.example", "unknown@peer.example", "busy@peer.example")
        self.assertEqual(self.fate(queue_id, "bob@peer.example"), ("2.0.0", "sent", "250 2.0.0 kept"))
        self.assertEqual(self.fate(queue_id, "unknown@peer.example"), (
            "5.1.1", "bounced", "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)"))
        self.assertEqual(self.fate(queue_id, "busy@peer.example"), (
            "4.2.1", "deferred", "host 127.0.0.1[127.0.0.1] said: 450 4.2.1 busy (in reply to RCPT TO command)"))

    def test_gets_the_content_byte_for_byte(self):
        self.fate(self.deliver("bob@peer.example"), "bob@peer.example")
        [(sender, recipients, content)] = self.taken()
        self.assertEqual((sender, recipients), ("alice@client.example", ["bob@peer.example"]))
        self.assertEqual(below_received(content, 1), folded(CONTENT))

    def test_gets_each_of_many_messages_once(self):
        for number in range(MESSAGES):
            self.deliver("bob@peer.example", sender=f"s{number}@client.example")
        self.mta.wait_for_log("status=sent", MESSAGES)
        self.assertEqual(sorted(sender for sender, _, _ in self.taken()),
                         sorted(f"s{number}@client.example" for number in range(MESSAGES)))


class RealPostfix(_Peer):
    def setUp(self):
        super().setUp()
        machine.require_root(self)
        self.next = self.stack.enter_context(harness.Instance(self.folder, {
            "virtual_mailbox_domains": "peer.example",
            "virtual_mailbox_maps": "inline:{ bob@peer.example=bob/, carol@peer.example=carol/ }",
            "myhostname": "next.example",
            "message_size_limit": "20000",
        }, name="next", oracle=True))
        self.start(self.next.port)

    def wait_for_mail(self, name, count):
        return wait_until(f"{count} messages of {name}", lambda: (
            found if len(found := self.next.maildir(name)) >= count else None), hopeless=self.next.why_ended)

    def test_takes_users_that_it_has(self):
        queue_id = self.deliver("bob@peer.example", "carol@peer.example", "nobody@peer.example")
        self.assertRegex(self.fate(queue_id, "bob@peer.example")[2], r"^250 2\.0\.0 Ok: queued as \w+$")
        self.assertEqual(self.fate(queue_id, "nobody@peer.example"), (
            "5.1.1", "bounced", "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 <nobody@peer.example>: Recipient address "
            "rejected: User unknown in virtual mailbox table (in reply to RCPT TO command)"))
        for name in ("bob", "carol"):
            [content] = self.wait_for_mail(name, 1)
            self.assertEqual(below_received(content, 2), folded(CONTENT))

    def test_is_not_sent_what_it_said_is_too_large(self):
        large = b"Subject: large\n\n" + 500 * (b"x" * 59 + b"\n")
        reply = smtp_client.deliver(self.mta.port, "alice@client.example", ["bob@peer.example"], large)
        dsn, status, text = self.fate(smtp_client.queue_id(reply), "bob@peer.example")
        self.assertEqual((dsn, status), ("5.3.4", "bounced"))
        self.assertRegex(text, r"^message size \d+ exceeds size limit 20000 of server 127\.0\.0\.1\[127\.0\.0\.1\]$")
        self.assertEqual(self.next.find_log(r"from=<alice@client\.example>"), [])

    def test_gets_each_of_many_messages_once(self):
        for number in range(MESSAGES):
            self.deliver("bob@peer.example", sender=f"s{number}@client.example")
        self.mta.wait_for_log("status=sent", MESSAGES)
        self.wait_for_mail("bob", MESSAGES)
        self.next.wait_until_empty()
        self.assertEqual(len(self.next.maildir("bob")), MESSAGES)


class SmtpSink(_Peer):
    """-e no ESMTP, -p no pipelining, -8 no 8BITMIME, each with its own way to talk."""

    def sink(self, *options):
        program = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin")
        if not program:
            self.fail("smtp-sink, of postfix, is not installed: ./dev installs what deploy/packages lists")
        port = machine.Port()
        self.addCleanup(port.close)
        owner = ["-u", "nobody"] if machine.IS_ROOT else []
        dump = self.folder / "dump"
        dump.mkdir()
        dump.chmod(0o777)
        process = subprocess.Popen([program, *owner, "-d", "%M.", *options, f"127.0.0.1:{port.number}", "100"],
                                   cwd=dump, stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        stock.wait_for_greeting(port.number, lambda: process.poll() is not None and "smtp-sink ended" or None)
        self.start(port.number)
        return dump

    def assert_sent(self, *options):
        dump = self.sink(*options)
        self.assertEqual(self.fate(self.deliver("bob@peer.example"), "bob@peer.example")[1], "sent")
        [content] = wait_until("the dump of a message", lambda: [path.read_bytes() for path in dump.iterdir()])
        self.assertEqual(content.count(b"last line"), 1)

    def test_without_esmtp_gets_its_mail(self):
        self.assert_sent("-e")

    def test_without_pipelining_gets_its_mail(self):
        self.assert_sent("-p")

    def test_that_is_slow_at_the_end_gets_its_mail(self):
        self.assert_sent("-w", "1")


if __name__ == "__main__":
    facts.main()
