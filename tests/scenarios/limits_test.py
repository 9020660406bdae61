"""What is too big, too many, or not allowed; and what is big and many, and allowed."""

import contextlib
import hashlib
import os
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

CONTENT = b"Subject: limits\n\nbody\n"
BIG_BYTES = 50 * 1000 * 1000
CONNECTIONS = 1000
MEMORY_BYTES_MAX = 300 * 1000 * 1000


class Limits(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.peer = self.stack.enter_context(RecordingServer())

    def started(self, main_cf=None):
        folder = self.stack.enter_context(machine.folder())
        return self.stack.enter_context(harness.Instance(
            folder, {"relayhost": f"[127.0.0.1]:{self.peer.port}", **(main_cf or {})}))

    def client(self, mta, **options):
        return self.stack.enter_context(smtp_client.Client(mta.port, **options))

    def stranger(self, main_cf=None):
        """A client that is not in mynetworks, and the instance."""
        mta = self.started({"mynetworks": "192.0.2.0/24", **(main_cf or {})})
        return self.client(mta), mta

    # Size

    def test_a_message_of_50_mb_among_1000_connections_arrives_in_bounded_memory(self):
        """All connections come from one address: the client limits and the process limit are raised."""
        mta = self.started({"message_size_limit": 60_000_000,
                            "smtpd_client_connection_count_limit": 0,
                            "default_process_limit": CONNECTIONS + 100})
        idle = [self.client(mta) for _ in range(CONNECTIONS - 1)]
        content = b"Subject: big\n\n" + _lines(BIG_BYTES)
        with smtp_client.Client(mta.port, seconds_max=120) as client:
            reply = client.send("alice@client.example", ["bob@peer.example"], content)
            self.assertEqual(reply.code, 250, reply)
        self.peer.wait_for(1, 90.0, mta.why_ended)
        arrived = self.peer.messages[0].content.replace(b"\r\n", b"\n")
        arrived = arrived[arrived.index(b"Subject: big\n"):]
        self.assertEqual(_digest(arrived), _digest(content))
        peak = mta.peak_memory_bytes()
        self.assertEqual({client.command("NOOP").code for client in idle}, {250})
        print(f"{len(content)} bytes, {CONNECTIONS} connections: peak memory {peak / 1e6:.0f} MB")
        self.assertLess(peak, MEMORY_BYTES_MAX)

    def test_a_message_over_the_limit_is_refused_at_mail_by_its_announced_size(self):
        client = self.client(self.started({"message_size_limit": 100_000}))
        self.assertIn("SIZE 100000", client.ehlo.text)
        reply = client.command("MAIL FROM:<alice@client.example> SIZE=100001")
        self.assertEqual(reply.text, "552 5.3.4 Message size exceeds fixed limit")

    def test_a_message_over_the_limit_is_refused_at_its_end(self):
        mta = self.started({"message_size_limit": 100_000})
        client = self.client(mta)
        reply = client.send("alice@client.example", ["bob@peer.example"], b"Subject: big\n\n" + _lines(150_000))
        self.assertEqual(reply.text, "552 5.3.4 Error: message file too big")
        # The session goes on, and nothing of it stays.
        self.assertEqual(client.send("alice@client.example", ["bob@peer.example"], CONTENT).code, 250)
        self.peer.wait_for(1, hopeless=mta.why_ended)
        mta.wait_until_empty()
        self.assertEqual(len(self.peer.messages), 1)

    # Relaying

    def test_relaying_is_denied_to_a_stranger(self):
        client, mta = self.stranger()
        client.command("MAIL FROM:<alice@client.example>")
        self.assertEqual(client.command("RCPT TO:<bob@peer.example>").text,
                         "454 4.7.1 <bob@peer.example>: Relay access denied")
        mta.wait_for_log(r"postfix/smtpd\[\d+\]: NOQUEUE: reject: RCPT from localhost\[127\.0\.0\.1\]: 454 4\.7\.1 "
                         r"<bob@peer\.example>: Relay access denied; from=<alice@client\.example> "
                         r"to=<bob@peer\.example> proto=ESMTP helo=<client\.example>$")

    def test_relaying_is_denied_for_good_where_main_cf_says_so(self):
        client, _ = self.stranger({"smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"})
        client.command("MAIL FROM:<alice@client.example>")
        self.assertEqual(client.command("RCPT TO:<bob@peer.example>").text,
                         "554 5.7.1 <bob@peer.example>: Relay access denied")

    def test_relaying_is_open_to_strangers_for_relay_domains_and_goes_to_relayhost(self):
        client, mta = self.stranger({"relay_domains": "peer.example"})
        self.assertEqual(client.send("alice@client.example", ["bob@peer.example"], CONTENT).code, 250)
        self.peer.wait_for(1, hopeless=mta.why_ended)
        # Not a notice that it could not be delivered.
        self.assertEqual(self.peer.messages[0].recipients, ["bob@peer.example"])

    # Recipients

    def test_an_unknown_recipient_of_a_mailbox_domain_is_refused(self):
        client = self.client(self.started({"virtual_mailbox_domains": "box.example",
                                           "virtual_mailbox_maps": "inline:{ alice@box.example=alice/ }"}))
        client.command("MAIL FROM:<a@client.example>")
        self.assertEqual(client.command("RCPT TO:<nobody@box.example>").text,
                         "550 5.1.1 <nobody@box.example>: Recipient address rejected: User unknown in virtual "
                         "mailbox table")
        self.assertEqual(client.command("RCPT TO:<alice@box.example>").code, 250)

    def test_recipients_over_the_limit_are_refused_for_now(self):
        client = self.client(self.started({"smtpd_recipient_limit": 3}))
        client.command("MAIL FROM:<a@client.example>")
        replies = [client.command(f"RCPT TO:<r{number}@peer.example>").text for number in range(4)]
        self.assertEqual(replies[2], "250 2.1.5 Ok")
        self.assertEqual(replies[3], "452 4.5.3 Error: too many recipients")

    # Smuggling

    def test_a_bare_newline_around_a_dot_does_not_end_the_content(self):
        """From outside of mynetworks, and with no exclusions at all."""
        client, mta = self.stranger({
            "relay_domains": "peer.example",
            "transport_maps": f"inline:{{ peer.example=smtp:[127.0.0.1]:{self.peer.port} }}",
            "smtpd_forbid_bare_newline": "normalize",
            "smtpd_forbid_bare_newline_exclusions": "",
        })
        for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r\r\n"):
            with self.subTest(end=end):
                self._smuggle(client, mta, end)

    def _smuggle(self, client, mta, end):
        before = len(self.peer.messages)
        self.assertEqual(client.begin("alice@client.example", ["bob@peer.example"])[-1].code, 354)
        client.socket.sendall(b"Subject: outer\r\n\r\nouter" + end +
                              b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<bob@peer.example>\r\nDATA\r\n"
                              b"Subject: inner\r\n\r\ninner\r\n.\r\n")
        reply = client.read_reply()
        self.assertEqual(reply.code, 250, reply)
        self.assertEqual(client.command("NOOP").text, "250 2.0.0 Ok")
        self.peer.wait_for(before + 1, hopeless=mta.why_ended)
        mta.wait_until_empty()
        self.assertEqual(len(self.peer.messages), before + 1)
        message = self.peer.messages[-1]
        self.assertEqual(message.sender, "alice@client.example")
        self.assertIn(b"MAIL FROM:<evil@client.example>\r\n", message.content)
        self.assertNotIn(b"\n", message.content.replace(b"\r\n", b""))
        self.assertNotIn(b"\r", message.content.replace(b"\r\n", b""))


def _lines(size_bytes):
    """Lines of 76 bytes that do not repeat soon."""
    block = b"".join(os.urandom(36).hex().encode() + b"...\n" for _ in range(4096))
    return (block * (size_bytes // len(block) + 1))[:size_bytes - 1] + b"\n"


def _digest(content):
    return len(content), hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    facts.main()
