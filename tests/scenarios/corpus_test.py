"""6,046 real messages over 20 connections: each arrives exactly once, changed only as Postfix changes it.

Each goes to a virtual Maildir and to another SMTP server. The client is remote in what it may do:
smtpd_forbid_bare_newline_exclusions is empty. Each message has recipients of its own, which is how
arrivals are told apart.
"""

import collections
import threading
import time
import unittest

import corpus
import facts
import harness
import machine
import postfix_form
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

CONNECTIONS = 20
_ARRIVAL_SECONDS_MAX = 120.0
_SHOWN_MAX = 5


WAYS = ("box.example", "peer.example")


def recipient(number, way):
    return f"m{number:05}@{way}"


class _Senders:
    """CONNECTIONS threads; each takes the next message until none is left."""

    def __init__(self, port, messages):
        self._port = port
        self._numbers = iter(range(len(messages)))
        self._messages = messages
        self._lock = threading.Lock()
        self.refused = []
        self.errors = []

    def run(self):
        threads = [threading.Thread(target=self._send_all) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _next(self):
        with self._lock:
            return next(self._numbers, None)

    def _send_all(self):
        try:
            with smtp_client.Client(self._port) as client:
                while (number := self._next()) is not None:
                    reply = client.send("sender@client.example", [recipient(number, way) for way in WAYS],
                                        self._messages[number], " BODY=8BITMIME")
                    if reply.code != 250:
                        self.refused.append((number, reply))
                client.quit()
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)


class TheCorpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.messages = corpus.read()
        cls.peer = cls.enterClassContext(RecordingServer())
        cls.mta = cls.enterClassContext(harness.Instance(cls.enterClassContext(machine.folder()), {
            "relayhost": f"[127.0.0.1]:{cls.peer.port}",
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "static:all/",
            "smtpd_forbid_bare_newline": "normalize",
            "smtpd_forbid_bare_newline_exclusions": "",
        }))
        began = time.monotonic()
        cls.senders = _Senders(cls.mta.port, cls.messages)
        cls.senders.run()
        accepted = time.monotonic()
        wait_until("an empty queue", lambda: "Mail queue is empty" in cls.mta.run("postqueue", "-p")[1],
                   _ARRIVAL_SECONDS_MAX, cls.mta.why_ended)
        done = time.monotonic()
        cls.arrived = {**cls._arrived_at_peer(), **cls._arrived_in_maildir()}
        print(f"{len(cls.messages)} messages, {sum(map(len, cls.messages))} bytes, {CONNECTIONS} connections: "
              f"accepted in {accepted - began:.1f} s, delivered {done - accepted:.1f} s later", flush=True)

    @classmethod
    def _arrived_at_peer(cls):
        arrived = collections.defaultdict(list)
        for message in cls.peer.messages:
            content = message.content.replace(b"\r\n", b"\n")
            _, rest = postfix_form.split_added(content, [b"Received"])
            for address in message.recipients:
                arrived[address].append(rest)
        return arrived

    @classmethod
    def _arrived_in_maildir(cls):
        arrived = collections.defaultdict(list)
        for content in cls.mta.maildir("all"):
            fields, rest = postfix_form.split_added(
                content, [b"Return-Path", b"X-Original-To", b"Delivered-To", b"Received"])
            arrived[fields[1].decode().partition(": ")[2]].append(rest)
        return arrived

    def expected(self, number, way):
        stored = postfix_form.as_postfix_would(self.messages[number])
        return stored if way == "box.example" else postfix_form.folded_for_smtp(stored)

    def test_is_accepted_to_the_last_message(self):
        self.assertEqual(self.senders.errors, [])
        self.assertEqual(self.senders.refused[:_SHOWN_MAX], [])

    def test_arrives_exactly_once_each(self):
        for way in WAYS:
            counts = collections.Counter(len(self.arrived.get(recipient(number, way), []))
                                         for number in range(len(self.messages)))
            print(f"{way}: arrivals of a message -> messages: {dict(counts)}")
            self.assertEqual(counts, {1: corpus.MESSAGES})
        self.assertEqual(len(self.arrived), len(WAYS) * corpus.MESSAGES)

    def test_arrives_byte_for_byte_but_for_what_postfix_changes(self):
        for way in WAYS:
            with self.subTest(way):
                self._check_bytes(way)

    def _check_bytes(self, way):
        different, as_sent, as_postfix = [], 0, 0
        for number, message in enumerate(self.messages):
            for content in self.arrived.get(recipient(number, way), []):
                if content == message:
                    as_sent += 1
                elif content == self.expected(number, way):
                    as_postfix += 1
                else:
                    different.append((number, self.expected(number, way), content))
        print(f"{way}: {as_sent} as they were sent, {as_postfix} with changes that Postfix makes too, "
              f"{len(different)} different")
        for number, expected, content in different[:_SHOWN_MAX]:
            print(f"message {number}:")
            print("\n".join(_difference(expected, content)))
        self.assertEqual([number for number, _, _ in different], [])
        self.assertEqual(as_sent + as_postfix, corpus.MESSAGES)


def _difference(expected, content):
    """The first lines that are not the same."""
    pairs = zip(expected.split(b"\n") + [None], content.split(b"\n") + [None])
    different = [(number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]]
    return [f"  line {number}: as Postfix {str(pair[0])[:200]}\n  arrived {str(pair[1])[:200]}"
            for number, pair in different[:3]]


if __name__ == "__main__":
    facts.main()
