"""The administrator's commands on the queue of a mail system that is down."""

import contextlib
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

DOWN = "warning: Mail system is down -- accessing queue directly\n"


class StoppedQueue(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.peer = stack.enter_context(RecordingServer())
        self.peer.answer("RCPT", "450 4.2.0 busy")
        self.mta = stack.enter_context(harness.Instance(stack.enter_context(machine.folder()), {
            "relayhost": f"[127.0.0.1]:{self.peer.port}"}))
        self.ids = [self.send(f"m{number}") for number in range(3)]
        self.assertEqual(self.mta.stop(), 0)

    def send(self, name):
        content = f"Subject: {name}\n\nbody of {name}\n".encode()
        queue_id = smtp_client.queue_id(smtp_client.deliver(
            self.mta.port, "alice@client.example", ["bob@peer.example"], content))
        wait_until(f"{queue_id} deferred", lambda: [queue_id, "deferred"] in [
            [entry["queue_id"], entry["queue_name"]] for entry in self.mta.queued()])
        return queue_id

    def test_is_listed(self):
        status, output, error = self.mta.run("postqueue", "-p")
        self.assertEqual((status, error), (0, "postqueue: " + DOWN))
        for queue_id in self.ids:
            self.assertIn(queue_id, output)
        self.assertIn("in 3 Requests.\n", output)
        status, output, _ = self.mta.run("qshape", "deferred")
        self.assertEqual(status, 0)
        self.assertIn("peer.example", output)
        status, output, _ = self.mta.run("postcat", "-b", "-q", self.ids[1])
        self.assertEqual((status, output), (0, "\nbody of m1\n"))

    def test_is_administered_and_the_server_keeps_to_it(self):
        a, b, _ = self.ids
        self.assertEqual(self.mta.run("postsuper", "-d", a, "-h", b), (
            0, "", f"postsuper: {a}: removed\npostsuper: {b}: placed on hold\n"
                   "postsuper: Deleted: 1 message\npostsuper: Placed on hold: 1 message\n"))
        self.peer.forget_answers()
        self.mta.start()
        self.assertEqual(self.mta.run("postqueue", "-f")[0], 0)
        wait_until("the third is delivered", lambda: len(self.peer.messages) == 1,
                   hopeless=self.mta.why_ended)
        self.assertIn(b"body of m2", self.peer.messages[0].content)
        wait_until("the second is left, held",
                   lambda: [(entry["queue_id"], entry["queue_name"]) for entry in self.mta.queued()]
                   == [(b, "hold")], hopeless=self.mta.why_ended)

    def test_is_requeued_under_ids_that_the_log_tells(self):
        status, _, error = self.mta.run("postsuper", "-r", self.ids[0])
        self.assertEqual((status, error), (0, f"postsuper: {self.ids[0]}: requeued\n"
                                              "postsuper: Requeued: 1 message\n"))
        log = (self.mta.folder / "log" / "mail.log").read_text()
        self.assertRegex(log, f"postfix/queue\\[[0-9]+\\]: [0-9A-Za-z]+: orig_id={self.ids[0]}\n")

    def test_is_emptied(self):
        status, _, error = self.mta.run("postsuper", "-d", "ALL")
        self.assertEqual(status, 0)
        self.assertIn("postsuper: Deleted: 3 messages\n", error)
        self.assertEqual(self.mta.run("postqueue", "-p"),
                         (0, "Mail queue is empty\n", "postqueue: " + DOWN))

    def test_with_a_damaged_log_is_repaired(self):
        segment = next(path for path in self.mta.folder.rglob("*.seg") if b"body of m1" in path.read_bytes())
        content = segment.read_bytes()
        segment.write_bytes(content.replace(b"body of m1", b"body of m7"))
        status, _, error = self.mta.run("postqueue", "-p")
        self.assertNotEqual(status, 0)
        self.assertIn(f"{segment}: damaged at offset", error)
        self.assertIn("`postfleet queue repair`", error)
        status, output, error = self.mta.run("queue", "repair")
        self.assertEqual((status, error), (0, ""))
        self.assertRegex(output, f"^{segment}: damaged at offset [0-9]+: record [0-9]+ cannot be read: what "
                                 "happened between .* and .* is lost: mail accepted then may be missing")
        self.assertEqual(self.mta.run("queue", "repair")[1], "nothing to repair: the queue opens\n")
        self.mta.start()
        self.assertEqual([entry["queue_id"] for entry in self.mta.queued()], [self.ids[0], self.ids[2]])
        status, output, _ = self.mta.run("queue", "repair")
        self.assertEqual((status, output), (1, ""))

    def test_is_not_flushed(self):
        self.assertEqual(self.mta.run("postqueue", "-f"), (
            69, "", "postqueue: fatal: Cannot flush mail queue - mail system is down\n"))


if __name__ == "__main__":
    facts.main()
