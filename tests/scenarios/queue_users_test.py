"""Who may view and flush the queue, and sendmail's forms of it, word by word as Postfix has them."""

import contextlib
import subprocess
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

DAEMON = 1
BIN = 2
WITHOUT_NAME = 4_711_000


class QueueUsers(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.peer = stack.enter_context(RecordingServer())
        self.peer.answer("RCPT", "450 4.2.0 busy")
        self.folder = stack.enter_context(machine.folder())
        self.mta = harness.Instance(self.folder, {
            "relayhost": f"[127.0.0.1]:{self.peer.port}", "fast_flush_domains": "peer.example",
            **self.parameters()})
        stack.enter_context(self.mta)

    def parameters(self):
        return {}

    def deferred(self, recipient="bob@peer.example"):
        queue_id = smtp_client.queue_id(smtp_client.deliver(
            self.mta.port, "alice@client.example", [recipient], b"Subject: later\n\nbody\n"))
        wait_until(f"{queue_id} deferred", lambda: self.queue_of(queue_id) == "deferred")
        return queue_id

    def queue_of(self, queue_id):
        return {entry["queue_id"]: entry["queue_name"] for entry in self.mta.queued()}.get(queue_id)

    def run_sendmail(self, *arguments):
        folder = str(self.mta.config)
        line = (["/usr/sbin/sendmail", "-C", folder] if machine.ORACLE
                else [str(machine.bin_folder() / "postfleet"), "-c", folder, "sendmail"])
        return self.finished([*line, *arguments])

    @staticmethod
    def finished(line, user=None):
        done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, user=user,
                              timeout=harness.COMMAND_SECONDS_MAX, check=False)
        return done.returncode, done.stdout, done.stderr


class Sendmail(QueueUsers):
    def test_bp_lists(self):
        self.assertEqual(self.run_sendmail("-bp"), (0, "Mail queue is empty\n", ""))
        queue_id = self.deferred()
        status, listing, error = self.run_sendmail("-bp")
        self.assertEqual((status, error), (0, ""))
        self.assertEqual(listing, self.mta.run("postqueue", "-p")[1])
        self.assertIn(queue_id, listing)

    def test_q_flushes_all(self):
        queue_id = self.deferred()
        self.peer.forget_answers()
        self.assertEqual(self.run_sendmail("-q"), (0, "", ""))
        wait_until("flushed", lambda: self.queue_of(queue_id) is None)

    def test_qi_and_qr_flush_one_message_and_one_site(self):
        by_id, by_site = self.deferred("bob@other.example"), self.deferred()
        other = self.deferred("bob@other.example")
        self.peer.forget_answers()
        self.assertEqual(self.run_sendmail("-qI" + by_id), (0, "", ""))
        wait_until("flushed by its id", lambda: self.queue_of(by_id) is None)
        self.assertEqual(self.run_sendmail("-qRpeer.example"), (0, "", ""))
        wait_until("flushed by its site", lambda: self.queue_of(by_site) is None)
        self.assertEqual(self.queue_of(other), "deferred")

    def test_refuses_in_postfixs_words(self):
        for arguments, words in (
                ("-qSsite", "-qS is not implemented"),
                ("-qI", "specify: -qIqueueid"),
                ("-qI Q1", "specify: -qIqueueid"),
                ("-qR", "specify: -qRsitename"),
                ("-q 10m", "flush queue mode requires no recipient"),
                ("-bp x", "display queue mode requires no recipient"),
                ("-qIQ1 x", "flush queue_id requires no recipient"),
                ("-qRa x", "flush site requires no recipient"),
                ("-bs x", "stand-alone mode requires no recipient"),
                ("-bl x", "daemon mode requires no recipient"),
                ("-bp -qRa", "-qR can be used only in delivery mode"),
                ("-q -qIa", "-qI can be used only in delivery mode"),
                ("-t -q", "-t can be used only in delivery mode"),
                ("-bv -t", "-t option cannot be used with -bv"),
                ("-n -bp", "-n option not supported"),
                ("-bz", "unsupported: -bz")):
            with self.subTest(arguments):
                self.assertEqual(self.run_sendmail(*arguments.split()),
                                 (75, "", f"sendmail: fatal: {words}\n"))
        for arguments in ("-q10m", "-q10m x", "-bp -q10m", "-bh x"):
            self.assertEqual(self.run_sendmail(*arguments.split()), (0, "", ""), arguments)


class OtherUsers(QueueUsers):
    def setUp(self):
        machine.require_root(self)
        if machine.ORACLE:
            self.skipTest("Postfix lets other users name no configuration but /etc/postfix")
        super().setUp()

    def parameters(self):
        operators = self.folder / "operators"
        operators.write_text("daemon\n")
        operators.chmod(0o644)
        return {"authorized_mailq_users": "!unknown, static:anyone", "authorized_flush_users": str(operators)}

    def run_as(self, user, *command):
        return self.finished(self.mta.command_line(*command), user)

    def test_view_the_queue_if_they_are_named(self):
        queue_id = self.deferred()
        for user in (BIN, DAEMON):
            status, listing, error = self.run_as(user, "mailq")
            self.assertEqual((status, error), (0, ""))
            self.assertIn(queue_id, listing)
        for command in ("postqueue -p", "postqueue -j", "mailq", "sendmail -bp"):
            self.assertEqual(self.run_as(WITHOUT_NAME, *command.split()), (
                69, "", f"postqueue: fatal: User unknown({WITHOUT_NAME}) is not allowed to view the mail queue\n"))

    def test_flush_the_queue_if_they_are_named(self):
        queue_id = self.deferred()
        self.peer.forget_answers()
        for command in ("postqueue -f", "postqueue -i " + queue_id, "postqueue -s peer.example", "sendmail -q",
                        "sendmail -qI" + queue_id, "sendmail -qRpeer.example"):
            self.assertEqual(self.run_as(BIN, *command.split()), (
                69, "", f"postqueue: fatal: User bin({BIN}) is not allowed to flush the mail queue\n"))
        self.assertEqual(self.queue_of(queue_id), "deferred")
        self.assertEqual(self.run_as(DAEMON, "postqueue", "-f"), (0, "", ""))
        wait_until("flushed", lambda: self.queue_of(queue_id) is None)

    def test_delete_nothing(self):
        self.assertEqual(self.run_as(DAEMON, "postsuper", "-d", "ALL"), (
            1, "", "postsuper: fatal: use of this command is reserved for the superuser\n"))


if __name__ == "__main__":
    facts.main()
