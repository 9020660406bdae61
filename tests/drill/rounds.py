"""The rounds of the power drill: start, load, cut, restore, account; at the end drain and account."""

import contextlib
import os
import random
import time

import load
import maildirs
import messages
import plan
from deadlines import Missed, wait_for_any, wait_until
from product import ProductError

_CONNECTIONS = 8
_MESSAGES_EACH = 40
_LOAD_SECONDS_MAX = 20.0
# After the load: first attempts end, deferred ones come again.
_QUIET_SECONDS = 1.5
_DRAIN_SECONDS_MAX = 120.0
_SINK_SECONDS_MAX = 30.0
# Until a round that came to its end says how many there are.
_BOUNDARIES_GUESS = 1_200


class Rounds:
    """`disk`, `product`, `sink` and `ledger` are of one instance; `say` prints a line."""

    def __init__(self, disk, product, sink, ledger, say, ignore_sync=None):
        self._disk = disk
        self._product = product
        self._sink = sink
        self._ledger = ledger
        self._say = say
        self._ignore_sync = ignore_sync
        self._mail = disk.tree / "mail"
        self._boundaries = _BOUNDARIES_GUESS

    def run(self, seed, strict=False, cut_at=None):
        """One round that ends in a cut. ProductError when the server does not live through it."""
        begin = time.monotonic()
        self._ledger.round += 1
        planned = plan.of_round(seed, self._boundaries, strict, cut_at)
        self._say(f"round {self._ledger.round}: --seed {seed}: {planned}")
        if self._start(planned.cut_at):
            self._load_until_cut(planned)
        boundaries = self._disk.boundaries()
        self._lose_power(planned.restore_seed)
        self._say(f"    {boundaries} boundaries, {self._ledger.summary()}, "
                  f"{time.monotonic() - begin:.1f} s")

    def drain(self):
        """Starts once more, lets everything flow out, stops in order, and takes the power for the last time."""
        self._ledger.round += 1
        owed = self._ledger.owed()
        self._start(None)
        self._check_queue(owed)
        left = self._wait_until_drained()
        self._product.stop()
        self._lose_power(0)
        self._ledger.account(self._ledger.owed(), left)
        self._say(f"drained, {len(left)} left in the queue")

    def _start(self, cut_at):
        """False when the power went before it greeted."""
        greets = self._product.start(self._disk.environment(cut_at, self._ignore_sync))
        if not greets and not self._disk.is_cut():
            raise ProductError(f"does not start on what the disk kept\n{self._product.last_words()}")
        return greets

    def _load_until_cut(self, planned):
        owed = self._ledger.owed()
        senders = self._senders(planned.seed)
        senders.start()
        try:
            self._check_queue(owed)
            self._wait_for_cut(senders, planned.moment_seconds)
            if not self._disk.is_cut():
                if not self._product.running():
                    raise ProductError(f"ended by itself\n{self._product.last_words()}")
                self._disk.cut()
            self._ledger.cut(time.time())
        finally:
            self._product.kill()
            senders.stop()

    def _senders(self, seed):
        rng = random.Random(seed)
        number = self._ledger.round
        writers = [messages.Writer(number, f"r{number}c{connection}", random.Random(rng.random()))
                   for connection in range(_CONNECTIONS)]
        return load.Load(self._product.port, self._ledger, writers, _MESSAGES_EACH)

    def _wait_for_cut(self, senders, moment_seconds):
        """Until the boundary's cut, the moment, or the end of all that a round has to do."""
        exited = self._product.exited()
        try:
            if moment_seconds is not None:
                senders.first_acknowledged.wait(_LOAD_SECONDS_MAX)
                wait_for_any([exited], moment_seconds)
            elif senders.finished.fileno() in wait_for_any([exited, senders.finished], _LOAD_SECONDS_MAX):
                wait_for_any([exited], _QUIET_SECONDS)
        finally:
            os.close(exited)
        self._boundaries = max(self._boundaries, self._disk.boundaries())

    def _check_queue(self, owed):
        """What was owed before this start is listed, or has arrived since."""
        try:
            listed = self._product.listed()
        except ProductError:
            if self._disk.is_cut() or not self._product.running():
                return  # the next round looks again
            raise
        if any(key not in listed for key in self._ledger.still_owed(owed)):
            self._ledger.account(owed, listed | maildirs.visible(self._mail))

    def _wait_until_drained(self):
        """The queue's listing when it became empty, or when there is no more time."""
        with contextlib.suppress(Missed):
            wait_until("an empty queue", lambda: not self._product.listed(), _DRAIN_SECONDS_MAX, poll_seconds=0.2)
        return self._product.listed()

    def _lose_power(self, restore_seed):
        self._ledger.cut(time.time())
        self._product.kill()
        if not self._sink.wait_idle(_SINK_SECONDS_MAX):
            raise RuntimeError("connections to the recording server live on")
        self._disk.restore(restore_seed)
        maildirs.take_out(self._mail, self._ledger)
        self._disk.init()
