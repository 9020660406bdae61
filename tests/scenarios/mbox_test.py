"""One mbox file, written by us and emptied by a real Dovecot at the same time: nothing is lost, torn or doubled.

MBOX_MESSAGES=10000 for the long form; MBOX_LOCKS="fcntl dotlock" for Dovecot's locks in Debian's order (slow: each
clash costs deliver_lock_delay, and real Postfix is deadlocked).
"""

import collections
import imaplib
import os
import re
import threading
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from dovecot_server import PASSWORD, Dovecot

MESSAGES = int(os.environ.get("MBOX_MESSAGES", "2000"))
SENDERS = 8
_DELIVERY_SECONDS_MAX = 120.0


def content_of(number):
    """Of lengths that fill pages in part; lines that an mbox must quote."""
    lines = [f"From line {line} of {number}" if line % 7 == 0 else f"{number} " * (line % 13)
             for line in range(number % 200)]
    return "\n".join([f"Subject: {number}", "", *lines, f"end of {number}", ""]).encode()


class _Reader:
    """Fetches what is there, removes it, and looks again, until it is told to end."""

    def __init__(self, dovecot, user):
        self.contents = collections.defaultdict(list)
        self.error = None
        self._dovecot = dovecot
        self._user = user
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self):
        self._ends.set()
        self._thread.join()

    def _run(self):
        try:
            with imaplib.IMAP4("127.0.0.1", self._dovecot.ports["imap"]) as client:
                client.login(self._user, PASSWORD)
                client.select("INBOX")
                while True:
                    is_last = self._ends.is_set()
                    self._take(client)
                    if is_last:
                        return
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _take(self, client):
        client.noop()
        uids = client.uid("SEARCH", "UNDELETED")[1][0].split()
        if not uids:
            return
        wanted = b",".join(uids).decode()
        for part in client.uid("FETCH", wanted, "(BODY.PEEK[])")[1]:
            if isinstance(part, tuple):
                content = part[1].replace(b"\r\n", b"\n")
                number = re.search(rb"^Subject: (\d+)$", content, re.MULTILINE)
                self.contents[int(number.group(1)) if number else None].append(content)
        client.uid("STORE", wanted, "+FLAGS.SILENT", r"(\Deleted)")
        client.expunge()


class AnMbox(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Dovecot does: run ./dev test as root, as CI does")
        enter = cls.enterClassContext
        folder = enter(machine.folder())
        cls.mta = enter(harness.Instance(folder, {
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "inline:{ {busy@box.example = busy}, {held@box.example = held} }",
            "virtual_mailbox_limit": "0",
            "in_flow_delay": "0s",
        }))
        (folder / "dovecot").mkdir()
        (folder / "dovecot").chmod(0o755)
        mail = cls.mta.mail
        cls.dovecot = enter(Dovecot(folder / "dovecot", {
            "busy": f"userdb_mail=mbox:{mail}/folders:INBOX={mail}/busy"}, protocols=("imap",),
            mbox_locks=os.environ.get("MBOX_LOCKS", "dotlock fcntl")))

    def _send(self, numbers, errors):
        try:
            with smtp_client.Client(self.mta.port) as client:
                for number in numbers:
                    reply = client.send("sender@client.example", ["busy@box.example"], content_of(number))
                    if reply.code != 250:
                        raise AssertionError(reply)
                client.quit()
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    def test_is_written_while_it_is_read_and_emptied(self):
        reader = _Reader(self.dovecot, "busy")
        errors = []
        senders = [threading.Thread(target=self._send, args=(range(first, MESSAGES, SENDERS), errors))
                   for first in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.mta.wait_until_empty(_DELIVERY_SECONDS_MAX)
        reader.end()
        self.assertEqual(errors, [])
        self.assertIsNone(reader.error)
        self.assertEqual({number: len(found) for number, found in reader.contents.items() if len(found) != 1}, {})
        self.assertEqual(sorted(reader.contents), list(range(MESSAGES)))
        torn = [number for number, (content,) in reader.contents.items()
                if not content.endswith(content_of(number).replace(b"\nFrom ", b"\n>From "))]
        self.assertEqual(torn, [])
        # Dovecot leaves a message of its own.
        self.assertNotIn(b"\nDelivered-To: ", (self.mta.mail / "busy").read_bytes())

    def test_that_another_holds_is_waited_for(self):
        lock = self.mta.mail / "held.lock"
        lock.write_text("1")
        smtp_client.deliver(self.mta.port, "sender@client.example", ["held@box.example"], content_of(1))
        wait_until("its delivery", lambda: [entry for entry in self.mta.queued() if entry["queue_name"] == "active" and
                                            entry["recipients"][0]["address"] == "held@box.example"],
                   hopeless=self.mta.why_ended)
        mailbox = self.mta.mail / "held"
        self.assertFalse(mailbox.exists() and mailbox.stat().st_size)
        lock.unlink()
        self.mta.wait_for_log(r"to=<held@box\.example>, .*status=sent \(delivered to mailbox\)")
        self.assertTrue(mailbox.read_bytes().startswith(b"From sender@client.example  "))


if __name__ == "__main__":
    facts.main()
