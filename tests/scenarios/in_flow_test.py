"""What a client feels when mail comes faster than it goes out."""

import contextlib
import os
import socket
import time
import unittest

import facts
import harness
import machine
import smtp_client

CONTENT = b"Subject: flow\n\nbody\n"
DELAY_SECONDS = 2
AHEAD_MAX = 90


class InFlow(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        # Whoever connects waits for a greeting that does not come.
        self.silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.mta = stack.enter_context(harness.Instance(stack.enter_context(machine.folder()), {
            "relayhost": f"[127.0.0.1]:{self.silent.getsockname()[1]}", "minimal_backoff_time": "1h",
            "qmgr_message_active_limit": "1", "in_flow_delay": f"{DELAY_SECONDS}s"}))

    def seconds_of(self, number):
        start = time.monotonic()
        reply = smtp_client.deliver(self.mta.port, "a@client.example", [f"u{number}@peer.example"], CONTENT)
        self.assertEqual(reply.code, 250)
        return time.monotonic() - start

    def queues(self):
        return sorted(entry["queue_name"] for entry in self.mta.queued())

    def test_new_mail_waits_while_the_window_is_full(self):
        self.seconds_of(1)
        self.assertEqual(self.queues(), ["active"])
        # So many may come ahead; each loop of ingress learns from the answer to its own mail.
        for _ in range(AHEAD_MAX):
            self.seconds_of(2)
        self.assertTrue(any(self.seconds_of(3) >= DELAY_SECONDS for _ in range(2 * os.cpu_count() + 8)))
        self.assertEqual(self.queues()[:2], ["active", "incoming"])
        self.silent.close()


if __name__ == "__main__":
    facts.main()
