#!/usr/bin/env python3
"""./dev bench hostile: what clients that hold a server up cost one that does not. README.md, "Hostile clients", says how
to read it.

Prints a Markdown table to standard output, progress to standard error. Ends with 1 when a target is missed or a measurement
failed, with 2 when nothing can be measured.
"""

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "node"))

import accounting
import guard
import load
import measure
import node
import rows
from postfix_node import PostfixNode
from postfleet_node import PostfleetNode
from target_table import Table

_ROOT = Path(__file__).resolve().parents[2]
_ROW = rows.Row("hostile", "accept", 4 * rows.KIB, sessions=20)
_MESSAGES = 10_000_000  # more than a window takes
_WARM_SECONDS = 2.0
_LOSS_MAX = 0.20
_IDLE_BYTES_MAX = 20_000
_READY_SECONDS_MAX = 90.0
_FAILURES = (measure.RunError, node.NodeError, load.LoadError)


def say(text):
    print(f"hostile: {text}", file=sys.stderr, flush=True)


class Hostile(contextlib.AbstractContextManager):
    """The clients of hostile_clients.py, in a process of their own."""

    def __init__(self, port, idle, slow, garbage, enter):
        self._child = subprocess.Popen(
            [sys.executable, "-B", str(Path(__file__).with_name("hostile_clients.py")), str(port), str(idle), str(slow),
             str(garbage)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: (enter(), load.raise_file_limit()))
        self.said = self._child.stdout.readline().strip()
        self.garbage_sessions = None

    def __exit__(self, *_):
        self._child.terminate()
        self.garbage_sessions = int(self._child.communicate(timeout=30)[0].strip() or 0)


class Bench:
    def __init__(self, arguments, root, enter, stack):
        self._arguments, self._root, self._enter, self._stack = arguments, root, enter, stack
        self.table = Table(say)

    @contextlib.contextmanager
    def _running(self, node_class):
        folder = Path(tempfile.mkdtemp(prefix=f"{node_class.name}-", dir=self._root))
        folder.chmod(0o755)
        account = accounting.open_account(folder.name)
        started = node_class(folder, account, _ROW, 9, "defer_transports")
        try:
            started.start()
            yield started
            started.stop()
        except BaseException:
            started.abandon()
            raise
        finally:
            account.close()

    def _rate(self, started):
        """Messages a second that a client with _ROW.sessions sessions gets rid of."""
        with contextlib.closing(load.Source(_ROW, started.port, started.recipient, _MESSAGES, self._enter,
                                            counter=True)) as source:
            time.sleep(_WARM_SECONDS)
            first, start = int(source.read_counter() or 0), time.monotonic()
            time.sleep(self._arguments.seconds)
            last, end = int(source.read_counter() or 0), time.monotonic()
            if source.ended() and last == 0:
                raise measure.RunError(source.complaint() or "smtp-source has ended")
        return (last - first) / (end - start)

    @staticmethod
    def _memory(started):
        sampler = accounting.MemorySampler(started.account)
        sampler.sample()
        return sampler.peak_bytes

    def _idle_memory(self, started):
        counts = self._arguments
        before = self._memory(started)
        with Hostile(started.port, counts.idle, 0, 0, self._enter) as hostile:
            if hostile.said != "ready":
                return None
            time.sleep(1.0)
            return (self._memory(started) - before) / counts.idle

    def _pairs(self, started):
        """[(rate alone, rate among the hostile)] and how often garbage came."""
        counts, found, garbage = self._arguments, [], []
        for _ in range(counts.pairs):
            alone = self._rate(started)
            with Hostile(started.port, counts.idle, counts.slow, counts.garbage, self._enter) as hostile:
                begun = time.monotonic()
                among = self._rate(started)
                seconds = time.monotonic() - begun
            garbage.append(hostile.garbage_sessions / seconds)
            found.append((alone, among))
            say(f"{started.name}: alone {alone:.0f}/s, among them {among:.0f}/s; {hostile.said}; "
                f"garbage came {garbage[-1]:.0f} times a second")
        return found, statistics.median(garbage)

    def run(self):
        counts = self._arguments
        crowd = f"{counts.idle:,} idle, {counts.slow} slow, {counts.garbage} with garbage"
        with self._running(PostfleetNode) as started:
            each = self._idle_memory(started)  # first: nothing that was freed is taken again
            self._rate(started)  # warm
            if each is None:
                self.table.add("memory of an idle connection", f"not all of {counts.idle} were let in", "", False)
            else:
                self.table.add("memory of an idle connection", f"{each / 1000:.1f} KB", f"under {_IDLE_BYTES_MAX // 1000} KB",
                               each < _IDLE_BYTES_MAX)
            pairs, garbage = self._pairs(started)
            kept = statistics.median(among / alone for alone, among in pairs)
            self.table.add(f"a normal client among {crowd}",
                           f"{statistics.median(among for _, among in pairs):,.0f} of "
                           f"{statistics.median(alone for alone, _ in pairs):,.0f} messages/s: {kept:.0%} are left",
                           f"over {1 - _LOSS_MAX:.0%}", kept > 1 - _LOSS_MAX)
            self.table.add("sessions of garbage", f"{garbage:,.0f} a second", "", None)
        if not counts.no_postfix and os.geteuid() == 0:
            with self._running(PostfixNode) as started:
                pairs, _ = self._pairs(started)
            self.table.add("the same with Postfix (200 processes)",
                           f"{statistics.median(among for _, among in pairs):,.0f} of "
                           f"{statistics.median(alone for alone, _ in pairs):,.0f} messages/s", "", None)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench hostile", description=__doc__.splitlines()[0])
    parser.add_argument("--idle", type=int, default=5000, help="clients that say nothing (5000)")
    parser.add_argument("--slow", type=int, default=500, help="clients that send a byte a second (500)")
    parser.add_argument("--garbage", type=int, default=200, help="clients that send nonsense (200)")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of runs, alone and among them (3)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a run (10)")
    parser.add_argument("--no-postfix", action="store_true", help="without Postfix beside it")
    parser.add_argument("--postfleet", default=_ROOT / "dist/bin/postfleet", metavar="PROGRAM")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    PostfleetNode.program = Path(arguments.postfleet).resolve().parent / "postfleet"
    if not os.access(PostfleetNode.program, os.X_OK):
        say(f"{PostfleetNode.program} does not exist: run ./dev build first")
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    root = Path(tempfile.mkdtemp(prefix="postfleet-hostile-", dir="/var/tmp"))
    root.chmod(0o755)
    alive = guard.start(root)
    bench = None
    try:
        with contextlib.ExitStack() as stack:
            load_account = stack.enter_context(contextlib.closing(accounting.open_account("load")))
            bench = Bench(arguments, root, load_account.enter, stack)
            bench.run()
    except _FAILURES as error:
        say(error)
        return 1
    finally:
        if bench is not None:
            print(bench.table.markdown())
        shutil.rmtree(root, ignore_errors=True)
        os.close(alive)
    return 1 if bench.table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
