"""The privileged delivery helper is killed in the midst of deliveries: it comes back, and so does mail."""

import collections
import contextlib
import os
import re
import signal
import unittest

import facts
import harness
import machine
from deadlines import wait_until
from smtp_load import Load

KILLS = 5
CLIENTS = 6
# Of long messages a kill finds some half written.
_CONTENT_BYTES = 300_000
_ARRIVAL_SECONDS_MAX = 60.0
_END = b"the last line\n"
RUNS_AGAIN = r"postfix/virtual.*delivery helper runs again: process (\d+)"


def _message(number):
    return f"m{number}@box.example", (b"Subject: %d\n\n" % number +
                                      (b"y" * 98 + b"\n") * (_CONTENT_BYTES // 99) + _END)


@unittest.skipIf(machine.ORACLE, "Postfix has no such helper")
class AHelperThatIsKilled(unittest.TestCase):
    def test_comes_back_and_no_mail_is_lost_or_half(self):
        with machine.folder() as folder, contextlib.closing(Load(CLIENTS, _message)) as load, \
                harness.Instance(folder, {
                    "virtual_mailbox_domains": "box.example",
                    "virtual_mailbox_maps": "static:all/",
                    "minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s"}) as mta:
            with load.run(mta.port):
                for kill in range(1, KILLS + 1):
                    load.wait_for_more(10, mta.why_ended)
                    os.kill(self.worker(mta), signal.SIGKILL)
                    mta.wait_for_log(RUNS_AGAIN, count=kill, seconds_max=_ARRIVAL_SECONDS_MAX)
                load.wait_for_more(10, mta.why_ended)
            self.assertEqual(load.refused, [])
            mta.wait_until_empty(_ARRIVAL_SECONDS_MAX)
            arrived = collections.Counter()
            for content in mta.maildir("all"):
                self.assertTrue(content.endswith(b"\n" + _END), content[-100:])
                arrived[re.search(rb"^X-Original-To: (\S+)$", content, re.MULTILINE).group(1).decode()] += 1
            cut = len(mta.find_log("status=deferred.*helper went away"))
            print(f"{KILLS} kills: {len(load.acknowledged)} acknowledged, {len(arrived)} arrived, "
                  f"{sum(arrived.values()) - len(arrived)} duplicates, {cut} deliveries cut")
            self.assertEqual(set(arrived), set(load.acknowledged))
            self.assertGreater(cut, 0)
            self.assertEqual(mta.find_log("status=bounced"), [])

    def test_ends_with_the_server_after_a_restart_too(self):
        with machine.folder() as folder, harness.Instance(folder) as mta:
            os.kill(self.worker(mta), signal.SIGKILL)
            mta.wait_for_log(RUNS_AGAIN)
            group = mta.process.pid
            self.assertEqual(len(mta.group_members(group)), 3, "server, supervisor, worker")
            mta.process.terminate()
            mta.wait_for_group_end(group)
            self.assertEqual(mta.wait_for_end(), 0)

    @staticmethod
    def worker(mta):
        """Its process id; the supervisor beside it is another one."""
        found = wait_until("a worker of the helper", lambda: [
            pid for pid in mta.processes() if b"--serve" in _arguments(pid)], hopeless=mta.why_ended)
        return found[0]


def _arguments(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return arguments.read().split(b"\0")
    except OSError:  # ended meanwhile
        return []


if __name__ == "__main__":
    facts.main()
