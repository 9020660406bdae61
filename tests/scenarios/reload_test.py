"""`postfix reload` while mail flows: what changes, what does not, and that nothing is lost or doubled."""

import collections
import contextlib
import os
import pathlib
import re
import signal
import threading
import unittest

import facts
import harness
import machine
import smtp_client
import stock
from deadlines import wait_until
from services_test import Services
from smtp_peer import RecordingServer

RELOADED = r"postfix/master\[\d+\]: reload -- version "
STREAM_SLEEPERS = 2


class Stream:
    """Mail without a pause, each with a number of its own; half is relayed, half goes to a mailbox."""

    def __init__(self, port):
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._last = 0
        self.accepted = []
        self.refused = []
        self._threads = [threading.Thread(target=self._send) for _ in range(STREAM_SLEEPERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self):
        while not self._stop.is_set():
            with self._lock:
                self._last += 1
                number = self._last
            to = "carol@box.example" if number % 2 else "bob@peer.example"
            content = f"Message-Id: <s{number}@stream.example>\n\nnumber {number}\n".encode()
            try:
                reply = smtp_client.deliver(self._port, "alice@client.example", [to], content)
            except OSError as error:
                reply = error
            with self._lock:
                (self.accepted if getattr(reply, "code", 0) == 250 else self.refused).append((number, reply))

    def more(self, count=4):
        """Returns when so many more were accepted."""
        wanted = len(self.accepted) + count
        wait_until(f"{count} more accepted", lambda: len(self.accepted) >= wanted)


def numbers(contents):
    return collections.Counter(
        int(number) for content in contents for number in re.findall(rb"Message-Id: <s(\d+)@stream", content))


class Reloading(unittest.TestCase):
    """Facts of an instance with two next hops and a stream of mail."""

    def begin(self, start):
        """start: makes the instance, a context manager, of a folder and main.cf."""
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.peer = stack.enter_context(RecordingServer())
        self.other = stack.enter_context(RecordingServer())
        folder = stack.enter_context(machine.folder())
        node = stack.enter_context(start(folder, {
            "relayhost": f"[127.0.0.1]:{self.peer.port}",
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "inline:{ carol@box.example=carol/ }",
            "maximal_backoff_time": "1s",
            "minimal_backoff_time": "1s",
        }))
        self.mta = getattr(node, "mta", node)
        self.reloads = 0

    def reload(self, master_cf=None, **parameters):
        """Changes, and what `postfix reload` answers, once it is done; None takes a parameter out."""
        self.change(master_cf, **parameters)
        answer = self.mta.run("postfix", "reload")
        self.assertEqual(answer[0], 0, answer)
        self.reloads += 1
        self.mta.wait_for_log(RELOADED, self.reloads)
        return answer

    def change(self, master_cf=None, **parameters):
        self.mta.parameters.update(parameters)
        self.mta.write_configuration(master_cf)

    def send(self, to, sender="alice@client.example", source=None):
        with smtp_client.Client(self.mta.port, source=source) as client:
            return client.send(sender, [to], b"Subject: one\n\nbody\n")

    def wait_for_recipient(self, peer, address):
        return wait_until(f"mail to {address}", lambda: [
            message for message in peer.messages if address in message.recipients], hopeless=self.mta.why_ended)

    def assert_all_arrived_once(self, stream):
        self.mta.wait_until_empty()
        self.assertEqual(stream.refused, [])
        arrived = numbers([message.content for message in self.peer.messages + self.other.messages]
                          + self.mta.maildir("carol"))
        self.assertEqual({number: arrived[number] for number, _ in stream.accepted},
                         {number: 1 for number, _ in stream.accepted})
        self.assertGreater(len(stream.accepted), 40)


class WhileMailFlows(Reloading):
    def test_each_change_acts_and_every_mail_arrives_once(self):
        self.begin(harness.Instance)
        with Stream(self.mta.port) as stream:
            stream.more()
            for name in ("banner", "size", "networks", "mailboxes", "new_route", "new_transport", "lost_transport",
                         "limit", "class_of_address", "program_name", "log_file", "client_limit", "bad_parameter",
                         "bad_agent", "new_port", "fixed", "relayhost", "two_at_once"):
                with self.subTest(change=name):
                    getattr(self, "_change_" + name)()
                    stream.more()
        self.assert_all_arrived_once(stream)

    def _change_banner(self):
        self.reload(smtpd_banner="$myhostname ESMTP after")
        with smtp_client.Client(self.mta.port) as client:
            self.assertEqual(client.greeting.text, "220 mta.example ESMTP after")

    def _change_size(self):
        with smtp_client.Client(self.mta.port) as old:
            self.reload(message_size_limit=1234567)
            self.assertIn("SIZE 10240000", old.ehlo.text)
            # A session goes on as it began.
            self.assertIn("SIZE 10240000", old.command("EHLO again").text)
        with smtp_client.Client(self.mta.port) as client:
            self.assertIn("SIZE 1234567", client.ehlo.text)

    def _change_networks(self):
        self.assertEqual(self.send("x@peer.example", source="127.0.0.2").code, 250)
        self.reload(mynetworks="127.0.0.1/32")
        self.assertEqual(self.send("x@peer.example", source="127.0.0.2").code, 454)
        self.reload(mynetworks="127.0.0.0/8")

    def _change_mailboxes(self):
        self.assertEqual(self.send("dave@box.example").code, 550)
        self.reload(virtual_mailbox_maps="inline:{ {carol@box.example=carol/} {dave@box.example=dave/} }")
        self.assertEqual(self.send("dave@box.example").code, 250)
        wait_until("dave's mail", lambda: self.mta.maildir("dave"))

    def _change_new_route(self):
        self.reload(transport_maps=f"inline:{{ other.example=smtp:[127.0.0.1]:{self.other.port} }}")
        self.assertEqual(self.send("x@other.example").code, 250)
        self.wait_for_recipient(self.other, "x@other.example")

    def _change_new_transport(self):
        self.reload(stock.MASTER_CF + "slow unix - - n - 3 smtp -o smtp_helo_name=slow.example\n",
                    transport_maps=f"inline:{{ other.example=slow:[127.0.0.1]:{self.other.port} }}")
        self.assertEqual(self.send("y@other.example").code, 250)
        self.wait_for_recipient(self.other, "y@other.example")
        self.assertIn(("EHLO", "slow.example"), self.other.attempts)

    def _change_lost_transport(self):
        """What was routed there is routed anew."""
        self.reload(stock.MASTER_CF, transport_maps=None)
        self.assertEqual(self.send("z@other.example").code, 250)
        self.wait_for_recipient(self.peer, "z@other.example")

    def _change_limit(self):
        self.reload(smtp_destination_concurrency_limit=1)
        before = len(self.peer.at_mail)
        self.assertEqual(self.send("a@peer.example").code, 250)
        self.wait_for_recipient(self.peer, "a@peer.example")
        # Those that ran when the limit came have ended by now.
        after = self.peer.at_mail[before + 20:]
        self.assertLessEqual(max((running for _, running, _ in after), default=0), 1)
        self.reload(smtp_destination_concurrency_limit=None)

    def _change_class_of_address(self):
        self.reload(virtual_mailbox_domains="box.example new.example", virtual_mailbox_maps=(
            "inline:{ {carol@box.example=carol/} {erin@new.example=erin/} }"))
        self.assertEqual(self.send("erin@new.example").code, 250)
        wait_until("erin's mail", lambda: self.mta.maildir("erin"))

    def _change_program_name(self):
        self.change(syslog_name="mine")
        self.assertEqual(self.mta.run("postfix", "reload")[0], 0)
        self.mta.wait_for_log(r" mine/master\[\d+\]: reload -- version ")
        self.mta.wait_for_log(r" mine/smtpd\[\d+\]: connect from ")
        self.reload(syslog_name=None)

    def _change_log_file(self):
        second = self.mta.log_path.with_name("second.log")
        self.change(maillog_file=second)
        self.assertEqual(self.mta.run("postfix", "reload")[0], 0)
        wait_until("lines in the second log", lambda: second.exists() and "connect from" in second.read_text())
        self.reload(maillog_file=self.mta.log_path)

    def _change_client_limit(self):
        self.reload(smtpd_client_connection_count_limit=1, smtpd_client_event_limit_exceptions="127.0.0.1")
        with smtp_client.Client(self.mta.port, source="127.0.0.3"):
            with smtp_client.Client(self.mta.port, source="127.0.0.3") as client:
                self.assertEqual(client.greeting.code, 421)
        self.reload(smtpd_client_connection_count_limit=None, smtpd_client_event_limit_exceptions=None)

    def _change_bad_parameter(self):
        self.change(message_size_limit="many", smtpd_banner="never")
        status, _, error = self.mta.run("postfix", "reload")
        self.assertEqual(status, 1)
        self.assertIn("message_size_limit", error)
        with smtp_client.Client(self.mta.port) as client:
            self.assertNotIn("never", client.greeting.text)
        self.reload(message_size_limit=None, smtpd_banner=None)

    def _change_bad_agent(self):
        """All or nothing: what one service cannot take over keeps the others as they were, too."""
        self.change(stock.MASTER_CF + "mda unix - - n - - lmtp -o lmtp_tcp_port=nosuchservice\n", smtpd_banner="never")
        self.mta.run("postfix", "reload")
        self.mta.wait_for_log(r"error: .*lmtp_tcp_port.*; nothing was reloaded: the configuration that was goes on$")
        with smtp_client.Client(self.mta.port) as client:
            self.assertNotIn("never", client.greeting.text)
        self.reload(stock.MASTER_CF, smtpd_banner=None)

    def _change_new_port(self):
        port = machine.Port()
        self.addCleanup(port.close)
        self.reload(stock.MASTER_CF + f"127.0.0.1:{port.number} inet n - n - - smtpd\n")
        self.mta.wait_for_log(rf"warning: ignoring the new service 127\.0\.0\.1:{port.number} inet of master\.cf: "
                              "to open its port, stop and start Postfix$")
        self.assertFalse(stock.greets(port.number))
        self.reload(stock.MASTER_CF)

    def _change_fixed(self):
        before = self.mta.parameters["data_directory"]
        self.reload(data_directory=self.mta.folder / "elsewhere")
        self.mta.wait_for_log("warning: ignoring data_directory parameter value change$")
        self.mta.wait_for_log("warning: to change data_directory, stop and start Postfix$")
        self.reload(data_directory=before)

    def _change_relayhost(self):
        self.reload(relayhost=f"[127.0.0.1]:{self.other.port}")
        self.assertEqual(self.send("b@peer.example").code, 250)
        self.wait_for_recipient(self.other, "b@peer.example")

    def _change_two_at_once(self):
        for name in ("first", "second"):
            self.change(smtpd_banner=name)
            self.assertEqual(self.mta.run("postfix", "reload")[0], 0)
        wait_until("the second banner", self._greets_as_second)

    def _greets_as_second(self):
        with smtp_client.Client(self.mta.port) as client:
            return client.greeting.text == "220 second"


class WhatWaits(Reloading):
    def test_goes_by_the_new_route_and_what_runs_ends_by_the_old_one(self):
        self.begin(harness.Instance)
        self.reload(smtp_destination_concurrency_limit=1)
        self.peer.answer("END", times=1, after_seconds=3)
        addresses = [f"r{number}@peer.example" for number in range(20)]
        for address in addresses:
            self.assertEqual(self.send(address).code, 250)
        wait_until("one at its end", lambda: self.peer.count("DATA"))
        self.reload(relayhost=f"[127.0.0.1]:{self.other.port}")
        self.other.wait_for(19, hopeless=self.mta.why_ended)
        self.peer.wait_for(1, hopeless=self.mta.why_ended)
        self.mta.wait_until_empty()
        self.assertEqual((len(self.peer.messages), len(self.other.messages)), (1, 19))

    def test_of_a_transport_that_is_gone_is_routed_anew(self):
        self.begin(harness.Instance)
        self.peer.answer("CONNECT", "421 later", times=1 << 30)
        self.reload(stock.MASTER_CF + "gone unix - - n - 1 smtp\n",
                    relayhost=None, transport_maps=f"inline:{{ peer.example=gone:[127.0.0.1]:{self.peer.port} }}")
        self.assertEqual(self.send("a@peer.example").code, 250)
        self.mta.wait_for_log("status=deferred")
        self.reload(stock.MASTER_CF, transport_maps=f"inline:{{ peer.example=smtp:[127.0.0.1]:{self.other.port} }}")
        self.mta.run("postqueue", "-f")
        self.wait_for_recipient(self.other, "a@peer.example")


class AHundredReloads(Reloading):
    def test_leave_no_descriptor_and_no_memory(self):
        self.begin(harness.Instance)

        def reload(count):
            for number in range(count):
                self.reload(smtpd_banner=f"banner {number}")
            self.assertEqual(self.send("a@peer.example").code, 250)
            self.assertEqual(self.send("carol@box.example").code, 250)
            self.mta.wait_until_empty()
            return self._held()

        before = reload(20)
        after = reload(100)
        print(f"after 20 and 120 reloads: {before} {after}", flush=True)
        for name, (descriptors, threads, kilobytes) in after.items():
            self.assertLessEqual(descriptors, before[name][0] + 2, name)
            # gRPC starts one now and then.
            self.assertLessEqual(threads, before[name][1] + 4, name)
            # An arena may grow by some; a configuration held a hundred times would be far more.
            self.assertLess(kilobytes, before[name][2] + 8_000, name)

    def _held(self):
        """name -> (descriptors, threads, resident kB) of each process."""
        held = {}
        for pid in self.mta.processes():
            folder = pathlib.Path("/proc", str(pid))
            status = (folder / "status").read_text()
            held[(folder / "comm").read_text().strip()] = (
                len(os.listdir(folder / "fd")),
                int(re.search(r"Threads:\s+(\d+)", status).group(1)),
                int(re.search(r"VmRSS:\s+(\d+)", status).group(1)))
        return held


class FiveProcesses(Reloading):
    def test_take_over_what_concerns_each(self):
        self.begin(Services)
        with Stream(self.mta.port) as stream:
            stream.more()
            self.change(stock.MASTER_CF + "slow unix - - n - 3 smtp -o smtp_helo_name=slow.example\n",
                        smtpd_banner="five", transport_maps=f"inline:{{ other.example=slow:[127.0.0.1]:{self.other.port} }}",
                        virtual_mailbox_maps="inline:{ {carol@box.example=carol/} {dave@box.example=dave/} }")
            self.assertEqual(self.mta.run("postfix", "reload")[0], 0)
            self.mta.wait_for_log(r": reload -- version ", 5)
            stream.more()
            with smtp_client.Client(self.mta.port) as client:
                self.assertEqual(client.greeting.text, "220 five")
            self.assertEqual(self.send("x@other.example").code, 250)
            self.wait_for_recipient(self.other, "x@other.example")
            self.assertIn(("EHLO", "slow.example"), self.other.attempts)
            self.assertEqual(self.send("dave@box.example").code, 250)
            wait_until("dave's mail", lambda: self.mta.maildir("dave"))
            while len(stream.accepted) < 41:
                stream.more()
        self.assert_all_arrived_once(stream)


class TheEnd(Reloading):
    def test_comes_after_the_reloads_that_were_asked_for(self):
        self.begin(harness.Instance)
        for _ in range(5):
            self.mta.process.send_signal(signal.SIGHUP)
        self.assertEqual(self.mta.stop(), 0)


if __name__ == "__main__":
    facts.main()
