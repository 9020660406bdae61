"""The rounds of the power drill: start, load, cut, restore, account; at the end drain and account."""

import contextlib
import os
import random
import time

import load
import maildirs
import messages
import plan
from administrator import Administrator
from deadlines import Missed, wait_for_any, wait_until
from product import ProductError

_CONNECTIONS = 8
_MESSAGES_EACH = 40
# The queue that stands: what a bulk job of more than one step needs, and what a purge took is sent again.
_LATER_FIRST = 2_000
_LATER_EACH = 60
_LATER_AGAIN = 500
_LOAD_SECONDS_MAX = 20.0
# After the load: first attempts end, deferred ones come again.
_QUIET_SECONDS = 1.5
_DRAIN_SECONDS_MAX = 120.0
_SINK_SECONDS_MAX = 30.0
_JOBS_SECONDS_MAX = 60.0
# What the queue lists as the sender of a notice.
_NOBODY = "MAILER-DAEMON"
# Until a round that came to its end says how many there are.
_BOUNDARIES_GUESS = 1_200


class Rounds:
    """`disk`, `product`, `sink` and `ledger` are of one instance; `say` prints a line."""

    def __init__(self, disk, product, sink, ledger, say, ignore_sync=None, only=None):
        self.administrator = Administrator(product, ledger, only)
        self._disk = disk
        self._product = product
        self._sink = sink
        self._ledger = ledger
        self._say = say
        self._ignore_sync = ignore_sync
        self._mail = disk.tree / "mail"
        self._boundaries = _BOUNDARIES_GUESS
        self._standing = 0

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
        try:
            wait_until("the end of the bulk jobs", self.administrator.follow_jobs, _JOBS_SECONDS_MAX, poll_seconds=0.1)
        except Missed as missed:
            self._ledger.found("undone", f"{missed}: {self._product.jobs()}")
        self._check_jobs()
        self._check_deleted()
        self._sink.opened = True
        self._ledger.ask_all("deliver")
        self._product.release_all()
        left = self._wait_until_drained()
        self._product.stop()
        self._lose_power(0)
        self._ledger.account(self._ledger.owed(), left)
        self._say(f"drained, {len(left)} left in the queue")

    def _start(self, cut_at, with_all_syncs=False):
        """False when the power went before it greeted."""
        greets = self._product.start(self._disk.environment(cut_at, None if with_all_syncs else self._ignore_sync))
        if not greets and not self._disk.is_cut():
            raise ProductError(f"does not start on what the disk kept\n{self._product.last_words()}")
        return greets

    def _load_until_cut(self, planned):
        owed = self._ledger.owed()
        senders = self._senders(planned.seed)
        senders.start()
        self.administrator.start(planned.seed, planned.job_seconds is not None)
        try:
            self._check_queue(owed)
            self._wait_for_cut(senders, planned)
            if not self._disk.is_cut():
                if not self._product.running():
                    raise ProductError(f"ended by itself\n{self._product.last_words()}")
                self._disk.cut()
            self._ledger.cut(time.time())
        finally:
            self._product.kill()
            self.administrator.stop()
            senders.stop()

    def _senders(self, seed):
        rng = random.Random(seed)
        number = self._ledger.round
        writers = [messages.Writer(number, f"r{number}c{connection}", random.Random(rng.random()), _MESSAGES_EACH)
                   for connection in range(_CONNECTIONS)]
        writers.append(messages.LaterWriter(number, f"r{number}later", random.Random(rng.random()),
                                            _LATER_EACH if self._standing > _LATER_FIRST / 2 else _LATER_AGAIN))
        return load.Load(self._product.port, self._ledger, writers)

    def fill(self, seed):
        """Before the first round: what stands in the queue. Without syncs a delete of it would not last."""
        self._ledger.round += 1
        self._start(None, with_all_syncs=True)
        rng = random.Random(seed)
        writers = [messages.LaterWriter(0, f"r0c{connection}", random.Random(rng.random()), _LATER_FIRST // _CONNECTIONS)
                   for connection in range(_CONNECTIONS)]
        senders = load.Load(self._product.port, self._ledger, writers)
        senders.start()
        senders.finished.wait(_LOAD_SECONDS_MAX)
        self._standing = _LATER_FIRST
        self._product.stop()
        senders.stop()
        self._lose_power(0)

    def _wait_for_cut(self, senders, planned):
        """Until the boundary's cut, the moment, or the end of all that a round has to do."""
        exited = self._product.exited()
        try:
            if planned.job_seconds is not None:
                self.administrator.first_command.wait(_LOAD_SECONDS_MAX)
                wait_for_any([exited], planned.job_seconds)
            elif planned.moment_seconds is not None:
                senders.first_acknowledged.wait(_LOAD_SECONDS_MAX)
                wait_for_any([exited], planned.moment_seconds)
            elif senders.finished.fileno() in wait_for_any([exited, senders.finished], _LOAD_SECONDS_MAX):
                wait_for_any([exited], _QUIET_SECONDS)
        finally:
            os.close(exited)
        self._boundaries = max(self._boundaries, self._disk.boundaries())

    def _check_queue(self, owed):
        """What was owed before this start is listed, or has arrived since; what was deleted is not
        listed; and the queue is sound."""
        asked_at = time.time()
        try:
            entries = self._product.entries()
            unsound = self._product.verified()
        except ProductError:
            if self._disk.is_cut() or not self._product.running():
                return  # the next round looks again
            raise
        self._standing = len(entries)
        if unsound:
            self._ledger.found("unsound", f"round {self._ledger.round}, beside its work: {unsound}")
        self._ledger.listed({messages.id_of_sender(entry["sender"]) for entry in entries}, asked_at)
        listed, notices = self._listed(entries)
        missing = self._ledger.missing(owed, listed | maildirs.visible(self._mail), notices)
        if not missing:
            return
        # A listing is made page by page, while messages change their ids and become notices. What is lost
        # stays so.
        try:
            again, notices_again = self._listed(self._product.entries())
        except ProductError:
            if self._disk.is_cut() or not self._product.running():
                return
            raise
        self._ledger.account(missing, again | maildirs.visible(self._mail), notices | notices_again)
        self._say(f"    {len(missing)} deliveries were not in the first listing")

    @staticmethod
    def _listed(entries):
        """(message id, recipient) of what is listed; ids of which a notice is, or is about to be: recipients
        that are to be returned are listed no more."""
        recipients = [(entry["sender"], recipient["address"]) for entry in entries for recipient in entry["recipients"]]
        listed = {(messages.id_of_sender(sender), address) for sender, address in recipients}
        notices = {messages.id_of_sender(address) for sender, address in recipients if sender == _NOBODY}
        return listed, notices | {messages.id_of_sender(entry["sender"]) for entry in entries}

    def _check_jobs(self):
        """None runs again after its end."""
        done = set()
        lines = self._product.job_lines()
        for job, word in lines:
            if job in done:
                self._ledger.found("undone", f"bulk job {job} {word} after it was done")
            if word == "is done":
                done.add(job)
        words = [word for _, word in lines]
        self._say(f"bulk jobs: {len(done)} done, {words.count('goes on')} went on after a start")

    def _check_deleted(self):
        """Also what bulk jobs have deleted."""
        asked_at = time.time()
        self._ledger.listed({messages.id_of_sender(entry["sender"]) for entry in self._product.entries()}, asked_at)

    def _wait_until_drained(self):
        """The queue's listing when it became empty, or when there is no more time."""
        with contextlib.suppress(Missed):
            wait_until("an empty queue", lambda: not self._product.entries(), _DRAIN_SECONDS_MAX, poll_seconds=0.2)
        return self._listed(self._product.entries())[0]

    def _lose_power(self, restore_seed):
        self._ledger.cut(time.time())
        self._product.kill()
        if not self._sink.wait_idle(_SINK_SECONDS_MAX):
            raise RuntimeError("connections to the recording server live on")
        self._disk.restore(restore_seed)
        maildirs.take_out(self._mail, self._ledger)
        self._verify_what_is_kept()
        self._disk.init()

    def _verify_what_is_kept(self):
        if not (self._product.queue / "postfleet" / "state" / "CURRENT").exists():
            return  # the power went before there was a queue
        try:
            unsound = self._product.verified(offline=True)
        except ProductError as error:
            unsound = str(error)
        if unsound:
            self._ledger.found("unsound", f"round {self._ledger.round}, what the disk kept: {unsound}")
