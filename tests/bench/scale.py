#!/usr/bin/env python3
"""./dev bench scale: what a full queue costs. Fills it with deferred messages of 4 KiB and measures
everything beside its target. README.md, "A full queue", says how to read it.

Prints a Markdown table to standard output, progress to standard error. Ends with 1 when a target is
missed or a measurement failed, with 2 when nothing can be measured.
"""

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import socket
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
import scale_node
from postfix_node import PostfixNode
from scale_node import ScaleError
from target_table import Table

_ROOT = Path(__file__).resolve().parents[2]
_FIRST_MESSAGES = 10_000  # memory is compared with that at so many
_POSTFIX_MESSAGES = 20_000
_AT_ONCE_MESSAGES = 50_000
_DISK_BYTES_PER_MESSAGE = 12_000
_FAILURES = (ScaleError, measure.RunError, node.NodeError, load.LoadError)


def say(text):
    print(f"scale: {text}", file=sys.stderr, flush=True)


class Scale:
    """The measurements, in the order in which one queue can have them all."""

    def __init__(self, arguments, root, enter, stack):
        self._arguments, self._root, self._enter, self._stack = arguments, root, enter, stack
        self.table = Table(say)
        self._count = 0  # instances so far
        self._messages = 0
        self._sink = stack.enter_context(contextlib.closing(load.Sink(50, enter)))
        # Who connects shows that a delivery began. Closed once that was seen; its port stays nobody's.
        self._probe = stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0))))
        self._probe_port = self._probe.getsockname()[1]
        self.full = self._make_node()

    def _make_node(self, node_class=None):
        self._count += 1
        made = node_class or scale_node.FullNode
        folder = self._root / f"{made.name}-{self._count}"
        folder.mkdir(mode=0o755)
        account = accounting.open_account(folder.name)
        self._stack.callback(account.close)
        if node_class is not None:
            return made(folder, account, scale_node.ROW, self._probe_port, "defer_transports")
        return made(folder, account, self._probe_port, self._sink.port)

    @contextlib.contextmanager
    def _running(self, instance):
        instance.start()
        try:
            yield instance
        except BaseException:
            instance.abandon()
            raise
        instance.stop()
        if not self._arguments.keep:
            shutil.rmtree(instance.folder, ignore_errors=True)

    def run(self):
        with self._running(self.full):
            for step in (self.fill, self.accept_pairs, self.listings, self.at_once, self.churn,
                         self.hold_and_release, self.kill, self.flush, self.delete):
                try:
                    step()
                except _FAILURES as error:
                    self.table.failed(step.__name__, error)
                    print(error, file=sys.stderr)
                    if not self.full.running():
                        break

    def fill(self):
        first = min(_FIRST_MESSAGES, self._arguments.messages)
        scale_node.accept(self.full, first, self._enter)
        scale_node.wait_until_idle(self.full)
        at_first = self.full.memory_bytes()
        say(f"{at_first / 1e6:.0f} MB with {first:,} messages; filling up to {self._arguments.messages:,}")
        left = self._arguments.messages - first
        written = self.full.written_bytes()
        if left > 0:
            run = scale_node.accept(self.full, left, self._enter)
            say(f"filled at {run.rate:,.0f}/s, {run.cpu_per_thousand:.3f} CPU s per 1,000")
        idle = scale_node.wait_until_idle(self.full)
        self._messages = self._arguments.messages
        at_all = self.full.memory_bytes()
        self.table.add(f"memory with {self._messages:,} messages", f"{at_all / 1e6:.0f} MB", "< 500 MB",
                       at_all < 500e6)
        self.table.add(f"memory above that with {first:,}", f"{(at_all - at_first) / 1e6:.0f} MB",
                       "<= 60 MB", at_all - at_first <= 60e6)
        if left > 0:
            self._add_written("a message accepted and deferred", written, left, None)
            say(f"idle after {idle:.0f} s")

    def _add_written(self, what, before, count, ratio_max):
        """Bytes written since `before`. The target is the disk's; where that cannot be read, the
        processes' must meet it."""
        device, processes = (
            None if now is None else (now - then) / count / scale_node.CONTENT_BYTES
            for now, then in zip(self.full.written_bytes(), before))
        ratio = processes if device is None else device
        figure = f"{processes:.2f} x its size in whole pages"
        if device is not None:
            figure = f"{device:.2f} x its size ({processes:.2f} x in whole pages)"
        self.table.add(f"bytes written, {what}", figure, f"< {ratio_max} x" if ratio_max else "",
                       ratio < ratio_max if ratio_max else None)

    def accept_pairs(self):
        count = self._arguments.pair_messages
        ratios = {"rate": [], "cpu": []}
        for pair in range(self._arguments.pairs):
            runs = {}
            for side in ("full", "empty") if pair % 2 == 0 else ("empty", "full"):
                os.sync()
                if side == "full":
                    runs[side] = scale_node.accept(self.full, count, self._enter)
                    self._messages += count
                    scale_node.wait_until_idle(self.full)
                else:
                    with self._running(self._make_node()) as empty:
                        scale_node.accept(empty, 1_000, self._enter)  # as warm as the full one
                        runs[side] = scale_node.accept(empty, count, self._enter)
            ratios["rate"].append(runs["full"].rate / runs["empty"].rate)
            ratios["cpu"].append(runs["full"].cpu_per_thousand / runs["empty"].cpu_per_thousand)
            say(f"pair {pair + 1}: full {runs['full'].rate:,.0f}/s {runs['full'].cpu_per_thousand:.3f}"
                f" s, empty {runs['empty'].rate:,.0f}/s {runs['empty'].cpu_per_thousand:.3f} s")
        rate, cpu = statistics.median(ratios["rate"]), statistics.median(ratios["cpu"])
        self.table.add("accept rate, full over empty", f"{rate:.2f}", ">= 0.85", rate >= 0.85)
        self.table.add("CPU per 1,000 accepted, full over empty", f"{cpu:.2f}", "<= 1.15", cpu <= 1.15)

    def listings(self):
        command = self.full.command("postqueue", "-p")
        start = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        page = b""
        while page.count(b"\n") < 25 and (block := os.read(child.stdout.fileno(), 65536)):
            page += block
        seconds = time.monotonic() - start
        child.stdout.close()
        child.wait()
        if page.count(b"\n") < 25:
            raise ScaleError(f"postqueue -p printed {page[-500:]!r}")
        self.table.add("first page of postqueue -p", f"{seconds * 1000:.0f} ms", "< 200 ms",
                       seconds < 0.2)
        output, seconds = scale_node.run_timed(
            ["sh", "-c", '"$0" "$@" | tail -1', *map(str, command)])
        if f"in {self._messages} Requests" not in output:
            raise ScaleError(f"postqueue -p ended with {output.strip()!r}, not {self._messages} messages")
        target = 10.0 * max(self._arguments.messages, 100_000) / 1e6
        self.table.add(f"postqueue -p over all {self._messages:,}", f"{seconds:.1f} s",
                       f"< {target:.0f} s", seconds < target)

    def _send_at_once(self, count):
        """Until the sink has them; returns the seconds."""
        before = self._sink.messages()
        start = time.monotonic()
        with contextlib.closing(load.Source(scale_node.ROW, self.full.port,
                                            f"user@{scale_node.NOW_DOMAIN}", count, self._enter)) as source:
            moved, seen = start, before
            while self._sink.messages() - before < count:
                if self._sink.messages() != seen:
                    seen, moved = self._sink.messages(), time.monotonic()
                if source.ended() and (complaint := source.complaint()):
                    raise ScaleError(complaint)
                if time.monotonic() - moved > 30:
                    raise ScaleError(f"{seen - before} of {count} messages came")
                time.sleep(0.02)
        return time.monotonic() - start

    def at_once(self):
        scale_node.wait_until_idle(self.full)
        before = self.full.written_bytes()
        seconds = self._send_at_once(_AT_ONCE_MESSAGES)
        scale_node.wait_until_idle(self.full)
        say(f"{_AT_ONCE_MESSAGES / seconds:,.0f}/s accepted and delivered")
        self._add_written("a message accepted and delivered at once", before, _AT_ONCE_MESSAGES, 2.2)

    def churn(self):
        minutes = self._arguments.churn
        if minutes == 0:
            return
        curve = []
        count = 10**8  # more than can be sent
        with contextlib.closing(load.Source(scale_node.ROW, self.full.port,
                                            f"user@{scale_node.NOW_DOMAIN}", count, self._enter)) as source:
            for minute in range(minutes):
                before, start = self._sink.messages(), time.monotonic()
                while time.monotonic() - start < 60:
                    if source.ended():
                        raise ScaleError(f"smtp-source ended: {source.complaint()}")
                    self._sink.read_counter()
                    time.sleep(0.2)
                curve.append((self._sink.messages() - before) / (time.monotonic() - start))
                say(f"churn, minute {minute + 1}: {curve[-1]:,.0f}/s, "
                    f"{self.full.memory_bytes() / 1e6:.0f} MB")
        part = max(1, minutes // 3)
        ratio = statistics.median(curve[-part:]) / statistics.median(curve[:part])
        self.table.add(f"churn over {minutes} minutes, /s", " ".join(f"{rate:.0f}" for rate in curve),
                       "", None)
        self.table.add("its last third over its first", f"{ratio:.2f}", ">= 0.85", ratio >= 0.85)

    def hold_and_release(self):
        for option, what in (("-h", "postsuper -h ALL"), ("-H", "postsuper -H ALL")):
            scale_node.wait_until_idle(self.full)
            _, seconds = self.full.run("postsuper", option, "ALL")
            self.table.add(what, f"{seconds:.1f} s, {self._messages / seconds:,.0f}/s", "", None)
        seconds = scale_node.wait_until_idle(self.full)
        say(f"released mail was deferred again after {seconds:.0f} s")

    def kill(self):
        # What was not flushed is replayed.
        scale_node.accept(self.full, 5_000, self._enter)
        self._messages += 5_000
        seconds = self.full.start_again()
        self.table.add("accepting again after SIGKILL", f"{seconds:.1f} s", "< 5 s", seconds < 5)

    def flush(self):
        scale_node.wait_until_idle(self.full)
        start = time.monotonic()
        with subprocess.Popen(self.full.command("postqueue", "-f"), stderr=subprocess.DEVNULL) as child:
            if not select.select([self._probe], [], [], 30.0)[0]:
                raise ScaleError("no delivery began within 30 s")
            seconds = time.monotonic() - start
            # Nobody is there: each attempt is deferred again.
            self._probe.close()
            child.wait()
        self.table.add(f"first delivery after a flush of {self._messages:,}", f"{seconds:.2f} s", "< 1 s",
                       seconds < 1)
        say(f"settled after {scale_node.wait_until_idle(self.full):.0f} s")

    def delete(self):
        output, seconds = self.full.run("postsuper", "-d", "ALL")
        say(output.strip().splitlines()[-1] if output.strip() else "postsuper -d ALL said nothing")
        left, _ = self.full.run("postqueue", "-p")
        if "Mail queue is empty" not in left:
            raise ScaleError(f"postsuper -d ALL left mail: {left[-200:]!r}")
        rate = self._messages / seconds
        theirs = self._postfix_delete_rate()
        figure = f"{seconds:.1f} s, {rate:,.0f}/s"
        if theirs is not None:
            self.table.add("postsuper -d ALL, beside Postfix's rate",
                           f"{figure}; Postfix {theirs:,.0f}/s, {rate / theirs:.0f} x", ">= 10 x",
                           rate >= 10 * theirs)
        else:
            self.table.add("postsuper -d ALL", figure, "", None)
        scale_node.wait_until_idle(self.full)
        used = sum(file.stat().st_blocks * 512 for file in self.full.queue.rglob("*") if file.is_file())
        self.table.add("disk in use after it", f"{used / 1e6:.0f} MB", "", None)

    def _postfix_delete_rate(self):
        if self._arguments.no_postfix or os.geteuid() != 0:
            return None
        say(f"filling Postfix with {_POSTFIX_MESSAGES:,} messages")
        with self._running(self._make_node(PostfixNode)) as postfix:
            scale_node.accept(postfix, _POSTFIX_MESSAGES, self._enter)
            _, seconds = scale_node.run_timed(
                [load.program("postsuper"), "-c", postfix.config, "-d", "ALL"])
        return _POSTFIX_MESSAGES / seconds


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench scale", description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000, help="deferred messages (1,000,000)")
    parser.add_argument("--ci", action="store_true", help="100,000 messages, 2 minutes of churn")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of accept runs (5)")
    parser.add_argument("--pair-messages", type=int, default=20_000, help="messages of such a run (20,000)")
    parser.add_argument("--churn", type=int, metavar="MINUTES", default=60, help="of churn (60); 0: none")
    parser.add_argument("--no-postfix", action="store_true", help="without Postfix's rate beside it")
    parser.add_argument("--folder", default="/var/tmp", help="where the queues lie (/var/tmp)")
    parser.add_argument("--json", metavar="FILE", help="write the table there too")
    parser.add_argument("--keep", action="store_true", help="keep queues and logs")
    parser.add_argument("--postfleet", default=_ROOT / "dist/bin/postfleet", metavar="PROGRAM")
    arguments = parser.parse_args()
    if arguments.ci:
        arguments.messages, arguments.churn = 100_000, min(arguments.churn, 2)
    return arguments


def main():
    arguments = parse_arguments()
    scale_node.FullNode.program = Path(arguments.postfleet).resolve().parent / "postfleet"
    if not os.access(scale_node.FullNode.program, os.X_OK):
        say(f"{scale_node.FullNode.program} does not exist: run ./dev build first")
        return 2
    needed = arguments.messages * _DISK_BYTES_PER_MESSAGE
    if scale_node.free_bytes(arguments.folder) < needed:
        say(f"{arguments.folder} has not {needed / 1e9:.0f} GB free")
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    root = Path(tempfile.mkdtemp(prefix="postfleet-scale-", dir=arguments.folder))
    root.chmod(0o755)
    alive = None if arguments.keep else guard.start(root)
    scale = None
    try:
        with contextlib.ExitStack() as stack:
            load_account = stack.enter_context(contextlib.closing(accounting.open_account("load")))
            scale = Scale(arguments, root, load_account.enter, stack)
            scale.run()
    except _FAILURES as error:
        say(error)
        return 1
    finally:
        if scale is not None:
            print(scale.table.markdown())
            if arguments.json:
                Path(arguments.json).write_text(json.dumps(scale.table.lines, indent=1) + "\n")
        if arguments.keep:
            say(f"kept {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
        if alive is not None:
            os.close(alive)
    return 1 if scale.table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
