"""The load: Postfix's smtp-source (sends) and smtp-sink (receives), as child processes.

Both run in an account of their own (`enter`, called between fork and exec); their CPU is read
when they end. Nothing here listens on a fixed port.
"""

import contextlib
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import rows
import stock
from deadlines import Missed, wait_for_exit

_SBIN_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20  # the counters of a second fit, so a tool never waits for us
_END_WAIT_SECONDS = 5.0
_SINK_BACKLOG = 4096


class LoadError(Exception):
    """A load tool is missing, or did not do what a run needs."""


def program(name):
    path = shutil.which(name, path=_SBIN_PATH)
    if path is None:
        raise LoadError(f"{name} not found: install the package postfix")
    return path


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


class Tool:
    """A child whose counters ("...\\r") are read without making it wait."""

    def __init__(self, command, enter):
        self._command = command
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: (enter(), raise_file_limit()))
        out = self._child.stdout.fileno()
        os.set_blocking(out, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(out, _F_SETPIPE_SZ, _PIPE_BYTES)
        self._last = b""
        self.cpu_seconds = 0.0

    @property
    def pid(self):
        return self._child.pid

    def read_counter(self):
        """The newest whole counter, or the one before."""
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._child.stdout.fileno(), _PIPE_BYTES):
                self._last = (self._last + block)[-256:]
        return self._last.rpartition(b"\r")[0].rpartition(b"\r")[2]

    def ended(self):
        """True once the child is gone; then its CPU time is known."""
        if self._child.returncode is not None:
            return True
        pid, status, usage = os.wait4(self._child.pid, os.WNOHANG)
        if pid == 0:
            return False
        self._child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        return True

    def stop(self):
        for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
            if self.ended():
                break
            os.kill(self._child.pid, number)
            if number != signal.SIGCONT:
                wait_for_exit(self._child.pid, _END_WAIT_SECONDS)
        self.ended()

    def close(self):
        self.stop()
        self._child.stdout.close()
        self._child.stderr.close()

    def complaint(self):
        """What an ended tool had to say, or None after success."""
        if self._child.returncode in (0, None):
            return None
        text = self._child.stderr.read().decode(errors="replace").strip()
        return f"{self._command[0]} ended with {self._child.returncode}: {text[-500:]}"


class Sink(Tool):
    """An smtp-sink of its own for each run."""

    def __init__(self, sessions, enter, host="127.0.0.1"):
        """host "": at all addresses, for destinations that are addresses of 127/8."""
        self.port = stock.free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        super().__init__([program("smtp-sink"), "-c", "-m", str(4 * sessions + 100), *user,
                          f"inet:{host}:{self.port}", str(_SINK_BACKLOG)], enter)
        try:
            stock.wait_for_greeting(self.port, lambda: "smtp-sink ended" if self.ended() else None, 5.0)
        except Missed as missed:
            complaint = self.complaint()
            self.close()
            raise LoadError(f"{missed}: {complaint}") from missed

    def messages(self):
        """Messages received so far."""
        for field in self.read_counter().split():
            if field.startswith(b"mesg="):
                return int(field[5:])
        return 0


class Source(Tool):
    """An smtp-source that sends `count` messages as fast as they are taken."""

    SENDER = "sender@client.example"

    def __init__(self, row, port, recipient, count, enter, counter=False):
        options = ["-s", str(min(row.sessions, count)), "-m", str(count), "-C", "20",
                   "-l", str(row.content_bytes), "-M", "client.example", "-f", self.SENDER,
                   "-t", recipient]
        options += ["-d"] if row.reuse else []
        options += ["-N"] if row.end == "mbox" else []  # 1user@, 2user@, ...
        options += ["-c"] if counter else []
        super().__init__([program("smtp-source"), *options, f"inet:127.0.0.1:{port}"], enter)

    def poll(self):
        """Called every few milliseconds; an unpaced source needs nothing."""


class RecipientsSource(Tool):
    """recipients_source.py: what smtp-source cannot make."""

    def __init__(self, row, port, domain, count, enter):
        options = ["--big", str(row.big_recipients), "--rate", str(rows.SMALL_RATE)] if row.big_recipients else []
        super().__init__([sys.executable, "-B", str(Path(__file__).with_name("recipients_source.py")), str(port),
                          str(row.content_bytes), str(row.sessions), str(count - row.big_recipients), domain, *options],
                         enter)

    def poll(self):
        """As Source's."""


class PacedSource(Source):
    """An smtp-source that is held to a rate: it is stopped while it is ahead and goes on when not.

    smtp-source itself waits whole seconds only. The bursts are as long as the time between two
    polls; its sessions stay open while it is stopped.
    """

    def __init__(self, row, port, recipient, count, enter, messages_per_second):
        super().__init__(row, port, recipient, count, enter, counter=True)
        self._rate = messages_per_second
        self._start = time.monotonic()
        self._stopped = False

    def poll(self):
        if self.ended():
            return
        accepted = int(self.read_counter() or 0)
        ahead = accepted > self._rate * (time.monotonic() - self._start)
        if ahead != self._stopped:
            os.kill(self.pid, signal.SIGSTOP if ahead else signal.SIGCONT)
            self._stopped = ahead
