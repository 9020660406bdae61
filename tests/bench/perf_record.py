"""perf record on an MTA's processes during one run, and an excerpt of its report.

cpu-clock rather than cycles: virtual machines often have no counters.
"""

import re
import shutil
import signal
import subprocess

_FREQUENCY_HZ = 499
_REPORT_LINES = 70
_LINE_COLUMNS_MAX = 120
_END_SECONDS_MAX = 30.0


class Profiler:
    """attach() and detach() around a run; then excerpt()."""

    def __init__(self, data_path):
        self._data = data_path
        self._perf = shutil.which("perf")
        if self._perf is None:
            raise FileNotFoundError("perf not found: install the package linux-perf")
        self._child = None

    def attach(self, pids):
        self._child = subprocess.Popen(
            [self._perf, "record", "-q", "-e", "cpu-clock", "-F", str(_FREQUENCY_HZ), "-g",
             "-o", self._data, "-p", ",".join(map(str, pids))],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def detach(self):
        if self._child is None:
            return
        self._child.send_signal(signal.SIGINT)
        try:
            self._child.communicate(timeout=_END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()
        self._child = None

    def excerpt(self):
        """By thread and library, then by symbol."""
        return (self._report("comm,dso", 25) + "\n" + self._report("dso,symbol", _REPORT_LINES))

    def _report(self, keys, lines):
        done = subprocess.run(
            [self._perf, "report", "--stdio", "-i", self._data, "--no-children", "-g", "none",
             "--percent-limit", "0.3", "--sort", keys],
            check=False, capture_output=True, text=True, errors="replace")
        # perf pads to the longest name of a template; its last columns are empty here.
        useful = [re.sub(r"  +(-  +-)?", "  ", line).rstrip()[:_LINE_COLUMNS_MAX]
                  for line in done.stdout.splitlines() if line.strip() and line[0] != "#"]
        return f"# by {keys}\n" + "\n".join(useful[:lines]) + "\n"
