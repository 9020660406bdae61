"""What we deliver, mail readers get: a real Dovecot serves the corpus by IMAP and POP3, with TLS and without.

Each of 6,046 real messages goes to a Maildir and to an mbox; each is there once, changed only as Postfix changes it.
"""

import collections
import imaplib
import os
import poplib
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
from dovecot_server import PASSWORD, Dovecot

_ARRIVAL_SECONDS_MAX = 120.0
_IMAP_BATCH = 500
_SHOWN_MAX = 3
_ADDED = [b"Return-Path", b"X-Original-To", b"Delivered-To", b"Received"]
# Dovecot keeps what it knows of a message in these fields of an mbox, and hides them.
_MBOX_HIDDEN = re.compile(rb"^(?:status|x-status|x-keywords|x-uid|x-imap|x-imapbase|content-length):.*\n(?:[ \t].*\n)*",
                          re.IGNORECASE | re.MULTILINE)
poplib._MAXLINE = 1 << 20  # pylint: disable=protected-access; lines of real mail are longer than it allows
FOLDERS = ("dir", "file")  # users: of a Maildir, of an mbox


def in_mbox(content):
    """As the lines of an mbox are quoted, and as Dovecot shows them."""
    header, end, body = re.sub(rb"^From ", b">From ", content, flags=re.MULTILINE).partition(b"\n\n")
    return _MBOX_HIDDEN.sub(b"", header + b"\n") + end[1:] + body


class Readers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Dovecot does: run ./dev test as root, as CI does")
        cls.messages = corpus.read()
        enter = cls.enterClassContext
        folder = enter(machine.folder())
        (folder / "boxes").write_text("dir@box.example dir/\nfile@box.example file\n")
        cls.mta = enter(harness.Instance(folder, {
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": f"texthash:{folder / 'boxes'}",
            "virtual_mailbox_limit": "0",
            "smtpd_forbid_bare_newline": "normalize",
            "smtpd_forbid_bare_newline_exclusions": "",
            "in_flow_delay": "0s",
        }))
        cls._send_all()
        mail = cls.mta.mail
        (folder / "dovecot").mkdir()
        (folder / "dovecot").chmod(0o755)
        cls.dovecot = enter(Dovecot(folder / "dovecot", {
            "dir": f"userdb_mail=maildir:{mail}/dir",
            "file": f"userdb_mail=mbox:{mail}/folders:INBOX={mail}/file",
        }, protocols=("imap", "pop3")))

    @classmethod
    def _send_all(cls):
        began = time.monotonic()
        with smtp_client.Client(cls.mta.port) as client:
            for number, message in enumerate(cls.messages):
                reply = client.send(f"m{number}@client.example", [f"{name}@box.example" for name in FOLDERS], message,
                                    " BODY=8BITMIME")
                if reply.code != 250:
                    raise AssertionError(f"message {number}: {reply}")
            client.quit()
        wait_until("an empty queue", lambda: "Mail queue is empty" in cls.mta.run("postqueue", "-p")[1],
                   _ARRIVAL_SECONDS_MAX, cls.mta.why_ended)
        print(f"{len(cls.messages)} messages to two mailboxes each in {time.monotonic() - began:.1f} s", flush=True)

    def read_imap(self, user, tls):
        ports = self.dovecot.ports
        client = (imaplib.IMAP4_SSL("localhost", ports["imaps"], ssl_context=self.dovecot.tls()) if tls
                  else imaplib.IMAP4("127.0.0.1", ports["imap"]))
        with client:
            client.login(user, PASSWORD)
            count = int(client.select("INBOX")[1][0])
            contents = []
            for first in range(1, count + 1, _IMAP_BATCH):
                status, parts = client.fetch(f"{first}:{min(first + _IMAP_BATCH - 1, count)}", "(BODY.PEEK[])")
                self.assertEqual(status, "OK")
                contents += [part[1] for part in parts if isinstance(part, tuple)]
        self.assertEqual(len(contents), count)
        return contents

    def read_pop3(self, user, tls):
        ports = self.dovecot.ports
        client = (poplib.POP3_SSL("localhost", ports["pop3s"], context=self.dovecot.tls()) if tls
                  else poplib.POP3("127.0.0.1", ports["pop3"]))
        client.user(user)
        client.pass_(PASSWORD)
        count = client.stat()[0]
        contents = [b"\n".join(client.retr(number)[1]) + b"\n" for number in range(1, count + 1)]
        client.quit()
        return contents

    def assert_corpus(self, contents, expected):
        arrived = collections.defaultdict(list)
        for content in contents:
            fields, rest = postfix_form.split_added(content.replace(b"\r\n", b"\n"), _ADDED)
            arrived[int(re.search(rb"<m(\d+)@", fields[0]).group(1))].append(rest)
        self.assertEqual({number: len(arrived[number]) for number in range(len(self.messages)) if len(arrived[number]) != 1}, {})
        different = []
        for number, message in enumerate(self.messages):
            wanted = expected(postfix_form.as_postfix_would(message))
            if arrived[number] != [wanted]:
                different.append(number)
                if len(different) <= _SHOWN_MAX:
                    at = len(os.path.commonprefix([wanted, arrived[number][0]]))
                    print(f"message {number} at byte {at}: expected {wanted[at - 40:at + 40]!r}, "
                          f"read {arrived[number][0][at - 40:at + 40]!r}")
        self.assertEqual(different, [])

    def test_get_a_maildir_by_imap(self):
        self.assert_corpus(self.read_imap("dir", tls=False), bytes)

    def test_get_a_maildir_by_imap_over_tls(self):
        self.assert_corpus(self.read_imap("dir", tls=True), bytes)

    def test_get_a_maildir_by_pop3(self):
        self.assert_corpus(self.read_pop3("dir", tls=False), bytes)

    def test_get_a_maildir_by_pop3_over_tls(self):
        self.assert_corpus(self.read_pop3("dir", tls=True), bytes)

    def test_get_an_mbox_by_imap(self):
        self.assert_corpus(self.read_imap("file", tls=False), in_mbox)

    def test_get_an_mbox_by_imap_over_tls(self):
        self.assert_corpus(self.read_imap("file", tls=True), in_mbox)

    def test_get_an_mbox_by_pop3(self):
        self.assert_corpus(self.read_pop3("file", tls=False), in_mbox)

    def test_get_an_mbox_by_pop3_over_tls(self):
        self.assert_corpus(self.read_pop3("file", tls=True), in_mbox)


if __name__ == "__main__":
    facts.main()
