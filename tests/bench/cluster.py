#!/usr/bin/env python3
"""./dev bench cluster: three replicas on this one machine, synced on a majority, beside Postfix alone. README.md, "The
cluster", says how to read it.

Prints a Markdown table to standard output, progress to standard error. Ends with 1 when a target is missed or a measurement
failed, with 2 when nothing can be measured.
"""

import argparse
import contextlib
import os
import shutil
import signal
import smtplib
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "node"))

import accounting
import comparison
import guard
import load
import measure
import node
import rows
from cluster_node import ClusterNode
from postfix_node import PostfixNode
from target_table import Table

_ROOT = Path(__file__).resolve().parents[2]
# The least ratio of rates, the greatest one of CPU seconds per message (None: not asked for).
_TARGETS = {"accept_4k": (1.5, None), "relay_4k": (1.5, 0.5), "relay_100k": (1.0, 0.5)}
_LATENCY_INTERVAL_SECONDS = 0.05
_PACING_SECONDS = 0.005
_FAILURES = (measure.RunError, node.NodeError, load.LoadError)


def say(text):
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench cluster", description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="row", help=f"default: {' '.join(_TARGETS)}")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs per row (5)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a run (20)")
    parser.add_argument("--keep", action="store_true", help="keep queues and logs")
    parser.add_argument("--bin", type=Path, default=_ROOT / "dist/bin", metavar="DIR", help="the programs")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(_TARGETS):
        parser.error(f"no row {' '.join(sorted(unknown))}; rows: {' '.join(_TARGETS)}")
    return arguments


class CountedNode(ClusterNode):
    """Remembers what its last run used."""

    by_service = {}  # of the last run: {service: CPU seconds}
    per_sync = None

    def stop(self):
        if self.running():
            with contextlib.suppress(OSError, KeyError, AttributeError):
                CountedNode.by_service = self.cpu_by_service()
                CountedNode.per_sync = self.messages_per_sync()
        super().stop()


def compare(arguments, setup, table):
    ours = comparison.Side("cluster", CountedNode)
    theirs = comparison.Side("postfix", PostfixNode)
    runner = comparison.Comparison([ours, theirs], setup, comparison.Options(arguments.pairs, arguments.seconds, True))
    for name in arguments.rows or _TARGETS:
        row = rows.row_named(name)
        outcome = runner.run(row)
        rate_min, cpu_max = _TARGETS[name]
        mine, others = (outcome.median(label, lambda result: result.rate) for label in ("cluster", "postfix"))
        ratio = outcome.median_ratio("cluster", "postfix", lambda result: result.rate)
        table.add(f"{name}: {mine:,.0f}/s, Postfix {others:,.0f}/s", f"{ratio:.2f}x", f"{rate_min}x", ratio >= rate_min)
        cpu = outcome.median_ratio("cluster", "postfix", lambda result: result.cpu_per_thousand)
        seconds = outcome.median("cluster", lambda result: result.cpu_per_thousand)
        table.add(f"{name}: CPU over all services, {seconds:.2f} s per 1,000", f"{cpu:.2f} of Postfix's",
                  f"{cpu_max}" if cpu_max else "", cpu <= cpu_max if cpu_max else None)
        total = sum(CountedNode.by_service.values()) or 1.0
        table.add(f"{name}: CPU by service", ", ".join(
            f"{service} {100 * used / total:.0f} %" for service, used in CountedNode.by_service.items()), "", None)
        if CountedNode.per_sync:
            table.add(f"{name}: new messages in one sync, mean of the last run", f"{CountedNode.per_sync:.1f}", "", None)
    return ours


def measure_latency(arguments, setup, rate, table):
    """Of the 250, from the final dot on, while half of what can be accepted comes in."""
    row = rows.row_named("accept_4k")
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="latency-", dir=setup.root))
        folder.chmod(0o755)
        account = stack.enter_context(contextlib.closing(accounting.open_account(folder.name)))
        server = ClusterNode(folder, account, row, 9, "defer_transports")
        try:
            server.start()
            count = int(rate / 2 * arguments.seconds)
            source = stack.enter_context(contextlib.closing(
                load.PacedSource(row, server.port, server.recipient, count, setup.load_account.enter, rate / 2)))
            seconds = sample(server, source)
        except BaseException:
            server.abandon()
            raise
        server.stop()
    cuts = statistics.quantiles(seconds, n=100)
    table.add(f"the 250 at {rate / 2:,.0f} messages a second: p50, p99 of {len(seconds)}",
              f"{cuts[49] * 1000:.1f} ms, {cuts[98] * 1000:.1f} ms", "", None)


def sample(server, source):
    """Over a connection of its own, one message after another."""
    text = ("Subject: how long\r\n\r\n" + "x" * 4_000 + "\r\n.\r\n").encode()
    seconds = []
    with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
        client.ehlo()
        due = time.monotonic()
        while not source.ended():
            source.poll()
            if time.monotonic() < due:
                time.sleep(_PACING_SECONDS)
                continue
            due += _LATENCY_INTERVAL_SECONDS
            client.mail("a@client.example")
            client.rcpt(server.recipient)
            client.docmd("data")
            begin = time.monotonic()
            client.send(text)
            code, reply = client.getreply()
            if code != 250:
                raise measure.RunError(f"{code} {reply.decode()}\n{server.last_words()}")
            seconds.append(time.monotonic() - begin)
    return seconds


def end_in_order(number, _frame):
    raise SystemExit(128 + number)


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        print("bench: Postfix can only be started by root", file=sys.stderr)
        return 2
    if not os.access(arguments.bin / "postfleet-queued", os.X_OK):
        print(f"bench: {arguments.bin} has no programs: run ./dev build first", file=sys.stderr)
        return 2
    ClusterNode.binaries = arguments.bin.resolve()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end_in_order)
    root = Path(tempfile.mkdtemp(prefix="postfleet-bench-", dir="/tmp"))
    root.chmod(0o755)
    alive = None
    table = Table(say)
    try:
        alive = None if arguments.keep else guard.start(root)
        with contextlib.closing(accounting.open_account("load")) as load_account:
            setup = measure.Setup(root, load_account, "defer_transports", arguments.keep)
            ours = compare(arguments, setup, table)
            if rate := ours.median_rates.get("accept_4k"):
                measure_latency(arguments, setup, rate, table)
    except _FAILURES as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        if arguments.keep:
            print(f"bench: kept {root}", file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)
        if alive is not None:
            os.close(alive)
    print(table.markdown())
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
