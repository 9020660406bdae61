"""The disk is full: 452, nothing lost, and it goes on when there is space again.

The queue lies on a tmpfs in a mount namespace of its own, which needs root.
"""

import contextlib
import os
import subprocess
import sys
import threading
import unittest

import facts
import harness
import machine
import smtp_client
import stock
from deadlines import Missed, wait_until
from smtp_peer import RecordingServer

DISK_BYTES = 400 << 20
CLIENTS = 8
NAMESPACE = "SCENARIO_IN_MOUNT_NAMESPACE"
ENTERED = "1"
CONTENT = b"Subject: full\n\n" + b"x" * 70 + b"\n"


class AFullDisk(unittest.TestCase):
    def setUp(self):
        machine.require_root(self)
        if os.environ[NAMESPACE] != ENTERED:
            self.skipTest(f"needs a mount namespace of its own: {os.environ[NAMESPACE]}")
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.peer = self.stack.enter_context(RecordingServer())
        self.peer.answer("CONNECT", "421 4.3.2 not yet")
        folder = self.stack.enter_context(machine.folder())
        # queue_minfree and 1.5 x message_size_limit must be free, beside the queue's own reserve.
        self.mta = harness.Instance(folder, {"relayhost": f"[127.0.0.1]:{self.peer.port}",
                                             "message_size_limit": 1_000_000})
        self._mount()
        self.stack.enter_context(self.mta)
        self.ballast = self.mta.queue / "ballast"

    def _mount(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "tmpfs", self.mta.queue], check=True)
        self.stack.callback(subprocess.run, ["umount", "-l", self.mta.queue], check=True)
        stock.give_to(self.mta.queue, machine.MAIL_OWNER)

    def fill(self, bytes_left):
        with open(self.ballast, "wb") as ballast:
            free = os.statvfs(self.mta.queue)
            os.posix_fallocate(ballast.fileno(), 0, max(1, free.f_bavail * free.f_frsize - bytes_left))

    def send(self, number, content=CONTENT):
        return smtp_client.deliver(self.mta.port, "alice@client.example", [f"r{number}@peer.example"], content)

    def assert_all_arrive(self, acknowledged):
        self.peer.forget_answers()
        def all_there():
            self.mta.run("postqueue", "-f")
            return acknowledged <= {to for message in self.peer.messages for to in message.recipients}
        wait_until("all that was acknowledged", all_there, hopeless=self.mta.why_ended)
        self.mta.wait_until_empty()

    def test_refuses_for_now_and_goes_on_when_there_is_space(self):
        self.assertEqual(self.send(0).code, 250)
        self.fill(1 << 20)
        reply = wait_until("a refusal", lambda: self._refusal(1))
        self.assertRegex(reply.text, r"^452 4\.3\.1 (Insufficient system storage|.*queue file write error)")
        self.mta.wait_for_log(r"(warning|error|reject): .*([Nn]o space|free space|[Ii]nsufficient|disk)")
        self.ballast.unlink()
        wait_until("space again", lambda: self.send(2).code == 250, hopeless=self.mta.why_ended)
        self.assert_all_arrive({"r0@peer.example", "r2@peer.example"})

    def _refusal(self, number):
        reply = self.send(number)
        self.assertIn(reply.code, (250, 452), reply)
        return reply if reply.code == 452 else None

    def test_that_fills_up_under_load_loses_nothing(self):
        """Big messages fill what is left; those with a 250 arrive, the others got 452."""
        content = b"Subject: big\n\n" + (b"y" * 98 + b"\n") * 9000
        self.fill(200 << 20)
        acknowledged, refused, unexpected = set(), [], []
        lock = threading.Lock()

        def send_all(first):
            for number in range(first, 400, CLIENTS):
                try:
                    reply = self.send(number, content)
                except OSError as error:
                    unexpected.append(error)
                    return
                with lock:
                    if reply.code == 250:
                        acknowledged.add(f"r{number}@peer.example")
                    else:
                        (refused if reply.code == 452 else unexpected).append(reply)
                        return

        threads = [threading.Thread(target=send_all, args=(first,)) for first in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"{len(acknowledged)} acknowledged before the disk was full")
        self.ballast.unlink()
        try:
            self.assert_all_arrive(acknowledged)
        except Missed:
            # It ended: bad enough, but is anything lost, too?
            self.mta.kill()
            self.mta.start()
            self.assert_all_arrive(acknowledged)
            print("a restart lost nothing")
            raise
        self.assertEqual(unexpected, [])
        self.assertEqual(len(refused), len(threads))

    def test_does_not_hold_up_what_is_already_in_the_queue(self):
        """Deliveries free space: they go on while acceptance is stopped."""
        self.assertEqual(self.send(0).code, 250)
        self.fill(40 << 20)
        wait_until("a refusal", lambda: self._refusal(1))
        self.assert_all_arrive({"r0@peer.example"})

    def test_is_survived_by_a_restart(self):
        self.assertEqual(self.send(0).code, 250)
        self.fill(40 << 20)
        wait_until("a refusal", lambda: self._refusal(1))
        self.mta.kill()
        self.ballast.unlink()
        self.mta.start()
        self.assert_all_arrive({"r0@peer.example"})


def enter_namespace():
    """Runs this file again where its mounts are seen by nobody else; a container may refuse that even to root."""
    if not machine.IS_ROOT or os.environ.get(NAMESPACE):
        return
    unshare = ["unshare", "-m", "--propagation", "private"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        os.environ[NAMESPACE] = ENTERED
        os.execvp("unshare", [*unshare, sys.executable, "-B", *sys.argv])
    os.environ[NAMESPACE] = probe.stderr.strip()


if __name__ == "__main__":
    enter_namespace()
    facts.main()
