"""When, in what order and how many at once: ours beside real Postfix, with seconds in place of minutes.

Each destination is a recording server with a script of its own; both systems get the same mail at the same time.
  grow   answers each message after a while: how the window grows
  storm  refuses each recipient for now, after a while: that is no failure of the destination
  dead   refuses connections, until it has been found dead; then it lives
  again  refuses one recipient four times: when it is tried again
  paced  answers each message after a while: when the next one starts, with a rate delay of the transport
  big    takes one message at a time: a mail of 200 recipients, and small ones behind it
"""

import itertools
import re
import statistics
import threading
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer
from stock import MASTER_CF

MINIMAL_BACKOFF_S, MAXIMAL_BACKOFF_S, QUEUE_RUN_S = 4, 8, 1
INITIAL, LIMIT = 5, 20  # concurrency of a destination, as defaults have it
# Long beside what a busy machine adds to it: a window is seen only where its deliveries overlap.
ANSWER_SECONDS = 1.0
GROW_MESSAGES = 80
DEAD_MESSAGES = 20
RETRIES = 4
PACED_MESSAGES, RATE_DELAY_S, PACED_SECONDS = 4, 2, 3.0
BIG_RECIPIENTS, BIG_A_DELIVERY, SMALL = 200, 5, 12
# So long the first delivery to `big` holds the place, until all others wait behind it.
HOLD_SECONDS = 4.0

# Tolerances. A queue run comes up to QUEUE_RUN_S late, and so does the look at what is due; the machine is shared.
# Any more would let a backoff pass that is not the minimal one, or has no maximum.
LATE_SECONDS_MAX = QUEUE_RUN_S + 4.0
RETRY_LATE_SECONDS_MAX = QUEUE_RUN_S + 6.0
# Postfix looks at whole seconds, and takes what is due within the next one.
EARLY_SECONDS_MAX = 2.1
# In deliveries that have ended: how much later than in Postfix a window is reached, and how much earlier than each end
# can have made it grow by one. (The end of a refused one is seen here after the mail system has seen it.)
WINDOW_TOLERANCE = 12
WINDOW_EARLY_MAX = 2
SUSPENDED_TOLERANCE = 3

_TRANSPORTS = ("grow", "storm", "dead", "again", "big", "paced")
_MASTER = MASTER_CF + "".join(f"{name} unix - - n - - smtp\n" for name in _TRANSPORTS)
_SECONDS_MAX = 80.0


class Side:
    def __init__(self, stack, oracle):
        self.label = "postfix" if oracle else "postfleet"
        self.peers = {name: stack(RecordingServer()) for name in _TRANSPORTS}
        routes = ", ".join(f"{name}.example={name}:[127.0.0.1]:{peer.port}" for name, peer in self.peers.items())
        self.mta = stack(harness.Instance(stack(machine.folder()), {
            "transport_maps": "inline:{ " + routes + " }",
            "minimal_backoff_time": f"{MINIMAL_BACKOFF_S}s",
            "maximal_backoff_time": f"{MAXIMAL_BACKOFF_S}s",
            "queue_run_delay": f"{QUEUE_RUN_S}s",
            "big_destination_concurrency_limit": "1",
            "big_initial_destination_concurrency": "1",
            "big_destination_recipient_limit": str(BIG_A_DELIVERY),
            "paced_transport_rate_delay": f"{RATE_DELAY_S}s",
            "default_process_limit": "200",
            "in_flow_delay": "0s",
        }, _MASTER, name=self.label, oracle=oracle))

    def run(self):
        peers = self.peers
        peers["grow"].answer("END", after_seconds=ANSWER_SECONDS)
        peers["storm"].answer("RCPT", "450 4.2.0 not now", after_seconds=ANSWER_SECONDS)
        # Slowly: a refusal before the next message came would leave nothing of the destination in memory.
        peers["dead"].answer("CONNECT", "421 4.3.2 full", after_seconds=1.0)
        peers["again"].answer("RCPT", "450 4.2.0 not now", times=RETRIES)
        peers["paced"].answer("END", after_seconds=PACED_SECONDS)
        peers["big"].answer("END", times=1, after_seconds=HOLD_SECONDS)
        peers["big"].answer("END", after_seconds=0.02)
        with smtp_client.Client(self.mta.port) as client:
            self._send(client, "again@sender.example", ["one@again.example"])
            for number in range(PACED_MESSAGES):
                self._send(client, "paced@sender.example", [f"p{number}@paced.example"])
            self._send(client, "big@sender.example", [f"b{number:03}@big.example" for number in range(BIG_RECIPIENTS)])
            # The big one is current before the small ones come; its first delivery holds the place meanwhile.
            wait_until("the first delivery of the big mail", lambda: peers["big"].at_mail, hopeless=self.mta.why_ended)
            for number in range(SMALL):
                self._send(client, "small@sender.example", [f"s{number}@big.example"])
            for number in range(DEAD_MESSAGES):
                self._send(client, "dead@sender.example", [f"d{number}@dead.example"])
            for name in ("grow", "storm"):
                for number in range(GROW_MESSAGES):
                    self._send(client, f"{name}@sender.example", [f"g{number}@{name}.example"])
            client.quit()
        self._look_at_the_dead()
        peers["grow"].wait_for(GROW_MESSAGES, _SECONDS_MAX, self.mta.why_ended)
        peers["big"].wait_for(BIG_RECIPIENTS // BIG_A_DELIVERY + SMALL, _SECONDS_MAX, self.mta.why_ended)
        peers["again"].wait_for(1, _SECONDS_MAX, self.mta.why_ended)
        peers["paced"].wait_for(PACED_MESSAGES, _SECONDS_MAX, self.mta.why_ended)
        wait_until("the storm's first round", lambda: len(peers["storm"].at_mail) >= GROW_MESSAGES, _SECONDS_MAX)

    def _look_at_the_dead(self):
        """After the first round: how many were tried, when it was said to be dead. Then it lives."""
        peer = self.peers["dead"]
        first = r"to=<d\d+@dead\.example>, .*status=deferred"
        self.mta.wait_for_log(first, DEAD_MESSAGES, _SECONDS_MAX)
        suspended = (r"\(delivery temporarily suspended: host 127\.0\.0\.1\[127\.0\.0\.1\] "
                     r"refused to talk to me: 421 4\.3\.2 full\)$")
        # Whatever was tried again before this was looked at is not of the first round.
        lines = self.mta.find_log(first + ".*")[:DEAD_MESSAGES]
        self.suspended = sum(1 for line in lines if re.search(suspended, line.group()))
        peer.forget_answers()
        peer.wait_for(DEAD_MESSAGES, _SECONDS_MAX, self.mta.why_ended)
        after = [moment - peer.connected[0] for moment in peer.connected]
        self.tried = sum(1 for seconds in after if seconds < MINIMAL_BACKOFF_S - EARLY_SECONDS_MAX)
        self.revived_after = min(seconds for seconds in after if seconds >= MINIMAL_BACKOFF_S - EARLY_SECONDS_MAX)

    def _send(self, client, sender, recipients):
        reply = client.send(sender, recipients, b"Subject: in time\n\nbody\n")
        if reply.code != 250:
            raise AssertionError(f"{self.label}: {reply}")


class Scheduling(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Postfix does: run ./dev test as root, as CI does")
        cls.sides = [Side(cls.enterClassContext, oracle) for oracle in (True, False)]
        errors = []

        def run(side):
            try:
                side.run()
            except AssertionError as error:
                errors.append(f"{side.label}: {error}")
        # One after the other: on two cores they would disturb each other's seconds.
        for side in cls.sides:
            thread = threading.Thread(target=run, args=(side,))
            thread.start()
            thread.join()
        if errors:
            raise AssertionError("; ".join(errors))
        cls.postfix, cls.postfleet = cls.sides

    def windows(self, name):
        """Of both: the transactions open at each MAIL of the first round."""
        found = [[count for _, count, _ in side.peers[name].at_mail[:GROW_MESSAGES]] for side in self.sides]
        for side, counts in zip(self.sides, found):
            print(f"{name}, {side.label}: {' '.join(map(str, counts))}")
        return found

    def assert_windows_grow_alike(self, name):
        theirs, ours = self.windows(name)
        self.assertEqual(max(theirs), LIMIT)
        self.assertEqual(max(ours), LIMIT)
        for window in range(INITIAL + 1, LIMIT + 1):
            # Not by moments: a busy machine makes either of them later, but neither of them earlier.
            ended = [self.ended_before(window, counts) for counts in (theirs, ours)]
            at_best = window - INITIAL
            self.assertGreaterEqual(ended[1], at_best - WINDOW_EARLY_MAX, f"a window of {window}: {ended}")
            self.assertLessEqual(ended[1], max(ended[0], at_best) + WINDOW_TOLERANCE, f"a window of {window}: {ended}")

    @staticmethod
    def ended_before(window, counts):
        """How many had ended when so many were open for the first time."""
        return next(begun - count for begun, count in enumerate(counts, 1) if count >= window)

    def test_opens_the_initial_number_of_deliveries_at_once(self):
        for counts in self.windows("grow"):
            self.assertEqual(counts[:INITIAL], list(range(1, INITIAL + 1)))

    def test_lets_the_window_grow_as_postfix_does(self):
        self.assert_windows_grow_alike("grow")

    def test_takes_refused_recipients_for_life_as_postfix_does(self):
        self.assert_windows_grow_alike("storm")

    def test_finds_a_destination_dead_after_as_many_failures(self):
        print(f"tried {[side.tried for side in self.sides]}, suspended {[side.suspended for side in self.sides]}")
        for side in self.sides:
            self.assertEqual(side.tried + side.suspended, DEAD_MESSAGES, side.label)
            self.assertGreater(side.suspended, 0, side.label)
        self.assertLessEqual(abs(self.postfix.suspended - self.postfleet.suspended), SUSPENDED_TOLERANCE)

    def test_revives_a_dead_destination_after_the_minimal_backoff(self):
        # That it does so no earlier is what `tried` and `suspended` add up to.
        print("revived after", [f"{side.revived_after:.1f} s" for side in self.sides])
        for side in self.sides:
            self.assertLessEqual(side.revived_after, MINIMAL_BACKOFF_S + LATE_SECONDS_MAX, side.label)

    def test_counts_a_transports_rate_delay_from_the_end_of_a_delivery_as_postfix_does(self):
        for side in self.sides:
            at_mail = side.peers["paced"].at_mail
            gaps = [now[0] - before[0] for before, now in itertools.pairwise(at_mail)]
            print(f"{side.label}: started after", [f"{gap:.1f} s" for gap in gaps])
            self.assertEqual({count for _, count, _ in at_mail}, {1}, side.label)
            # From the start it would be PACED_SECONDS. Postfix's timers have whole seconds: any may be short by one.
            self.assertGreater(statistics.median(gaps), RATE_DELAY_S + PACED_SECONDS - 1.2, side.label)
            self.assertLess(min(gaps), 2 * RATE_DELAY_S + PACED_SECONDS, side.label)

    def test_tries_again_after_the_messages_age(self):
        for side in self.sides:
            times = [moment for moment, _, _ in side.peers["again"].at_mail]
            print(f"{side.label}: tried after", [f"{moment - times[0]:.1f}" for moment in times])
            self.assertEqual(len(times), RETRIES + 1, side.label)
            for before, now in itertools.pairwise(times):
                due = min(max(before - times[0], MINIMAL_BACKOFF_S), MAXIMAL_BACKOFF_S)
                self.assertGreaterEqual(now - before, due - EARLY_SECONDS_MAX, side.label)
                self.assertLessEqual(now - before, due + RETRY_LATE_SECONDS_MAX, side.label)

    def test_lets_small_mail_pass_the_big_one_as_postfix_does(self):
        orders = ["".join("B" if sender.startswith("big") else "s" for _, _, sender in side.peers["big"].at_mail)
                  for side in self.sides]
        for side, order in zip(self.sides, orders):
            print(f"{side.label}: {order}")
            self.assertEqual((order.count("B"), order.count("s")), (BIG_RECIPIENTS // BIG_A_DELIVERY, SMALL), side.label)
            self.assertEqual({count for _, count, _ in side.peers["big"].at_mail}, {1}, side.label)
        self.assertEqual(*orders)


if __name__ == "__main__":
    facts.main()
