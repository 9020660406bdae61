"""CPU and memory of one MTA: all of its processes, those that have ended too.

Two ways, chosen by open_account():
  CgroupAccount  a cgroup v2 group below the caller's own. Its cpu.stat counts every process that
                 ever was inside, to the microsecond. Needs root.
  TreeAccount    /proc: the processes below given ones, with the time of the children that they
                 waited for. Misses a process that left the tree, and rounds each process down to
                 a tick.

Both promise: pids() are processes of this MTA only, so kill_all() ends nothing else.
"""

import ctypes
import os
import pathlib
import select
import signal
import time

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_KILL_WAIT_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def own_cgroup():
    """The folder of the caller's cgroup v2 group, or None."""
    mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    roots = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::") and roots:
            return pathlib.Path(roots[0]) / line[3:].lstrip("/")
    return None


class CgroupAccount:
    """A group of its own; processes enter it before exec."""

    how = "cgroup v2 cpu.stat"

    def __init__(self, folder):
        self._folder = folder
        folder.mkdir()

    def enter(self):
        """For a child between fork and exec."""
        with open(self._folder / "cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")

    def add_root(self, pid):
        """Nothing to do: the group knows its processes."""

    def pids(self):
        return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]

    def cpu_seconds(self):
        for line in (self._folder / "cpu.stat").read_text().splitlines():
            name, value = line.split()
            if name == "usage_usec":
                return int(value) / 1e6
        raise RuntimeError(f"{self._folder}/cpu.stat has no usage_usec")

    def memory_peak_bytes(self):
        """With page cache; None where the memory controller is not in this hierarchy."""
        try:
            return int((self._folder / "memory.peak").read_text())
        except OSError:
            return None

    def kill_all(self):
        end_group(self._folder)

    def close(self):
        self.kill_all()
        self._folder.rmdir()


def end_group(folder):
    """SIGKILL to every process of a cgroup, again for those that are made meanwhile; returns when all have ended.
    TimeoutError when one does not."""
    deadline = time.monotonic() + _KILL_WAIT_SECONDS
    with open(folder / "cgroup.events", encoding="ascii") as events:
        changes = select.poll()
        changes.register(events, select.POLLPRI)  # cgroup v2: on every change of the file
        while "populated 1" in events.read():
            for pid in (folder / "cgroup.procs").read_text().split():
                _signal(int(pid), signal.SIGKILL)
            if not changes.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"{folder}: processes that do not end")
            events.seek(0)


class TreeAccount:
    """The processes below some root processes, from /proc."""

    how = "/proc, waited-for children included"

    def __init__(self):
        self._roots = []

    def enter(self):
        """For a child between fork and exec: it ends when its parent is killed."""
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def add_root(self, pid):
        self._roots.append(pid)

    @staticmethod
    def _all_stats():
        """pid -> the fields of /proc/PID/stat from the state on."""
        stats = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    text = pathlib.Path("/proc", entry, "stat").read_text(errors="replace")
                except OSError:
                    continue
                stats[int(entry)] = text.rpartition(")")[2].split()
        return stats

    def _tree(self):
        stats = self._all_stats()
        children = {}
        for pid, fields in stats.items():
            children.setdefault(int(fields[1]), []).append(pid)
        found, waiting = {}, [pid for pid in self._roots if pid in stats]
        while waiting:
            pid = waiting.pop()
            found[pid] = stats[pid]
            waiting.extend(children.get(pid, ()))
        return found

    def pids(self):
        return [pid for pid, fields in self._tree().items() if fields[0] != "Z"]

    def cpu_seconds(self):
        # Fields 11 to 14 after the name: utime, stime, cutime, cstime.
        ticks = sum(sum(map(int, fields[11:15])) for fields in self._tree().values())
        return ticks / _TICKS_PER_SECOND

    def memory_peak_bytes(self):
        return None

    def kill_all(self):
        for pid in self.pids():
            _signal(pid, signal.SIGKILL)

    def close(self):
        self.kill_all()
        self._roots.clear()


def group_prefix(owner):
    """What the names of all groups of the comparison with that process id begin with."""
    return f"postfleet-bench-{owner}-"


def open_account(name):
    """A CgroupAccount where the system lets us, else a TreeAccount."""
    folder = own_cgroup()
    if folder is not None:
        try:
            return CgroupAccount(folder / (group_prefix(os.getpid()) + name))
        except OSError:
            pass
    return TreeAccount()


class MemorySampler:
    """The greatest sum of PSS (each shared page counted once) over an account's processes.

    Up to 5 samples a second. Reading smaps_rollup of a hundred processes costs the machine
    milliseconds, so a sample is never more than 2 % of the time: what measures must not weigh.
    """

    INTERVAL_SECONDS_MIN = 0.2
    COST_SHARE_MAX = 0.02

    def __init__(self, account):
        self._account = account
        self._due = 0.0
        self.peak_bytes = 0
        self.samples = 0

    def poll(self):
        if time.monotonic() >= self._due:
            self.sample()

    def sample(self):
        start = time.monotonic()
        self.peak_bytes = max(self.peak_bytes, sum(map(_pss_bytes, self._account.pids())))
        self.samples += 1
        end = time.monotonic()
        self._due = end + max(self.INTERVAL_SECONDS_MIN, (end - start) / self.COST_SHARE_MAX)


def _pss_bytes(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # ended meanwhile
        pass
    return 0
