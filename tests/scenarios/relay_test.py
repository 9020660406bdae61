"""One message, in by SMTP and out by SMTP: what arrives, and what the log says."""

import re
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

# Long queue ids leave out vowels: time in base 52, z, a number in base 51.
ID = r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-ty]+"
DATE = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [ \d]\d [A-Z][a-z][a-z] \d{4} \d\d:\d\d:\d\d [+-]\d{4} \([A-Z]+\)"
PREFIX = r"^[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d mta "

CONTENT = (b"From: Alice <alice@client.example>\nTo: bob@peer.example\nSubject: greetings\n"
           b"Message-Id: <one@client.example>\n\nHello Bob\n.\n..dots\n\xe4\xf6\xfc\nlast line\n")


class ARelayedMessage(unittest.TestCase):
    """Each fact looks at the same one message."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.peer = cls.enterClassContext(RecordingServer())
        cls.mta = cls.enterClassContext(harness.Instance(
            cls.enterClassContext(machine.folder()), {"relayhost": f"[127.0.0.1]:{cls.peer.port}"}))
        cls.reply = smtp_client.deliver(cls.mta.port, "alice@client.example", ["bob@peer.example"], CONTENT,
                                        " BODY=8BITMIME")
        cls.peer.wait_for(1, hopeless=cls.mta.why_ended)
        cls.mta.wait_for_log(": removed$")
        cls.message = cls.peer.messages[0]

    def test_is_acknowledged_with_its_queue_id(self):
        self.assertRegex(self.reply.text, rf"^250 2\.0\.0 Ok: queued as {ID}$")

    def test_arrives_once(self):
        self.assertEqual(len(self.peer.messages), 1)

    def test_keeps_its_envelope(self):
        self.assertEqual((self.message.sender, self.message.recipients), ("alice@client.example", ["bob@peer.example"]))
        self.assertIn("BODY=8BITMIME", self.message.parameters)

    def test_keeps_every_byte_below_received(self):
        received, content = _split_received(self.message.content)
        self.assertTrue(received.startswith(b"Received: "))
        self.assertEqual(content, CONTENT.replace(b"\n", b"\r\n"))

    def test_has_a_received_field_as_postfix_writes_it(self):
        received, _ = _split_received(self.message.content)
        self.assertRegex(received.decode(), "".join([
            r"^Received: from client\.example \(localhost \[127\.0\.0\.1\]\)\r\n",
            rf"\tby mta\.example \(Postfix\) with ESMTP id {smtp_client.queue_id(self.reply)}\r\n",
            rf"\tfor <bob@peer\.example>; {DATE}\r\n$"]))

    def test_leaves_the_queue_empty(self):
        self.mta.wait_until_empty()

    def test_is_shown_by_postqueue_as_an_empty_queue(self):
        self.assertEqual(self.mta.run("postqueue", "-p"), (0, "Mail queue is empty\n", ""))

    def assert_logged(self, pattern):
        self.mta.wait_for_log(PREFIX + pattern)

    def test_logs_the_session(self):
        self.assert_logged(r"postfix/smtpd\[\d+\]: connect from localhost\[127\.0\.0\.1\]$")
        self.assert_logged(r"postfix/smtpd\[\d+\]: disconnect from localhost\[127\.0\.0\.1\] "
                           r"ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5$")

    def test_logs_the_message(self):
        queue_id = smtp_client.queue_id(self.reply)
        self.assert_logged(rf"postfix/smtpd\[\d+\]: {queue_id}: client=localhost\[127\.0\.0\.1\]$")
        self.assert_logged(rf"postfix/cleanup\[\d+\]: {queue_id}: message-id=<one@client\.example>$")
        self.assert_logged(rf"postfix/qmgr\[\d+\]: {queue_id}: from=<alice@client\.example>, size=\d+, nrcpt=1 "
                           r"\(queue active\)$")
        self.assert_logged(rf"postfix/qmgr\[\d+\]: {queue_id}: removed$")

    def test_logs_the_delivery(self):
        self.assert_logged(
            rf"postfix/smtp\[\d+\]: {smtp_client.queue_id(self.reply)}: to=<bob@peer\.example>, "
            rf"relay=127\.0\.0\.1\[127\.0\.0\.1\]:{self.peer.port}, delay=[\d.]+, "
            r"delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, dsn=2\.0\.0, status=sent \(250 2\.0\.0 Ok: recorded\)$")

    def test_logs_its_size_with_received(self):
        """Between LF line ends and Postfix's queue file, in which a line takes two bytes more than its text."""
        size = int(self.mta.wait_for_log(r"from=<alice@client\.example>, size=(\d+),")[0].group(1))
        content = self.message.content
        self.assertGreaterEqual(size, len(content.replace(b"\r\n", b"\n")))
        self.assertLessEqual(size, len(content) + 2)


class ManyRecipients(unittest.TestCase):
    def test_share_a_transaction_up_to_the_recipient_limit(self):
        recipients = [f"r{number}@peer.example" for number in range(60)]
        with RecordingServer() as peer, machine.folder() as folder, \
                harness.Instance(folder, {"relayhost": f"[127.0.0.1]:{peer.port}"}) as mta:
            reply = smtp_client.deliver(mta.port, "alice@client.example", recipients, CONTENT)
            self.assertEqual(reply.code, 250, reply)
            peer.wait_for(2, hopeless=mta.why_ended)
            mta.wait_for_log(": removed$")
            self.assertEqual(sorted(len(message.recipients) for message in peer.messages), [10, 50])
            self.assertEqual(sorted(to for message in peer.messages for to in message.recipients), sorted(recipients))
            self.assertEqual(len(mta.find_log("status=sent")), 60)
            for message in peer.messages:
                received, _ = _split_received(message.content)
                self.assertNotIn(b" for <", received)


class TheEndOfTheServer(unittest.TestCase):
    def test_lets_an_open_message_finish_and_ends_with_0(self):
        with RecordingServer() as peer, machine.folder() as folder, \
                harness.Instance(folder, {"relayhost": f"[127.0.0.1]:{peer.port}"}) as mta:
            with smtp_client.Client(mta.port) as client:
                self.assertEqual(client.begin("alice@client.example", ["bob@peer.example"])[-1].code, 354)
                client.socket.sendall(b"Subject: half\r\n")
                mta.process.terminate()
                # Draining has begun once nobody is greeted any more.
                wait_until("the end of greetings", lambda: not harness.greets(mta.port))
                self.assertEqual(client.content(b"\nthe rest\n").code, 250)
            self.assertEqual(mta.wait_for_end(), 0)
            mta.start()
            peer.wait_for(1, hopeless=mta.why_ended)
            self.assertIn(b"the rest", peer.messages[0].content)
            self.assertEqual(len(peer.messages), 1)


def _split_received(content):
    """(the first field, the rest)"""
    end = re.search(rb"\r\n(?![ \t])", content).end()
    return content[:end], content[end:]


if __name__ == "__main__":
    facts.main()
