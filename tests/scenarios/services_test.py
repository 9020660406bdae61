"""The five services as processes of their own, found by address: the same mail as in one process."""

import contextlib
import signal
import unittest
import urllib.error
import urllib.request

import facts
import harness
import machine
import smtp_client
import stock
from deadlines import wait_until
from smtp_peer import RecordingServer

CONTENT = b"Subject: five\nMessage-Id: <five@client.example>\n\nbody\n"
# In the order in which each finds those it asks; none has to wait for another, though.
SERVICES = ("queued", "lookupd", "schedulerd", "deliveryd", "ingressd")
# Addresses to listen on; the other two only connect.
LISTENING = {"queued": "queue", "lookupd": "lookup", "schedulerd": "scheduler"}


class Services:
    """One instance as five processes, each started by the launcher, with a port of its own for metrics."""

    def __init__(self, folder, main_cf):
        addresses = {f"postfleet_{name}_address": f"unix:{folder}/{name}.sock" for name in LISTENING.values()}
        self.mta = harness.Instance(folder, {**addresses, **main_cf})
        self.port = self.mta.port
        self.processes = {}
        self._metrics_ports = {}
        # The sockets are made by the servers.
        stock.give_to(folder, machine.MAIL_OWNER)

    def __enter__(self):
        try:
            for name in SERVICES:
                self.start(name)
            self.mta.wait_for_greeting()
        except BaseException:
            self.__exit__(True)
            raise
        return self

    def __exit__(self, kind, *_):
        self.mta.kill()
        for port in self._metrics_ports.values():
            port.close()
        if kind:
            print(self.mta.last_words())

    def start(self, name):
        if name not in self._metrics_ports:
            self._metrics_ports[name] = machine.Port()
        self.mta.parameters["postfleet_metrics_listen"] = f"127.0.0.1:{self._metrics_ports[name].number}"
        self.mta.write_configuration()
        self.processes[name] = self.mta.spawn([machine.bin_folder() / "postfleet-launcher", "-c", self.mta.config,
                                               "--server", f"postfleet-{name}"])
        # It has read main.cf once it answers, or has ended.
        wait_until(f"{name} at its metrics port", lambda: self.get(name, "/healthz"), hopeless=self.mta.why_ended)

    def get(self, name, path):
        """The body of an answer with 200, or None."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_ports[name].number}{path}", timeout=5) as page:
                return page.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def kill(self, name):
        self.mta.end(self.processes[name])


class FiveServices(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.peer = self.stack.enter_context(RecordingServer())
        folder = self.stack.enter_context(machine.folder())
        self.services = self.stack.enter_context(Services(folder, {
            "relayhost": f"[127.0.0.1]:{self.peer.port}",
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "inline:{ carol@box.example=carol/ }",
        }))
        self.mta = self.services.mta

    def send(self, to="bob@peer.example"):
        return smtp_client.deliver(self.services.port, "alice@client.example", [to], CONTENT)

    def test_relay_a_message(self):
        reply = self.send()
        self.assertEqual(reply.code, 250, reply)
        self.peer.wait_for(1, hopeless=self.mta.why_ended)
        self.mta.wait_for_log(f"{smtp_client.queue_id(reply)}: removed$")
        self.assertTrue(self.peer.messages[0].content.endswith(CONTENT.replace(b"\n", b"\r\n")))
        self.assertEqual(len(self.peer.messages), 1)

    def test_deliver_to_a_mailbox(self):
        reply = self.send("carol@box.example")
        self.assertEqual(reply.code, 250, reply)
        self.mta.wait_for_log(f"{smtp_client.queue_id(reply)}: removed$")
        [content] = self.mta.maildir("carol")
        self.assertTrue(content.endswith(CONTENT))

    def test_say_that_they_are_ready_and_count_what_they_do(self):
        self.send()
        self.peer.wait_for(1, hopeless=self.mta.why_ended)
        for name in SERVICES:
            with self.subTest(service=name):
                wait_until(f"{name} is ready", lambda name=name: self.services.get(name, "/readyz") == "ready\n")
                self.assertIn("build_info", self.services.get(name, "/metrics"))

    def test_end_with_0_on_sigterm_and_finish_an_open_message(self):
        with smtp_client.Client(self.services.port) as client:
            self.assertEqual(client.begin("alice@client.example", ["bob@peer.example"])[-1].code, 354)
            client.socket.sendall(b"Subject: half\r\n")
            self.services.processes["ingressd"].send_signal(signal.SIGTERM)
            wait_until("draining", lambda: self.services.get("ingressd", "/readyz") != "ready\n")
            self.assertEqual(client.content(b"\nthe rest\n").code, 250)
        self.peer.wait_for(1)
        for name in reversed(SERVICES):
            process = self.services.processes[name]
            process.send_signal(signal.SIGTERM)
            self.assertEqual((name, self.mta.exit_status(name, process)), (name, 0))

    def test_deliver_after_each_of_them_was_killed_and_started_again(self):
        """At least once: a duplicate is allowed only for what was under way."""
        for number, name in enumerate(SERVICES):
            with self.subTest(killed=name):
                self.services.kill(name)
                self.services.start(name)
                address = f"r{number}@peer.example"
                reply = wait_until("an accepted message", lambda address=address: self._accepted(address))
                self.assertEqual(reply.code, 250)
                wait_until(f"{address} at the peer", lambda address=address: any(
                    address in message.recipients for message in self.peer.messages), hopeless=self.mta.why_ended)

    def _accepted(self, address):
        """While a service comes back, 4xx is a right answer."""
        try:
            reply = self.send(address)
        except OSError:
            return None
        self.assertLess(reply.code, 500, reply)
        return reply if reply.code == 250 else None


if __name__ == "__main__":
    facts.main()
