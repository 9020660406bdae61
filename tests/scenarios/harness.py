"""One instance of the mail system on this machine, as an administrator would set it up, for one test.

    with machine.folder() as folder, Instance(folder, {"relayhost": ...}) as mta:
        smtp_client.deliver(mta.port, ...)
        mta.wait_for_log(r"status=sent")

Each instance has its own folder, configuration, queue, log and port, and a process group of its own,
which is ended whatever happens. When a fact fails, the folder's logs are printed.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

import stock
from deadlines import FolderChanges, Missed, wait_for_exit, wait_until
from machine import MAILBOX_OWNER, ORACLE, Port, bin_folder, mail_owner
from stock import MASTER_CF, START_SECONDS_MAX, greets

DRAIN_SECONDS_MAX = 30.0
COMMAND_SECONDS_MAX = 30.0

_CLOCKS = re.compile(r"^.*: warning: (?:file system clock is \d+ seconds .* local clock"
                     r"|resetting file time stamps - this hurts performance)\n", re.MULTILINE)

_started = []


def print_last_words():
    """Of the instances that are up: for a fact that fails beside them."""
    for instance in _started:
        print(instance.last_words(), flush=True)


class Instance(stock.Node):
    """main_cf: parameters over the stock ones (None takes one out). master_cf: {port} is replaced.
    oracle: real Postfix, which needs root; for a test that compares the two."""

    def __init__(self, folder, main_cf=None, master_cf=MASTER_CF, name="mta", oracle=ORACLE):
        super().__init__(folder / name, mail_owner(oracle), MAILBOX_OWNER)
        self.oracle = oracle
        self._port = Port()
        self.port = self._port.number
        self.parameters = {**self.stock_parameters(), **(main_cf or {})}
        if self.oracle:
            self.parameters.setdefault("enable_long_queue_ids", "yes")  # we know no other
        self._master_cf = master_cf
        self._processes = []
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.make_folders(owns_queue=not self.oracle)
        self.write_configuration()

    def write_configuration(self, master_cf=None):
        """Again after a change of parameters; master_cf: another one from now on."""
        self._master_cf = master_cf or self._master_cf
        self.write_files(self.parameters, self.port, self._master_cf)

    def __enter__(self):
        _started.append(self)
        try:
            self.start()
        except BaseException:
            self._clean_up(failed=True)
            raise
        return self

    def __exit__(self, kind, *_):
        self._clean_up(failed=kind is not None)

    def _clean_up(self, failed):
        _started.remove(self)
        self.kill()
        self._port.close()
        if failed:
            print(self.last_words(), flush=True)

    # Start and end

    def command_line(self, *command):
        """The command NAME ARGS of Postfix, on this instance."""
        if self.oracle:
            return ["/usr/sbin/" + command[0], "-c", str(self.config), *command[1:]]
        return [str(bin_folder() / "postfleet"), "-c", str(self.config), *command]

    def spawn(self, arguments, **options):
        """A program of this instance, ended with it."""
        with open(self.output_path, "ab") as output:
            process = subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, start_new_session=True, **options)
        self._processes.append(process)
        return process

    def launch(self):
        """Starts, waits for nothing."""
        command = self.command_line("postfix", "start-fg")
        if self.oracle:
            # Postfix waits until main.cf is two seconds old, lest it be half written.
            os.utime(self.config / "main.cf", (0, 0))
            # start-fg leaves the process group; what it would prepare, check prepares.
            self.run("postfix", "check")
            command = ["/usr/lib/postfix/sbin/master", "-c", self.config, "-d"]
        self.process = self.spawn(command)
        return self.process

    def start(self):
        """Returns when it greets."""
        self.launch()
        self.wait_for_greeting()

    def wait_for_greeting(self, port=None):
        stock.wait_for_greeting(port or self.port, self.why_ended)

    def why_ended(self):
        for process in self._processes:
            if process.poll() is not None:
                return f"{process.args[0]} ended with {process.returncode}"
        return None

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_for_end()

    def wait_for_end(self, seconds_max=DRAIN_SECONDS_MAX):
        """The exit status of what launch started."""
        self.exit_status("the server", self.process, seconds_max)
        status = self.process.returncode
        self._end_group(self.process)
        self._processes.remove(self.process)
        return 0 if self.oracle and status == -signal.SIGTERM else status

    @staticmethod
    def exit_status(what, process, seconds_max=DRAIN_SECONDS_MAX):
        """The exit status of a process that was spawned."""
        if not wait_for_exit(process.pid, seconds_max):
            raise Missed(f"the end of {what}: not within {seconds_max:g} s")
        return process.wait()

    def kill(self):
        """SIGKILL to everything this instance started; returns when all of it is gone."""
        for process in self._processes:
            self._end_group(process)
        self._processes = []

    def end(self, process):
        """SIGKILL to one of them."""
        self._end_group(process)
        self._processes.remove(process)

    def _end_group(self, process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.wait_for_group_end(process.pid)

    def wait_for_group_end(self, group, seconds_max=DRAIN_SECONDS_MAX):
        """All processes of it, orphans too; those that are made meanwhile."""
        while members := self.group_members(group):
            for pid in members:
                if not wait_for_exit(pid, seconds_max):
                    raise Missed(f"the end of process {pid} of group {group}: not within {seconds_max:g} s")

    @staticmethod
    def group_members(group):
        """The living processes of a process group."""
        members = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                fields = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    members.append(int(entry))
        return members

    def processes(self):
        """Process ids of all that runs for this instance."""
        return [pid for process in self._processes for pid in self.group_members(process.pid)]

    def peak_memory_bytes(self):
        """Sum of the peaks of all processes: at least the peak of the sum."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                status = pathlib.Path("/proc", str(pid), "status").read_text()
                total += int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
        return total

    # What an administrator sees

    def run(self, *command):
        """A command of Postfix: status, standard output, standard error."""
        done = subprocess.run(self.command_line(*command), capture_output=True, text=True,
                              timeout=COMMAND_SECONDS_MAX, stdin=subprocess.DEVNULL, check=False)
        return done.returncode, done.stdout, done.stderr

    def queued(self):
        """What `postqueue -j` prints, parsed."""
        status, output, error = self.run("postqueue", "-j")
        if status != 0:
            raise AssertionError(f"postqueue -j ended with {status}: {error}")
        return [json.loads(line) for line in output.splitlines()]

    def wait_until_empty(self, seconds_max=30.0):
        wait_until("an empty queue", lambda: not self.queued(), seconds_max, self.why_ended)

    def log(self):
        """Without what Postfix says of this machine's clocks."""
        try:
            return _CLOCKS.sub("", self.log_path.read_text(errors="replace"))
        except FileNotFoundError:
            return ""

    def output(self):
        """Standard output and error of all its processes."""
        return self.output_path.read_text(errors="replace") if self.output_path.exists() else ""

    def find_log(self, pattern):
        """All matches, line by line."""
        return list(re.finditer(pattern, self.log(), re.MULTILINE))

    def wait_for_log(self, pattern, count=1, seconds_max=30.0):
        """The matches, once there are `count`."""
        def enough():
            found = self.find_log(pattern)
            return found if len(found) >= count else None
        with FolderChanges(self.log_path.parent) as changes:
            return wait_until(f"{count} x {pattern!r} in the log", enough, seconds_max, self.why_ended, changes)

    def maildir(self, name):
        """The contents of what is new in one Maildir below the mailbox base."""
        return [path.read_bytes() for path in sorted((self.mail / name / "new").glob("*"))]
