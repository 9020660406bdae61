"""The administrator: holds, releases, requeues, deletes, expires and flushes while mail flows.

What it does follows from the seed, and from what the queue lists. The ledger hears of each command
before it runs, and of what was answered.
"""

import random
import re
import subprocess
import threading
import time

import messages
from product import ProductError

_PAUSE_SECONDS_MAX = 0.1
_IDS_MAX = 12
_COMMAND_SECONDS_MAX = 60.0
# Ids that were listed are used by so many commands: some are gone meanwhile, or have another one.
_COMMANDS_PER_LISTING = 3

# (weight, method, arguments)
_COMMANDS = (
    (4, "named", ("-h", "hold")),
    (3, "named", ("-H", "deliver")),
    (4, "named", ("-r", "deliver")),
    (4, "named", ("-d", "remove")),
    (2, "named", ("-e", "expire")),
    (1, "named", ("-f", "expire")),
    (2, "everything", ("-h", "hold")),
    (3, "everything", ("-H", "deliver")),
    (3, "everything", ("-r", "deliver")),
    (0.2, "everything", ("-e", "expire")),
    (0.2, "everything", ("-f", "expire")),
    (1, "delete_held", ()),
    (0.15, "purge", ()),
    (2, "flush", ()),
)
_JOBS = ("everything", "delete_held")
_DONE = re.compile(r"^postsuper: (\w+): (?:removed|placed on hold)$", re.MULTILINE)


class Administrator:
    """Of all rounds; `product` and `ledger` are those of the instance."""

    def __init__(self, product, ledger, only=None):
        """only: of all commands only postsuper's with this option, on named messages."""
        self._commands_to_draw = [each for each in _COMMANDS if only is None or each[2][:1] == (only,)
                                  and each[1] == "named"]
        self._product = product
        self._ledger = ledger
        self._lock = threading.Lock()
        self._running = None
        self._stopped = threading.Event()
        self.first_command = threading.Event()
        self._thread = None
        # Ids that a bulk job deletes, of which there was no answer: gone when it was seen after a start
        # and is done.
        self._forget_delete()
        self._commands = 0

    def start(self, seed, job_first=False):
        """Until stop(): the server is gone, or going. job_first: the first command is a bulk job."""
        self._stopped.clear()
        self.first_command.clear()
        self._thread = threading.Thread(target=self._work, args=(random.Random(seed), job_first), daemon=True)
        self._thread.start()

    def stop(self):
        self._stopped.set()
        with self._lock:
            if self._running is not None:
                self._running.kill()
        self._thread.join()

    def summary(self):
        return f"{self._commands} commands of the administrator"

    def follow_jobs(self):
        """Looks at the bulk jobs. True: none is left."""
        jobs = self._product.jobs()
        self._delete_seen |= any(" delete" in job for job in jobs)
        if jobs:
            return False
        if self._delete_seen:
            self._ledger.answered("remove", self._to_be_deleted, time.time())
        # Otherwise it was done before, or never begun: nobody knows.
        self._forget_delete()
        return True

    def _forget_delete(self):
        self._to_be_deleted = set()
        self._delete_seen = False

    def _work(self, rng, job_first):
        try:
            while not self._stopped.wait(rng.uniform(0, _PAUSE_SECONDS_MAX)):
                # What is asked of one message is not to be undone by a job that was there before.
                if not self.follow_jobs():
                    continue
                entries = self._product.entries()
                for _ in range(_COMMANDS_PER_LISTING):
                    if self._stopped.is_set():
                        break
                    commands = self._commands_to_draw
                    if job_first:
                        commands = [each for each in commands if each[1] in _JOBS] or commands
                    job_first = False
                    _, method, arguments = rng.choices(commands, [each[0] for each in commands])[0]
                    getattr(self, "_" + method)(rng, entries, *arguments)
        except ProductError:
            pass  # the power went, or the round finds out what else it was

    def _run(self, *arguments):
        """(whether it was done, what it said). The ids of a command that was cut off count."""
        with self._lock:
            if self._stopped.is_set():
                return False, ""
            self.first_command.set()
            self._running = subprocess.Popen(
                self._product.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True)
        try:
            said = self._running.communicate(timeout=_COMMAND_SECONDS_MAX)[1]
        except subprocess.TimeoutExpired:
            self._running.kill()
            said = self._running.communicate()[1]
        with self._lock:
            status = self._running.returncode
            self._running = None
        self._commands += 1
        return status == 0, said

    def _named(self, rng, entries, option, wish):
        named = [entry for entry in entries if messages.id_of_sender(entry["sender"])]
        if not named:
            return
        drawn = rng.sample(named, min(len(named), rng.randint(1, _IDS_MAX)))
        ids = {entry["queue_id"]: messages.id_of_sender(entry["sender"]) for entry in drawn}
        self._ledger.ask(wish, ids.values())
        _, said = self._run("postsuper", *(word for queue_id in ids for word in (option, queue_id)))
        if wish in ("remove", "hold"):
            done = [ids[queue_id] for queue_id in _DONE.findall(said) if queue_id in ids]
            self._ledger.answered(wish, done, time.time())

    def _everything(self, _rng, _entries, option, wish):
        self._ledger.ask_all(wish)
        self._run("postsuper", option, "ALL")
        self._ledger.ask_all_ends()

    def _delete_held(self, _rng, _entries):
        if not self.follow_jobs():
            return
        held = {messages.id_of_sender(entry["sender"]) for entry in self._product.entries()
                if entry["queue_name"] == "hold"} - {None}
        self._ledger.ask_all("remove held")
        self._to_be_deleted, self._delete_seen = held, False
        done, _ = self._run("postsuper", "-d", "ALL", "hold")
        self._ledger.ask_all_ends()
        if done:
            self._ledger.answered("remove", held, time.time())
            self._forget_delete()

    def _purge(self, _rng, _entries):
        before = self._ledger.acknowledged_ids()
        self._ledger.ask_all("remove")
        done, _ = self._run("postsuper", "-d", "ALL")
        self._ledger.ask_all_ends()
        if done:
            self._ledger.answered("remove", before, time.time())

    def _flush(self, _rng, _entries):
        self._run("postqueue", "-f")
