"""What a client sees at each bound of what the server takes, and that mail flows again afterwards."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import unittest
import urllib.request

import disk_full_test
import facts
import harness
import machine
import smtp_client
import stock
from deadlines import wait_until
from services_test import Services
from smtp_peer import RecordingServer

SENDER = "alice@client.example"
RECIPIENTS = ["bob@peer.example"]
CONTENT = b"Subject: pressure\n\nbody\n"
NO_SPACE = "452 4.3.1 Insufficient system storage"
NO_QUEUE = "451 4.3.0 Error: queue file write error"


class Pressure(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.peer = self.stack.enter_context(RecordingServer())

    def started(self, main_cf):
        folder = self.stack.enter_context(machine.folder())
        return self.stack.enter_context(harness.Instance(
            folder, {"relayhost": f"[127.0.0.1]:{self.peer.port}", **main_cf}))

    def client(self, port):
        return self.stack.enter_context(smtp_client.Client(port))

    def metered(self, main_cf):
        """An instance, and what reads one of its metrics."""
        port = machine.Port()
        self.stack.callback(port.close)
        address = f"127.0.0.1:{port.number}"
        mta = self.started({"postfleet_metrics_listen": address, **main_cf})

        def metric(name):
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
                found = re.findall(rf"^postfleet_{name}(?:{{.*}})? (\S+)$", page.read().decode(), re.MULTILINE)
            return sum(float(value) for value in found)
        return mta, metric


class InFlowDelay(Pressure):
    """That it slows mail down is a fact of in_flow_test."""

    SECONDS = 3
    MESSAGES = 60

    def setUp(self):
        super().setUp()
        # Takes connections and never says a word: what is given out stays active.
        self.silent = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def jammed(self, delay):
        return self.started({"relayhost": f"[127.0.0.1]:{self.silent.getsockname()[1]}", "minimal_backoff_time": "1h",
                             "in_flow_delay": delay, "qmgr_message_active_limit": 1})

    def seconds_of_one(self, client):
        began = time.monotonic()
        reply = client.send(SENDER, RECIPIENTS, CONTENT)
        self.assertEqual(reply.code, 250, reply)
        return time.monotonic() - began

    def test_is_off_with_0(self):
        client = self.client(self.jammed("0").port)
        self.assertLess(max(self.seconds_of_one(client) for _ in range(self.MESSAGES)), 1)

    def test_costs_nothing_while_delivery_keeps_up(self):
        mta = self.started({"in_flow_delay": "10s"})
        client = self.client(mta.port)
        slowest = max(self.seconds_of_one(client) for _ in range(self.MESSAGES))
        self.peer.wait_for(self.MESSAGES, hopeless=mta.why_ended)
        print(f"{self.MESSAGES} messages, the slowest took {slowest:.3f} s")
        self.assertLess(slowest, 10)

    @unittest.skipIf(machine.ORACLE, "Postfix lets 100 messages come ahead")
    def test_ends_when_mail_leaves_the_active_queue(self):
        mta = self.jammed(f"{self.SECONDS}s")
        client = self.client(mta.port)
        wait_until("a slow message", lambda: self.seconds_of_one(client) >= self.SECONDS)
        self.silent.close()
        wait_until("a message at once", lambda: self.seconds_of_one(client) < self.SECONDS, hopeless=mta.why_ended)


class MessageSizeLimit(Pressure):
    LIMIT = 1_000_000

    def refused_at_its_end(self, options):
        """With twice the limit; nothing of it stays, and the session goes on."""
        mta = self.started({"message_size_limit": self.LIMIT})
        client = self.client(mta.port)
        reply = client.send(SENDER, RECIPIENTS, b"Subject: big\n\n" + _lines(2 * self.LIMIT), options)
        self.assertEqual(reply.text, "552 5.3.4 Error: message file too big")
        mta.wait_for_log(r"postfix/(smtpd|cleanup)\[\d+\]: warning: \w+: queue file size limit exceeded$")
        self.assertEqual(client.send(SENDER, RECIPIENTS, CONTENT).code, 250)
        self.peer.wait_for(1, hopeless=mta.why_ended)
        mta.wait_until_empty()
        self.assertEqual(len(self.peer.messages), 1)

    def test_is_announced_and_kept_at_mail(self):
        client = self.client(self.started({"message_size_limit": self.LIMIT}).port)
        self.assertRegex(client.ehlo.text, rf"(?m)^250.SIZE {self.LIMIT}$")
        self.assertEqual(client.command(f"MAIL FROM:<{SENDER}> SIZE={self.LIMIT + 1}").text,
                         "552 5.3.4 Message size exceeds fixed limit")
        self.assertEqual(client.command(f"MAIL FROM:<{SENDER}> SIZE={self.LIMIT}").text, "250 2.1.0 Ok")

    def test_is_kept_at_the_end_of_a_message_that_announced_nothing(self):
        self.refused_at_its_end("")

    def test_is_kept_at_the_end_of_a_message_that_announced_less(self):
        self.refused_at_its_end(" SIZE=100")

    def test_lets_a_message_just_below_it_pass(self):
        mta = self.started({"message_size_limit": self.LIMIT})
        content = b"Subject: big\n\n" + _lines(self.LIMIT - 20_000)
        reply = self.client(mta.port).send(SENDER, RECIPIENTS, content)
        self.assertEqual(reply.code, 250, reply)

    @unittest.skipIf(machine.ORACLE, "asks our own metrics")
    def test_leaves_no_chunks_of_what_was_refused(self):
        mta, metric = self.metered({"message_size_limit": self.LIMIT})
        client = self.client(mta.port)
        self.assertEqual(client.begin(SENDER, RECIPIENTS)[-1].code, 354)
        client.socket.sendall(smtp_client.on_wire(b"Subject: big\n\n" + _lines(self.LIMIT // 2)))
        wait_until("chunks in the queue", lambda: metric("queue_uploads") == 1, hopeless=mta.why_ended)
        self.assertEqual(client.content(_lines(self.LIMIT)).code, 552)
        wait_until("no chunks in the queue", lambda: metric("queue_uploads") == 0, hopeless=mta.why_ended)


class QueueMinfree(Pressure):
    DISK_BYTES = 600 << 20
    MINFREE_BYTES = 100 << 20

    def setUp(self):
        super().setUp()
        machine.require_root(self)
        namespace = os.environ[disk_full_test.NAMESPACE]
        if namespace != disk_full_test.ENTERED:
            self.skipTest(f"needs a mount namespace of its own: {namespace}")
        folder = self.stack.enter_context(machine.folder())
        self.mta = harness.Instance(folder, {"relayhost": f"[127.0.0.1]:{self.peer.port}",
                                             "message_size_limit": 1_000_000, "queue_minfree": self.MINFREE_BYTES})
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.DISK_BYTES},mode=0755", "tmpfs", self.mta.queue],
                       check=True)
        self.stack.callback(subprocess.run, ["umount", "-l", self.mta.queue], check=True)
        if not machine.ORACLE:
            stock.give_to(self.mta.queue, machine.MAIL_OWNER)
        self.stack.enter_context(self.mta)

    def at_mail(self):
        """The reply to MAIL; refusals count against a session, so each look has its own."""
        with smtp_client.Client(self.mta.port) as client:
            return client.command(f"MAIL FROM:<{SENDER}>").text

    def test_refuses_at_mail_while_less_is_free_and_goes_on_when_more_is(self):
        self.assertEqual(self.at_mail(), "250 2.1.0 Ok")
        ballast = self.mta.queue / "ballast"
        free = os.statvfs(self.mta.queue)
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - self.MINFREE_BYTES // 2)
        wait_until("a refusal", lambda: self.at_mail() == NO_SPACE, hopeless=self.mta.why_ended)
        self.mta.wait_for_log(r"postfix/(smtpd|queue)\[\d+\]: warning: not enough free space in mail queue: "
                              r"\d+ bytes < ")
        self.mta.wait_for_log(r"postfix/smtpd\[\d+\]: NOQUEUE: reject: MAIL from localhost\[127\.0\.0\.1\]: "
                              r"452 4\.3\.1 Insufficient system storage; ")
        ballast.unlink()
        wait_until("space again", lambda: self.at_mail() == "250 2.1.0 Ok", hopeless=self.mta.why_ended)
        self.assertEqual(smtp_client.deliver(self.mta.port, SENDER, RECIPIENTS, CONTENT).code, 250)
        self.peer.wait_for(1, hopeless=self.mta.why_ended)


@unittest.skipIf(machine.ORACLE, "the five services are ours")
class TheQueueService(Pressure):
    SESSIONS = 300  # two chunks of 128 KiB of each are more than 64 MiB
    BYTES_OF_EACH = 500_000
    MEMORY_BYTES_MAX = 250 * 1000 * 1000

    def setUp(self):
        super().setUp()
        folder = self.stack.enter_context(machine.folder())
        self.services = self.stack.enter_context(Services(folder, {
            "relayhost": f"[127.0.0.1]:{self.peer.port}",
            "smtpd_client_connection_count_limit": 0,
            "default_process_limit": self.SESSIONS + 100,
        }))
        self.mta = self.services.mta
        self.port = self.services.port

    def at_data(self):
        """The reply to DATA on a connection of its own."""
        with smtp_client.Client(self.port) as client:
            return client.begin(SENDER, RECIPIENTS)[-1].text

    def signal_queue(self, number):
        os.killpg(self.services.processes["queued"].pid, number)

    def test_that_does_not_answer_fills_the_memory_for_messages_up_to_its_bound(self):
        """What was begun goes on when it answers again; only new messages are refused."""
        clients = [self.client(self.port) for _ in range(self.SESSIONS)]
        for client in clients:
            self.assertEqual(client.begin(SENDER, RECIPIENTS)[-1].code, 354)
        self.signal_queue(signal.SIGSTOP)
        self.stack.callback(self.signal_queue, signal.SIGCONT)
        part = smtp_client.on_wire(b"Subject: waits\n\n" + _lines(self.BYTES_OF_EACH))
        for client in clients:
            client.socket.sendall(part)
        wait_until("a refusal", lambda: self.at_data() == NO_SPACE, hopeless=self.mta.why_ended)
        # Those are not hung up on, and take no more memory than their chunks.
        peak = _peak_memory_bytes(self.mta, self.services.processes["ingressd"])
        print(f"{self.SESSIONS} messages of {self.BYTES_OF_EACH} bytes stuck: peak of ingress {peak / 1e6:.0f} MB")
        self.assertLess(peak, self.MEMORY_BYTES_MAX)
        self.signal_queue(signal.SIGCONT)
        replies = [client.content(b"the end\n") for client in clients]
        self.assertEqual([reply.text for reply in replies if reply.code != 250], [])
        self.assertTrue(self.at_data().startswith("354 "))
        self.peer.wait_for(self.SESSIONS, hopeless=self.mta.why_ended)

    def test_that_is_away_is_told_at_mail_data_and_the_end_and_all_goes_on_when_it_is_back(self):
        at_data, at_end = self.client(self.port), self.client(self.port)
        for line in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENTS[0]}>"):
            self.assertEqual(at_data.command(line).code, 250)
        self.assertEqual(at_end.begin(SENDER, RECIPIENTS)[-1].code, 354)
        self.services.kill("queued")
        wait_until("ingress has noticed", lambda: self.at_mail() == NO_QUEUE)
        self.assertEqual(at_data.command("DATA").text, NO_QUEUE)
        # Sent again for some seconds, in case that it comes back.
        self.assertEqual(at_end.content(CONTENT).text, NO_QUEUE)
        self.services.start("queued")
        wait_until("the queue is back", lambda: self.at_mail() == "250 2.1.0 Ok")
        at_data.command("RSET")
        for client in (at_data, at_end):
            self.assertEqual(client.send(SENDER, RECIPIENTS, CONTENT).code, 250)
        self.peer.wait_for(2)
        # The one that was answered with 451 is the client's to send again: it came once.
        self.mta.wait_until_empty()
        self.assertEqual(len(self.peer.messages), 2)

    def at_mail(self):
        with smtp_client.Client(self.port) as client:
            if client.greeting.code != 220:
                return client.greeting.text  # 421: the queue was not back within the time for the banner
            return client.command(f"MAIL FROM:<{SENDER}>").text


def _peak_memory_bytes(mta, process):
    peaks = []
    for pid in mta.group_members(process.pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024)
    return sum(peaks)


def _lines(size_bytes):
    return (b"0123456789" * 7 + b"\n") * (size_bytes // 71 + 1)


if __name__ == "__main__":
    disk_full_test.enter_namespace()
    facts.main()
