"""Postfleet with a queue that stays full: mail for RELAY_DOMAIN waits in a deferred transport, mail
for NOW_DOMAIN goes out at once through another one.

Counters are read from /proc and from the log's end on, since one instance lives through all of the
measurements.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import time

import accounting
import load
import node
import rows
from postfleet_node import PostfleetNode

NOW_DOMAIN = "now.example"
CONTENT_BYTES = 4 * rows.KIB
ROW = rows.Row("scale", "accept", CONTENT_BYTES, reuse=True)
_STALL_SECONDS_MAX = 60.0
_START_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.02
_IDLE_SHARE = 0.05  # of one core: nothing goes on behind any more
_IDLE_SECONDS = 2.0
_STAT_WRITTEN_SECTORS = 6  # field of /sys/dev/block/*/stat (Documentation/block/stat.rst)


class ScaleError(Exception):
    """A measurement that means nothing; the text says why."""


class FullNode(PostfleetNode):
    """Retries are hours apart: what is measured is the standing queue, not its retries."""

    def __init__(self, folder, account, sink_port, now_port):
        super().__init__(folder, account, ROW, sink_port, "defer_transports")
        self._now_port = now_port

    def parameters(self):
        found = super().parameters()
        found["transport_maps"] = (
            f"inline:{{ {node.RELAY_DOMAIN}=smtp:[127.0.0.1]:{self._sink_port}, "
            f"{NOW_DOMAIN}=relay:[127.0.0.1]:{self._now_port} }}")
        found["relay_destination_concurrency_limit"] = 50
        found["minimal_backoff_time"] = "4h"
        found["maximal_backoff_time"] = "8h"
        return found

    def start_again(self):
        """After SIGKILL to all of its processes; the seconds from the start to the greeting."""
        self.account.kill_all()
        self._child.wait()
        start = time.monotonic()
        self.launch()
        while not _greets(self.port):
            if not self.running() or time.monotonic() - start > _START_SECONDS_MAX:
                raise ScaleError(f"it does not come back\n{self.last_words()}")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - start

    def command(self, name, *arguments):
        """One of Postfix's commands on this instance."""
        return [pathlib.Path(self.program).parent / name, "-c", self.config, *arguments]

    def run(self, name, *arguments):
        """Its output and the seconds that it took. ScaleError when it fails."""
        return run_timed(self.command(name, *arguments))

    def memory_bytes(self):
        sampler = accounting.MemorySampler(self.account)
        sampler.sample()
        return sampler.peak_bytes

    def written_bytes(self):
        """What its disk has written, and what its processes count as written: a page of 4 KiB for
        each time that one is dirtied, of which the disk may be given a part. The disk's is None
        where the folder lies on no device of its own (overlay, tmpfs).
        """
        total = 0
        for pid in self.account.pids():
            with contextlib.suppress(OSError):
                for line in pathlib.Path("/proc", str(pid), "io").read_text().splitlines():
                    name, value = line.split()
                    total += int(value) if name == "write_bytes:" else 0
        os.sync()
        return device_written_bytes(self.folder), total


def device_written_bytes(folder):
    """Of everybody who writes to the device of `folder`; None if it has none."""
    device = os.stat(folder).st_dev
    stat = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    try:
        return int(stat.read_text().split()[_STAT_WRITTEN_SECTORS]) * 512
    except FileNotFoundError:
        return None


def _greets(port):
    try:
        with socket.create_connection(("127.0.0.1", port), _START_SECONDS_MAX) as peer:
            return peer.recv(512).startswith(b"220")
    except OSError:
        return False


def run_timed(command):
    start = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode != 0:
        raise ScaleError(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout + done.stderr, seconds


class _Deferrals:
    """Deferrals logged from now on. What is in the log already may be a gigabyte: it is not read."""

    def __init__(self, path):
        self._path = path
        self._file = None
        self._rest = b""
        self._count = 0
        with contextlib.suppress(FileNotFoundError):
            self._file = open(path, "rb")
            self._file.seek(0, os.SEEK_END)

    def poll(self):
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                self._file = open(self._path, "rb")
        if self._file is not None:
            whole, newline, self._rest = (self._rest + self._file.read()).rpartition(b"\n")
            self._count += whole.count(b", status=deferred ") if newline else 0
        return self._count

    def close(self):
        if self._file is not None:
            self._file.close()


class Run:
    """Figures of messages that were accepted."""

    def __init__(self, count, seconds, cpu_seconds):
        self.rate = count / seconds
        self.cpu_per_thousand = cpu_seconds * 1000 / count


def accept(target, count, enter, source_row=ROW):
    """Sends `count` messages that are deferred; returns when all of them are logged so."""
    with contextlib.ExitStack() as stack:
        deferrals = stack.enter_context(contextlib.closing(_Deferrals(target.parameters()["maillog_file"])))
        cpu_before = target.account.cpu_seconds()
        start = time.monotonic()
        source = stack.enter_context(contextlib.closing(
            load.Source(source_row, target.port, target.recipient, count, enter)))
        seconds = None
        seen, moved = 0, start
        while True:
            now = time.monotonic()
            if seconds is None and source.ended():
                if complaint := source.complaint():
                    raise ScaleError(f"{complaint}\n{target.last_words()}")
                seconds, moved = now - start, now
            logged = deferrals.poll()
            if logged != seen:
                seen, moved = logged, now
            if seconds is not None and seen >= count:
                return Run(count, seconds, target.account.cpu_seconds() - cpu_before)
            if not target.running() or (seconds is not None and now - moved > _STALL_SECONDS_MAX):
                raise ScaleError(f"{seen} of {count} messages deferred\n{target.last_words()}")
            time.sleep(_POLL_SECONDS)


def wait_until_idle(target, seconds_max=900.0):
    """Until nothing goes on behind: compactions, deferrals. Returns the seconds."""
    start = time.monotonic()
    while time.monotonic() - start < seconds_max:
        before = target.account.cpu_seconds()
        time.sleep(_IDLE_SECONDS)
        if target.account.cpu_seconds() - before < _IDLE_SHARE * _IDLE_SECONDS:
            break
    return time.monotonic() - start


def free_bytes(folder):
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize
