"""SIGKILL at random moments under load: everything that got a 250 arrives, at least once."""

import collections
import os
import random
import re
import threading
import time
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

ROUNDS = 20
CLIENTS = 8
_LOAD_SECONDS_MAX = 0.6
_ARRIVAL_SECONDS_MAX = 60.0


class _Load:
    """Clients that send numbered messages as fast as they are answered, until the server goes."""

    def __init__(self):
        self.acknowledged = set()
        self.sent = 0
        self._lock = threading.Lock()

    def _number(self):
        with self._lock:
            self.sent += 1
            return self.sent

    def _run_one(self, port):
        try:
            with smtp_client.Client(port) as client:
                while True:
                    number = self._number()
                    content = b"Subject: %d\n\n%s\n" % (number, b"x" * (number % 5000))
                    to = [f"m{number}@" + ("box.example" if number % 2 else "peer.example")]
                    if client.send("sender@client.example", to, content).code != 250:
                        return
                    with self._lock:
                        self.acknowledged.add(to[0])
        except OSError:
            return

    def start(self, port):
        threads = [threading.Thread(target=self._run_one, args=(port,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads


class AKilledServer(unittest.TestCase):
    def test_delivers_all_that_it_acknowledged(self):
        seed = int(os.environ.get("SCENARIO_SEED") or time.time_ns() % (1 << 32))
        print(f"SCENARIO_SEED={seed}")
        moments = random.Random(seed)
        load = _Load()
        with RecordingServer() as peer, machine.folder() as folder, harness.Instance(folder, {
                "relayhost": f"[127.0.0.1]:{peer.port}",
                "virtual_mailbox_domains": "box.example",
                "virtual_mailbox_maps": "static:all/"}) as mta:
            for number in range(ROUNDS):
                self._round(mta, load, moments)
                mta.start()
                print(f"round {number + 1}: {len(load.acknowledged)} acknowledged", flush=True)
            # What was being delivered at the kill may wait as deferred for its retry.
            wait_until("an empty queue", lambda: self._flush(mta), _ARRIVAL_SECONDS_MAX, mta.why_ended)
            arrived = collections.Counter(to for message in peer.messages for to in message.recipients)
            for content in mta.maildir("all"):
                arrived[re.search(rb"^X-Original-To: (\S+)$", content, re.MULTILINE).group(1).decode()] += 1
        lost = load.acknowledged - set(arrived)
        duplicates = sum(count - 1 for count in arrived.values())
        print(f"{ROUNDS} kills: {len(load.acknowledged)} acknowledged, {len(lost)} lost, {duplicates} duplicates, "
              f"{len(set(arrived) - load.acknowledged)} arrived without an acknowledgement")
        self.assertEqual(lost, set())
        self.assertGreater(len(load.acknowledged), ROUNDS)

    def _round(self, mta, load, moments):
        acknowledged = len(load.acknowledged)
        threads = load.start(mta.port)
        # A kill of an idle server would show nothing.
        wait_until("a message in this round", lambda: len(load.acknowledged) > acknowledged)
        threading.Event().wait(moments.uniform(0, _LOAD_SECONDS_MAX))
        mta.kill()
        for thread in threads:
            thread.join()

    @staticmethod
    def _flush(mta):
        mta.run("postqueue", "-f")
        return "Mail queue is empty" in mta.run("postqueue", "-p")[1]


if __name__ == "__main__":
    facts.main()
