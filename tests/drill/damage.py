"""./dev drill damage: bits of a queue's files are flipped while it is down.

A queue with some hundred messages, deferred, held and new, in the store's files and in the log, is
made once. In each round a copy of it is damaged at places that follow from the round's seed, the
server starts on it, and everything may be delivered.

Either it starts: then what arrives is as it was sent, and each message has arrived, is in corrupt,
or is named by `queue verify` or in the log. Or it refuses to start and says which file is damaged;
then it has changed nothing: with the bits flipped back everything arrives. Where it says that the
log can be repaired, `queue repair` makes it start without them: then mail that only the log had may
be missing too.

Ends with 0 when that was so, with 1 otherwise.
"""

import contextlib
import json
import random
import re
import shutil
import subprocess
import time

import ledger
import load
import messages
import options
import product
import sink
from deadlines import Missed, wait_until
from options import say

_ROUNDS = 40
_CONNECTIONS = 4
_STORED_EACH = 75  # messages in the store's files, for each connection
_LOGGED_EACH = 15  # and in the log only
_HELD = 40
_FILLER_BYTES = 4_600_000
_FILLERS_MAX = 14
_FLIPS = (1, 1, 1, 3, 20)
# Rows come first in a table; damage of what lies behind them keeps it from being opened.
_REACH = (0.6, 0.6, 0.6, 1.0)
_LOG_SHARE = 0.3
# Of the log's rounds: where replay reads. Elsewhere it goes on.
_NEEDED_SHARE = 0.5
_SECONDS_MAX = 30.0
_DRAIN_SECONDS_MAX = 20.0
_LOOKS_AT_ALL = "mail is found by looking at all of it"
_LOOK_SECONDS_MAX = 75.0
_QUIET_SECONDS = 3.0
_REPAIR = "queue repair"
# How ids begin: of mail in the store's files, in the log only, and of what fills.
_STORED, _LOGGED, _FILLING = "s", "l", "f"


def parse_arguments(words):
    parser = options.parser("damage", __doc__, _ROUNDS)
    parser.add_argument("--at", metavar="FAMILY@OFFSET,...", help="bits of tables of column families, in every round")
    return options.parse(parser, words)


class _Writer(messages.Writer):
    """One or more recipients that are deferred until the end; bodies in rows, in blob files, in chunks."""

    def pause_seconds(self, longest):
        return 0

    def _recipients(self):
        addresses = [f"later{number}@{messages.LATER_DOMAIN}" for number in range(3)]
        return tuple(self._rng.sample(addresses, self._rng.choice((1, 1, 3))))

    def _bytes(self):
        low, high = self._rng.choices(((1, 900), (1_100, 16_000), (16_000, 300_000)), (50, 45, 5))[0]
        return self._rng.randint(low, high)


class _Filler(messages.Writer):
    """The store writes its files once its buffers are full."""

    def next(self):
        self._count += 1
        body = (b"f" * 76 + b"\n") * (_FILLER_BYTES // 77)
        return messages.Message(f"{self._prefix}.{self._count}", 0, (f"later1@{messages.LATER_DOMAIN}",), body)


class Damage:
    def __init__(self, folder, bin_folder, seed, patient):
        self._seed = seed
        self._patient = patient  # waits for mail whose index is damaged
        self._owed_last, self._owed_since = None, 0.0
        tree = folder / "tree"
        tree.mkdir()
        self._base = folder / "base"
        self._sent = []
        self._queue_ids = {}
        self._sink = sink.Sink(ledger.Ledger(), seed, 0.0)
        self._server = product.Product(bin_folder, folder, tree, self._sink.port)
        self.findings = []
        self.refused = 0
        # Of the messages of rounds in which it started.
        self.counts = dict.fromkeys(("delivered", "corrupt", "named", "waiting", "left out", "given up"), 0)
        self.repaired = 0

    def close(self):
        self._server.kill()
        self._sink.close()

    # The queue

    def make_queue(self):
        self._start()
        self._send(_STORED, _Writer, _STORED_EACH)
        self._wait_until_all_are_deferred()
        held = [entry["queue_id"] for entry in self._server.entries()[:_HELD]]
        self._server.run("postsuper", *(word for queue_id in held for word in ("-h", queue_id)))
        self._fill_store()
        self._send(_LOGGED, _Writer, _LOGGED_EACH)
        for entry in self._server.entries():
            self._queue_ids[messages.id_of_sender(entry["sender"])] = entry["queue_id"]
        self._server.stop()
        shutil.move(self._server.queue, self._base)
        files = sorted(path.stat().st_size for path in self._base.rglob("*") if path.suffix in (".sst", ".blob"))
        say(f"{len(self._sent)} messages, {len(files)} files of the store, {sum(files)} bytes")

    def _start(self):
        if not self._server.start({}):
            raise product.ProductError(f"does not start\n{self._server.last_words()}")

    def _send(self, prefix, kind, share):
        account = self._sink.ledger
        rng = random.Random(f"{self._seed} {prefix}")
        writers = [kind(0, f"{prefix}{number}", random.Random(rng.random()), share) for number in range(_CONNECTIONS)]
        senders = load.Load(self._server.port, account, writers)
        senders.start()
        if not senders.finished.wait(_SECONDS_MAX):
            raise product.ProductError("does not take the mail")
        senders.stop()
        if kind is _Writer:
            self._sent = account.acknowledged_messages()

    def _wait_until_all_are_deferred(self):
        wait_until("all messages deferred", lambda: all(
            recipient.get("delay_reason") for entry in self._server.entries() for recipient in entry["recipients"]),
            _SECONDS_MAX, poll_seconds=0.1)

    def _fill_store(self):
        """Until what was sent before is in its files; what filled it goes again."""
        sent = self._sink.ledger.acknowledged_messages()
        def is_written():
            return any(path.stat().st_size > 4 << 20 for path in (self._server.queue / "postfleet/state").glob("*.blob"))
        for number in range(_FILLERS_MAX):
            if is_written():
                break
            self._send(f"{_FILLING}{number}n", _Filler, 1)
        wait_until("a flush of the store", is_written, _SECONDS_MAX)
        ids = {message.id for message in sent}
        fillers = [entry["queue_id"] for entry in self._server.entries()
                   if messages.id_of_sender(entry["sender"]) not in ids]
        self._server.run("postsuper", *(word for queue_id in fillers for word in ("-d", queue_id)))
        self._sink.ledger.forget(lambda message: message.id not in ids)

    # A round

    def run(self, seed, place=None):
        rng = random.Random(seed)
        self._put_back()
        flips = self._flip(rng, place)
        said = ", ".join(f"{path.name} ({_family_of(path)}) @{offset}" for path, offset, _ in flips[:4])
        say(f"--seed {seed}: {len(flips)} bits: {said}{', ...' if len(flips) > 4 else ''}")
        account = self._new_account()
        log_begin = self._server.log_path.stat().st_size
        begin = time.monotonic()
        started = self._server.start({})
        if started:
            outcome = self._account_for(account, seed, log_begin)
        else:
            outcome = self._check_refusal(account, seed, log_begin, flips)
            if _REPAIR in outcome:
                outcome += "; " + self._check_repair(seed, flips)
        say(f"    {outcome}, {time.monotonic() - begin:.1f} s")

    def _put_back(self):
        self._server.kill()
        shutil.rmtree(self._server.queue, ignore_errors=True)
        subprocess.run(["cp", "-a", self._base, self._server.queue], check=True)

    def _flip(self, rng, place):
        """[(file, offset, bit)]; in the log, or in the store's tables and blob files."""
        folder = self._server.queue / "postfleet"
        if rng.random() < _LOG_SHARE:
            paths, count = sorted(folder.glob("log/*.seg")), 1
        else:
            paths = sorted(path for path in folder.glob("state/*") if path.suffix in (".sst", ".blob"))
            count = rng.choice(_FLIPS)
        flips = []
        reach = rng.choice(_REACH)
        if place:
            for family, _, offset in (each.partition("@") for each in place.split(",")):
                path = next(path for path in sorted(folder.glob("state/*.sst")) if _family_of(path) == family)
                flips.append((path, int(offset), 1))
            count = 0
        for _ in range(count):
            path = rng.choice(paths)
            # What fills lies behind what counts.
            offset = int(path.stat().st_size * reach * rng.random() ** (4 if path.stat().st_size > 1 << 20 else 1))
            if path.suffix == ".seg" and rng.random() < _NEEDED_SHARE:
                path, offset = self._place_that_replay_needs(paths, rng)
            flips.append((path, offset, 1 << rng.randrange(8)))
        _apply(flips)
        return flips

    def _place_that_replay_needs(self, segments, rng):
        """In a message that only the log has, or near it."""
        key = rng.choice([message.id for message in self._sent if message.id.startswith(_LOGGED)]).encode()
        for path in reversed(segments):
            at = path.read_bytes().find(key)
            if at >= 0:
                return path, at + rng.randrange(-100, 100)
        raise product.ProductError(f"{key.decode()} is not in the log")

    def _new_account(self):
        account = ledger.Ledger()
        account.round = 1
        for message in self._sent:
            account.sending(message)
            account.acknowledged(message)
        self._sink.ledger = account
        self._sink.opened = True
        return account

    def _find(self, seed, text):
        self.findings.append(f"--seed {seed}: {text}")
        say(f"FOUND: {text}")

    def _log_since(self, begin):
        with open(self._server.log_path, "rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def _check_refusal(self, account, seed, log_begin, flips):
        self.refused += 1
        log = self._log_since(log_begin)
        fatal = re.findall(r"fatal: (.*)", log)
        names = {path.name for path, _, _ in flips}
        if not any(name in text for text in fatal for name in names):
            self._find(seed, f"refused, and names none of {sorted(names)}: {fatal or log[-500:]}")
        self._server.kill()
        _apply(flips)
        if not self._server.start({}):
            self._find(seed, f"the bits are flipped back, and it does not start: {self._log_since(log_begin)[-500:]}")
            return "refused"
        self._deliver(account, log_begin)
        for key in account.owed():
            self._find(seed, f"{key}: the bits are flipped back, and it does not arrive")
        return f"refused: {fatal[0] if fatal else '?'}"

    def _check_repair(self, seed, flips):
        self._put_back()
        _apply(flips)
        account = self._new_account()
        log_begin = self._server.log_path.stat().st_size
        try:
            given_up = self._server.run("queue", "repair")
        except product.ProductError as error:
            self._find(seed, f"is not repaired: {error}")
            return "not repaired"
        if not self._server.start({}):
            self._find(seed, f"is repaired, and does not start: {self._log_since(log_begin)[-500:]}")
            return "not repaired"
        self.repaired += 1
        return f"repaired ({len(given_up.splitlines())} places): " + self._account_for(
            account, seed, log_begin, given_up)

    def _deliver(self, account, log_begin):
        self._server.release_all()
        def is_over():
            return not account.owed() or not self._server.entries()
        # Without its index, mail that is due is found by looking at all of it, now and then.
        try:
            wait_until("all mail delivered", is_over, _DRAIN_SECONDS_MAX, poll_seconds=0.05,
                       hopeless=lambda: not self._patient and self._is_quiet(account))
        except Missed:
            if self._patient and _LOOKS_AT_ALL in self._log_since(log_begin):
                with contextlib.suppress(Missed):
                    wait_until("the rest of it", is_over, _LOOK_SECONDS_MAX, poll_seconds=0.5)

    def _corrupt(self):
        """Queue ids. With a damaged index the command says so: then the log has them."""
        try:
            lines = self._server.run("queue", "list", "-j", "corrupt").splitlines()
        except product.ProductError as error:
            if "Corruption: " in str(error):
                return set()
            raise
        return {json.loads(line)["queue_id"] for line in lines}

    def _is_quiet(self, account):
        """Nothing has arrived for a while."""
        owed = len(account.owed())
        now = time.monotonic()
        if owed != self._owed_last:
            self._owed_last, self._owed_since = owed, now
        return now - self._owed_since > _QUIET_SECONDS

    def _account_for(self, account, seed, log_begin, given_up=""):
        try:
            self._deliver(account, log_begin)
            corrupt = self._corrupt()
            unsound = self._server.verified()
            listed = {entry["queue_id"] for entry in self._server.entries()}
        except product.ProductError as error:
            if not self._server.running():
                self._find(seed, f"ended by itself: {self._log_since(log_begin)[-800:]}")
            else:
                self._find(seed, str(error))
            return "started"
        log = self._log_since(log_begin)
        owed = account.owed()
        names = named_ids(unsound, log, self._queue_ids.values())
        counts = dict.fromkeys(self.counts, 0)
        counts["delivered"] = len(self._sent) - len({key[0] for key in owed})
        for message_id in sorted({key[0] for key in owed}):
            queue_id = self._queue_ids[message_id]
            if queue_id in corrupt:
                counts["corrupt"] += 1
            elif queue_id in names:
                counts["named"] += 1
            elif queue_id in listed and _LOOKS_AT_ALL in log and not self._patient:
                counts["waiting"] += 1
            elif queue_id in listed:
                self._find(seed, f"{queue_id} is listed, and is not delivered")
            elif "torn tail" in log:
                counts["left out"] += 1
            elif given_up and message_id.startswith(_LOGGED):
                counts["given up"] += 1
            else:
                self._find(seed, f"{queue_id} has vanished")
        for finding in account.findings:
            # Given up may be that what filled was deleted.
            if not (given_up and _is_filler(finding.text)):
                self._find(seed, finding.text)
        for name, count in counts.items():
            self.counts[name] += count
        return "started, " + ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _family_of(path):
    """What a file belongs to; a table says it in its properties."""
    if path.suffix != ".sst":
        return {".seg": "log", ".blob": "body"}[path.suffix]
    found = re.search(rb"column\.family\.id.{1,12}?name([a-z]+)", path.read_bytes(), re.DOTALL)
    return found[1].decode() if found else "?"


def _is_filler(finding):
    return f"not as it was sent: ('{_FILLING}" in finding


def named_ids(unsound, log, queue_ids):
    """Those that `queue verify` names, one by one or as what lay between two, or that a warning of the log does."""
    warned = "\n".join(line for line in log.splitlines() if re.search(r"\b(warning|error|fatal)\b", line))
    named = set(re.findall(r"\b[0-9A-Za-z]{10,20}\b", unsound + "\n" + warned))
    for behind, before in re.findall(r"^message rows(?: behind (\w+))?(?: before (\w+)| to the last)? cannot be read",
                                     unsound, re.MULTILINE):
        named |= {queue_id for queue_id in queue_ids if behind < queue_id and (not before or queue_id < before)}
    return named


def _apply(flips):
    """A second time: takes them back."""
    for path, offset, bit in flips:
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ bit]))


def main(argv):
    arguments = parse_arguments(argv)
    with options.folder(arguments) as root:
        say(f"./dev drill damage --seed {arguments.seed} --rounds {arguments.rounds}, in {root}")
        folder = root / "drill"
        folder.mkdir()
        drill = Damage(folder, root / "bin", arguments.seed, not arguments.short)
        begin = time.monotonic()
        try:
            drill.make_queue()
            for index in range(arguments.rounds):
                drill.run(arguments.seed + index, arguments.at)
        finally:
            drill.close()
        for finding in drill.findings:
            say(finding)
        say(f"{arguments.rounds} rounds in {time.monotonic() - begin:.0f} s: {drill.refused} refused to start, "
            f"{arguments.rounds - drill.refused} started, {drill.repaired} were repaired; messages of those: "
            + ", ".join(f"{name} {count}" for name, count in drill.counts.items()))
        say(f"findings: {len(drill.findings)}")
        return 1 if drill.findings else 0
