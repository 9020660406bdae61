"""SIGKILL at random moments under load: everything that got a 250 arrives, at least once."""

import collections
import contextlib
import os
import random
import re
import time
import unittest

import facts
import harness
import machine
from deadlines import wait_until
from smtp_load import Load
from smtp_peer import RecordingServer

ROUNDS = 20
CLIENTS = 8
# A kill comes after so many messages of a round, at random: some 0.5 s.
_MESSAGES_MAX = 250
_ARRIVAL_SECONDS_MAX = 60.0


def _message(number):
    to = f"m{number}@" + ("box.example" if number % 2 else "peer.example")
    return to, b"Subject: %d\n\n%s\n" % (number, b"x" * (number % 5000))


def _is_whole(to, content):
    """Headers are added in front, long lines are folded; below the headers nothing may be missing."""
    number = int(re.match(r"m(\d+)@", to).group(1))
    body = content.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    return body.replace(b"\n ", b"") == b"x" * (number % 5000) + b"\n"


class AKilledServer(unittest.TestCase):
    def test_delivers_all_that_it_acknowledged(self):
        seed = int(os.environ.get("SCENARIO_SEED") or time.time_ns() % (1 << 32))
        print(f"SCENARIO_SEED={seed}")
        moments = random.Random(seed)
        with RecordingServer() as peer, machine.folder() as folder, \
                contextlib.closing(Load(CLIENTS, _message)) as load, harness.Instance(folder, {
                    "relayhost": f"[127.0.0.1]:{peer.port}",
                    "virtual_mailbox_domains": "box.example",
                    "virtual_mailbox_maps": "static:all/"}) as mta:
            for number in range(ROUNDS):
                with load.run(mta.port):
                    # A kill of an idle server would show nothing.
                    load.wait_for_more(moments.randint(1, _MESSAGES_MAX), mta.why_ended)
                    mta.kill()
                mta.start()
                print(f"round {number + 1}: {len(load.acknowledged)} acknowledged", flush=True)
            # What was being delivered at the kill may wait as deferred for its retry.
            wait_until("an empty queue", lambda: self._flush(mta), _ARRIVAL_SECONDS_MAX, mta.why_ended)
            copies = [(to, message.content) for message in peer.messages for to in message.recipients]
            for content in mta.maildir("all"):
                to = re.search(rb"^X-Original-To: (\S+)$", content, re.MULTILINE).group(1).decode()
                copies.append((to, content))
        arrived = collections.Counter(to for to, _ in copies)
        cut = [to for to, content in copies if not _is_whole(to, content)]
        acknowledged = set(load.acknowledged)
        lost = acknowledged - set(arrived)
        duplicates = sum(count - 1 for count in arrived.values())
        print(f"{ROUNDS} kills: {len(acknowledged)} acknowledged, {len(lost)} lost, {duplicates} duplicates, "
              f"{len(set(arrived) - acknowledged)} arrived without an acknowledgement")
        self.assertEqual(lost, set())
        self.assertEqual(cut, [])
        self.assertGreater(len(acknowledged), ROUNDS)

    @staticmethod
    def _flush(mta):
        mta.run("postqueue", "-f")
        return "Mail queue is empty" in mta.run("postqueue", "-p")[1]


if __name__ == "__main__":
    facts.main()
