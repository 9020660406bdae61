"""One run: a fresh MTA, a fresh sink, `count` messages, and what it took.

measure() reads from top to bottom: start, send, wait for the row's end, wait for what goes on
behind it, read the accounts, check that every message is accounted for, stop.
"""

import contextlib
import dataclasses
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import accounting
import load
import log_tail
import rows
import stock

_POLL_SECONDS = 0.02
_PACED_POLL_SECONDS = 0.005  # the length of a paced source's bursts
_LOG_POLL_SECONDS = 0.1
_STALL_SECONDS_MAX = 60.0  # nothing moves: the run has failed
_SETTLE_SECONDS_MAX = 120.0  # for outcomes to be logged after the row's end
_SETTLE_STALL_SECONDS_MAX = 10.0


class RunError(Exception):
    """A run whose figures would mean nothing; the text says why and shows the log's end."""


@dataclasses.dataclass
class Result:
    """Figures of one run. Rates are messages per second."""

    node: str
    row: str
    messages: int
    seconds: float  # to the row's end
    drained_seconds: float  # to the last logged outcome
    cpu_seconds: float  # the MTA
    peak_memory_bytes: int  # sum of PSS
    memory_samples: int
    cgroup_peak_bytes: int | None
    source_cpu_seconds: float
    sink_cpu_seconds: float
    harness_cpu_seconds: float
    offered_rate: float | None = None
    first_attempts: int = 0
    first_attempts_in_time: float | None = None  # share within FIRST_ATTEMPT_SECONDS
    first_attempt_p95_seconds: float | None = None
    notes: list = dataclasses.field(default_factory=list)

    @property
    def rate(self):
        return self.messages / self.seconds

    @property
    def cpu_per_thousand(self):
        return self.cpu_seconds * 1000 / self.messages


@dataclasses.dataclass
class Setup:
    """What all runs share."""

    root: Path  # folder of this comparison
    load_account: object  # of smtp-source and smtp-sink
    defer_by: str = "defer_transports"
    keep: bool = False
    profiler: object = None  # perf_record.Profiler, for one run


class _Progress:
    """What has happened in a run so far, from sink, log and mailbox."""

    def __init__(self, row, source, sink, tail, memory):
        self._row, self._source, self._sink = row, source, sink
        self._tail, self._memory = tail, memory
        self._log_due = 0.0

    def poll(self):
        self._source.poll()
        self._memory.poll()
        now = time.monotonic()
        if now >= self._log_due:
            self._tail.poll()
            self._log_due = now + _LOG_POLL_SECONDS

    def arrived(self):
        """Messages that have reached the row's end; for accept rows only smtp-source knows."""
        if self._row.end == "relay":
            return self._sink.messages()
        return self._tail.deferred if self._row.end == "accept" else self._tail.sent

    def ended(self, count):
        if not self._source.ended():
            return False
        return self._row.end == "accept" or self.arrived() >= count

    def watermark(self):
        return (self.arrived(), self._tail.outcomes(), self._source.ended())


def _wait_for_end(progress, count, source, node):
    """Returns when the row has ended. RunError when the source fails or nothing moves."""
    seen, moved = None, time.monotonic()
    paced = isinstance(source, load.PacedSource)
    while True:
        progress.poll()
        if source.ended() and (complaint := source.complaint()):
            raise RunError(f"{complaint}\n{node.last_words()}")
        if progress.ended(count):
            return
        if (mark := progress.watermark()) != seen:
            seen, moved = mark, time.monotonic()
        stalled = time.monotonic() - moved > _STALL_SECONDS_MAX
        if stalled or not node.running():
            what = "stands still" if stalled else "has ended"
            raise RunError(f"{node.name} {what} after {progress.arrived()} of {count} messages\n"
                           f"{node.last_words()}")
        time.sleep(_PACED_POLL_SECONDS if paced else _POLL_SECONDS)


def _wait_for_outcomes(progress, tail, count):
    """The MTA's work ends after the row's: outcomes are logged, queue files removed."""
    start = moved = time.monotonic()
    seen = -1
    while tail.outcomes() < count:
        progress.poll()
        now = time.monotonic()
        if tail.outcomes() != seen:
            seen, moved = tail.outcomes(), now
        if now - moved > _SETTLE_STALL_SECONDS_MAX or now - start > _SETTLE_SECONDS_MAX:
            return
        time.sleep(_POLL_SECONDS)


def check(row, node, sink, tail, count):
    """RunError unless every message ended as the row says; returns notes."""
    notes = []
    problems = []
    if tail.bounced:
        problems.append(f"{tail.bounced} bounced")
    if row.end == "logged" and tail.sent != count:
        problems.append(f"{tail.sent} recipients of {count} were sent")
    if row.end == "relay" and sink is not None and sink.messages() != count:
        problems.append(f"the sink has {sink.messages()} messages of {count}")
    if row.end in ("maildir", "mbox") and (found := node.mailbox_messages()) != count:
        problems.append(f"{found} messages in mailboxes, sent {count}")
    if row.end == "accept":
        if tail.sent:
            problems.append(f"{tail.sent} were sent, none should be")
        if tail.deferred != count:
            notes.append(f"{tail.deferred} of {count} deferred in the log")
    elif tail.deferred:
        notes.append(f"{tail.deferred} attempts deferred")
    if problems:
        raise RunError(f"{node.name}: {', '.join(problems)}\n{node.last_words()}")
    return notes


def _sink_port(row, setup, stack, sink):
    """Where the transport map points: the sink, or a port that refuses."""
    if sink is not None:
        return sink.port
    if row.end == "accept" and setup.defer_by == "closed_port":
        # Bound and not listening: refuses, and nobody else can take it meanwhile.
        held = stack.enter_context(contextlib.closing(socket.socket()))
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]
    return stock.free_port()


def _open_folder(setup, stack, name):
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=setup.root))
    folder.chmod(0o755)
    if not setup.keep:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _make_source(row, node, count, setup, offered_rate):
    enter = setup.load_account.enter
    if row.destinations > 1 or row.big_recipients:
        return load.RecipientsSource(row, node.port, node.domain, count, enter)
    if offered_rate is None:
        return load.Source(row, node.port, node.recipient, count, enter)
    return load.PacedSource(row, node.port, node.recipient, count, enter, offered_rate)


def measure(node_class, row, count, setup, offered_rate=None):
    """Runs it and returns a Result. RunError, node.NodeError or load.LoadError when it fails."""
    with contextlib.ExitStack() as stack:
        os.sync()  # what the run before left to write is not this run's load
        folder = _open_folder(setup, stack, node_class.name)
        account = accounting.open_account(folder.name)
        stack.callback(account.close)
        sink = None
        if row.end in ("relay", "logged"):
            host = "127.0.0.1" if row.destinations == 1 else ""
            # Its limit of connections counts what an MTA may open at once.
            sessions = row.sessions if row.destinations == 1 else row.destinations
            sink = stack.enter_context(contextlib.closing(load.Sink(sessions, setup.load_account.enter, host)))
        node = node_class(folder, account, row, _sink_port(row, setup, stack, sink), setup.defer_by)
        try:
            node.start()
            result = _measure_started(node, row, count, setup, sink, offered_rate, stack)
        except BaseException:
            node.abandon()  # what went wrong first is what is told
            raise
        node.stop()
        if sink is not None:
            sink.stop()
            result.sink_cpu_seconds = sink.cpu_seconds
        return result


def _measure_started(node, row, count, setup, sink, offered_rate, stack):
    tail = stack.enter_context(contextlib.closing(log_tail.LogTail(node.log_path, delays=row.watches_delays)))
    memory = accounting.MemorySampler(node.account)
    if setup.profiler is not None:
        setup.profiler.attach(node.account.pids())
        stack.callback(setup.profiler.detach)
    harness_before = time.process_time()
    cpu_before = node.account.cpu_seconds()
    start = time.monotonic()
    source = stack.enter_context(
        contextlib.closing(_make_source(row, node, count, setup, offered_rate)))
    progress = _Progress(row, source, sink, tail, memory)
    _wait_for_end(progress, count, source, node)
    end = time.monotonic()
    _wait_for_outcomes(progress, tail, count)
    drained = time.monotonic()
    cpu_after = node.account.cpu_seconds()
    memory.sample()  # a short run may have had few; the processes are all still there
    result = Result(
        node=node.name, row=row.name, messages=count, seconds=end - start,
        drained_seconds=drained - start, cpu_seconds=cpu_after - cpu_before,
        peak_memory_bytes=memory.peak_bytes, memory_samples=memory.samples,
        cgroup_peak_bytes=node.account.memory_peak_bytes(),
        source_cpu_seconds=source.cpu_seconds, sink_cpu_seconds=0.0,
        harness_cpu_seconds=time.process_time() - harness_before, offered_rate=offered_rate)
    result.notes = check(row, node, sink, tail, count)
    read_first_attempts(result, tail.first_attempt_delays())
    return result


def read_first_attempts(result, delays):
    if not delays:
        return
    result.first_attempts = len(delays)
    in_time = sum(1 for delay in delays if delay <= rows.FIRST_ATTEMPT_SECONDS)
    result.first_attempts_in_time = in_time / len(delays)
    result.first_attempt_p95_seconds = delays[min(len(delays) - 1, int(len(delays) * 0.95))]
