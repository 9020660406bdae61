"""A real Dovecot behind LMTP (RFC 2033): each recipient has a fate of its own, and real mail arrives unchanged."""

import collections
import os
import re
import time
import unittest

import corpus
import facts
import harness
import machine
import postfix_form
import smtp_client
from deadlines import wait_until
from dovecot_server import Dovecot

CONTENT = b"From: alice@client.example\nTo: bob@box.example\nSubject: by LMTP\n\nHello\n.\nlast line\n"
QUOTA_BYTES = 200
USERS = {**dict.fromkeys(("bob", "carol", "corpus", "corpusunix"), ""),
         "full": f"userdb_quota_rule=*:bytes={QUOTA_BYTES}"}
# Over the socket go fewer: what differs from TCP is the connection.
SOCKET_MESSAGES = 1000
_ARRIVAL_SECONDS_MAX = 90.0
_SHOWN_MAX = 3


class ADovecot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Dovecot does: run ./dev test as root, as CI does")
        enter = cls.enterClassContext
        folder = enter(machine.folder())
        (folder / "dovecot").mkdir()
        (folder / "dovecot").chmod(0o755)
        cls.dovecot = enter(Dovecot(folder / "dovecot", USERS))
        routes = folder / "routes"
        routes.write_text(f"box.example lmtp:inet:127.0.0.1:{cls.dovecot.ports['lmtp']}\n"
                          f"unix.example lmtp:unix:{cls.dovecot.socket}\n")
        cls.mta = enter(harness.Instance(folder, {
            "transport_maps": f"texthash:{routes}",
            "smtpd_forbid_bare_newline": None if machine.ORACLE else "normalize",
            "smtpd_forbid_bare_newline_exclusions": None if machine.ORACLE else "",
            "in_flow_delay": "0s",
        }))

    def deliver(self, *recipients):
        return smtp_client.queue_id(smtp_client.deliver(self.mta.port, "alice@client.example", list(recipients), CONTENT))

    def fates(self, queue_id, count):
        """{recipient: (relay, dsn, status, text)}"""
        found = self.mta.wait_for_log(
            rf"postfix/lmtp\[\d+\]: {queue_id}: to=<([^>]*)>, relay=(\S+), .*dsn=([\d.]+), status=(\w+) \((.*)\)$", count)
        return {line.group(1): line.groups()[1:] for line in found}

    def wait_for_mail(self, user, count):
        wait_until(f"{count} messages of {user}", lambda: self.dovecot.count(user) >= count, hopeless=self.mta.why_ended)

    def assert_delivered(self, user, domain, relay):
        before = self.dovecot.count(user)
        queue_id = self.deliver(f"{user}@{domain}")
        found = self.fates(queue_id, 1)[f"{user}@{domain}"]
        self.assertEqual(found[:3], (relay, "2.0.0", "sent"))
        self.assertRegex(found[3], rf"^250 2\.0\.0 <{user}@{domain}> \S+ Saved$")
        self.wait_for_mail(user, before + 1)
        self.assertTrue(any(CONTENT in content for content in self.dovecot.maildir(user)))

    def test_gets_mail_over_tcp(self):
        self.assert_delivered("bob", "box.example", f"127.0.0.1[127.0.0.1]:{self.dovecot.ports['lmtp']}")

    def test_gets_mail_over_its_socket(self):
        self.assert_delivered("carol", "unix.example", f"mta.example[{self.dovecot.socket}]")

    def test_refuses_one_user_and_takes_the_others(self):
        found = self.fates(self.deliver("bob@box.example", "nobody@box.example", "carol@box.example"), 3)
        self.assertEqual({to: fate[1:3] for to, fate in found.items()}, {
            "bob@box.example": ("2.0.0", "sent"), "carol@box.example": ("2.0.0", "sent"),
            "nobody@box.example": ("5.1.1", "bounced")})
        self.assertRegex(found["nobody@box.example"][3],
                         r"^host 127\.0\.0\.1\[127\.0\.0\.1\] said: 550 5\.1\.1 <nobody@box\.example> User doesn't exist: "
                         r"nobody@box\.example \(in reply to RCPT TO command\)$")

    def test_says_at_the_end_who_is_over_quota(self):
        found = self.fates(self.deliver("bob@box.example", "full@box.example", "carol@box.example"), 3)
        self.assertEqual({to: fate[2] for to, fate in found.items()}, {
            "bob@box.example": "sent", "carol@box.example": "sent", "full@box.example": "bounced"})
        self.assertEqual(found["full@box.example"][1], "5.2.2")
        self.assertRegex(found["full@box.example"][3],
                         r"^host 127\.0\.0\.1\[127\.0\.0\.1\] said: 552 5\.2\.2 <full@box\.example> Quota exceeded .*"
                         r"\(in reply to end of DATA command\)$")
        self.assertEqual(self.dovecot.count("full"), 0)

    def assert_corpus_arrives(self, user, domain, count):
        messages = corpus.read()[:count]
        began = time.monotonic()
        with smtp_client.Client(self.mta.port) as client:
            for number, message in enumerate(messages):
                reply = client.send(f"m{number}@client.example", [f"{user}@{domain}"], message, " BODY=8BITMIME")
                self.assertEqual(reply.code, 250, reply)
            client.quit()
        wait_until(f"{len(messages)} messages at {user}", lambda: self.dovecot.count(user) >= len(messages),
                   _ARRIVAL_SECONDS_MAX, self.mta.why_ended, poll_seconds=0.2)
        print(f"{len(messages)} messages in {time.monotonic() - began:.1f} s", flush=True)
        arrived = collections.defaultdict(list)
        for content in self.dovecot.maildir(user):
            fields, rest = postfix_form.split_added(content, [b"Return-Path", b"Delivered-To", b"Received", b"Received"])
            arrived[int(re.search(rb"<m(\d+)@", fields[0]).group(1))].append(rest)
        self.assertEqual({number: len(arrived[number]) for number in range(len(messages)) if len(arrived[number]) != 1}, {})
        different = []
        for number, message in enumerate(messages):
            expected = postfix_form.folded_for_smtp(postfix_form.as_postfix_would(message))
            if arrived[number] != [expected]:
                different.append(number)
                if len(different) <= _SHOWN_MAX:
                    at = len(os.path.commonprefix([expected, arrived[number][0]]))
                    print(f"message {number} at byte {at}: expected {expected[at - 40:at + 40]!r}, "
                          f"arrived {arrived[number][0][at - 40:at + 40]!r}")
        self.assertEqual(different, [])

    def test_keeps_the_corpus_over_tcp(self):
        self.assert_corpus_arrives("corpus", "box.example", corpus.MESSAGES)

    def test_keeps_the_corpus_over_its_socket(self):
        self.assert_corpus_arrives("corpusunix", "unix.example", SOCKET_MESSAGES)


if __name__ == "__main__":
    facts.main()
