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
import pwd
import re
import signal
import subprocess

import smtp_client
from deadlines import wait_until
from machine import IS_ROOT, MAIL_OWNER, MAILBOX_OWNER, ORACLE, Port, bin_folder, give_to

START_SECONDS_MAX = 30.0
DRAIN_SECONDS_MAX = 30.0
COMMAND_SECONDS_MAX = 30.0
_LOG_LINES_SHOWN = 60

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


_started = []


def print_last_words():
    """Of the instances that are up: for a fact that fails beside them."""
    for instance in _started:
        print(instance.last_words(), flush=True)


class Instance:
    """main_cf: parameters over the defaults (None takes a default out). master_cf: {port} is replaced."""

    def __init__(self, folder, main_cf=None, master_cf=MASTER_CF, name="mta"):
        self.folder = folder / name
        self.config = self.folder / "etc"
        self.queue = self.folder / "queue"
        self.mail = self.folder / "mail"
        self.log_path = self.folder / "log" / "mail.log"
        self.output_path = self.folder / "log" / "output"
        self._port = Port()
        self.port = self._port.number
        self.parameters = {**self._defaults(), **(main_cf or {})}
        self._master_cf = master_cf
        self._processes = []
        self._write_folders()
        self.write_configuration()

    def _defaults(self):
        box = pwd.getpwnam(MAILBOX_OWNER)
        return {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.folder / "data",
            "maillog_file": self.log_path,
            "maillog_file_prefixes": self.folder,
            "mail_owner": MAIL_OWNER,
            "myhostname": "mta.example",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "local_recipient_maps": "",
            # A client on this machine is not a user on this machine.
            "local_header_rewrite_clients": "",
            "virtual_mailbox_base": self.mail,
            "virtual_uid_maps": f"static:{box.pw_uid}",
            "virtual_gid_maps": f"static:{box.pw_gid}",
            # We know no other.
            **({"enable_long_queue_ids": "yes"} if ORACLE else {}),
        }

    def _write_folders(self):
        for path in (self.folder, self.config, self.mail, self.folder / "log", self.folder / "data"):
            path.mkdir()
            path.chmod(0o755)
        self.queue.mkdir(mode=0o755)
        give_to(self.mail, MAILBOX_OWNER)
        give_to(self.folder / "data", MAIL_OWNER)
        give_to(self.folder / "log", MAIL_OWNER)
        if not ORACLE:
            give_to(self.queue, MAIL_OWNER)

    def write_configuration(self):
        """Again after a change of parameters; read at the next start."""
        lines = [f"{name} = {value}\n" for name, value in self.parameters.items() if value is not None]
        (self.config / "main.cf").write_text("".join(lines))
        (self.config / "master.cf").write_text(self._master_cf.format(port=self.port))

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
        if ORACLE:
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
        if ORACLE:
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
        wait_until("a greeting", lambda: greets(port or self.port), START_SECONDS_MAX, self.why_ended)

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
        wait_until("the end of the server", lambda: self.process.poll() is not None, seconds_max)
        status = self.process.returncode
        self._end_group(self.process)
        self._processes.remove(self.process)
        return 0 if ORACLE and status == -signal.SIGTERM else status

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
        wait_until("the end of a process group", lambda: not self.group_members(process.pid))

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
        try:
            return self.log_path.read_text(errors="replace")
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
        return wait_until(f"{count} x {pattern!r} in the log", enough, seconds_max, self.why_ended)

    def maildir(self, name):
        """The contents of what is new in one Maildir below the mailbox base."""
        return [path.read_bytes() for path in sorted((self.mail / name / "new").glob("*"))]

    def last_words(self):
        parts = []
        for path in (self.output_path, self.log_path):
            lines = path.read_text(errors="replace").splitlines() if path.exists() else ["(no file)"]
            parts.append("\n".join([f"--- {path}, {len(lines)} lines"] + lines[-_LOG_LINES_SHOWN:]))
        return "\n".join(parts)


def greets(port):
    try:
        with smtp_client.Client(port, ehlo=None, seconds_max=5) as client:
            greeted = client.greeting.code == 220
            client.quit()
            return greeted
    except OSError:
        return False
