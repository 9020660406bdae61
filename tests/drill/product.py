"""Postfleet, embedded, in a folder of its own: configuration, start, listing of the queue, end.

Every start is a session of its own, so that the launcher, the server and the delivery helper are
ended together by the group's id; when the drill itself dies, they die with it. Started by root,
all of them run as nobody from the beginning: the shim survives no change of user.
"""

import ctypes
import json
import os
import pwd
import re
import signal
import subprocess

import messages
import programs
import stock
from deadlines import Missed

_START_SECONDS_MAX = 60.0
_DRAIN_SECONDS_MAX = 40.0
_LIST_SECONDS_MAX = 30.0
_PR_SET_CHILD_SUBREAPER = 36
_USER_OF_ROOT = "nobody"

# No message waits long for its next attempt.
_OWN_PARAMETERS = {
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "smtpd_client_connection_count_limit": 0,
    "virtual_mailbox_domains": messages.BOX_DOMAIN,
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "20s",
    "queue_run_delay": "1s",
    # The queue that stands leaves room for the mail that flows.
    "later_destination_concurrency_limit": 2,
}
_LATER = "later unix - - n - - smtp\n"


class ProductError(Exception):
    """It did not start, list or stop; the text holds the end of its log."""


def adopt_orphans():
    """The delivery helper outlives its parent for a moment; it is ours to wait for."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Product(stock.Node):
    """Queue and mailboxes lie in the tree that loses power, all else in the folder."""

    def __init__(self, bin_folder, folder, tree, sink_port):
        user = _user()
        super().__init__(folder, user.pw_name, user.pw_name, tree)
        self._programs = bin_folder
        self._child = None
        self.port = None
        self._wrapper = _wrapper(user)
        self.make_folders()
        boxes = ", ".join(f"{{ {box}@{messages.BOX_DOMAIN} = {box}/ }}" for box in messages.BOXES)
        self._parameters = {
            **self.stock_parameters(),
            **_OWN_PARAMETERS,
            "transport_maps": "inline:{ " + ", ".join(
                f"{domain}={transport}:[127.0.0.1]:{sink_port}" for domain, transport in (
                    (messages.SINK_DOMAIN, "smtp"), (messages.SENDER_DOMAIN, "smtp"),
                    (messages.LATER_DOMAIN, "later"))) + " }",
            "virtual_mailbox_maps": f"inline:{{ {boxes} }}",
        }

    def start(self, environment):
        """Returns True when it greets, False when it ended before."""
        self.port = stock.free_port()
        self.write_files(self._parameters, self.port, stock.MASTER_CF + _LATER)
        programs.shim_helper(self._programs, environment)
        with open(self.output_path, "ab") as output:
            self._child = subprocess.Popen(
                self._wrapper + [self._programs / "postfleet-launcher", "-c", self.config],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=dict(os.environ, **environment), start_new_session=True)
        return self._wait_for_greeting()

    def _wait_for_greeting(self):
        try:
            stock.wait_for_greeting(self.port, lambda: None if self.running() else "it ended", _START_SECONDS_MAX)
        except Missed as missed:
            if not self.running():
                return False
            raise ProductError(f"{missed}\n{self.last_words()}") from missed
        return True

    def running(self):
        return self._child is not None and self._child.poll() is None

    def exited(self):
        """A descriptor that becomes readable when it has ended; the caller's."""
        return os.pidfd_open(self._child.pid)

    def command(self, *arguments):
        """One of Postfix's, or of our own. For subprocess."""
        return [self._programs / "postfleet", "-c", self.config, *arguments]

    def run(self, *arguments, statuses=(0,)):
        """What a command says; ProductError when it ends with another status."""
        try:
            done = subprocess.run(self.command(*arguments), capture_output=True, text=True,
                                  timeout=_LIST_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired as expired:
            raise ProductError(f"{' '.join(arguments)}: no answer") from expired
        if done.returncode not in statuses or (done.returncode and not done.stdout):
            raise ProductError(f"{' '.join(arguments)}: {done.returncode} {done.stderr.strip()}")
        return done.stdout

    def entries(self):
        """What the queue lists, as `postqueue -j` does."""
        return [json.loads(line) for line in self.run("postqueue", "-j").splitlines()]

    def release_all(self):
        self.run("postsuper", "-H", "ALL")
        self.run("postqueue", "-f")

    def jobs(self):
        """Lines of the bulk jobs that are not done."""
        return self.run("queue", "jobs").splitlines()

    def job_lines(self):
        """(job, "begins", "goes on" or "is done") as the log has them; a cut may have taken lines."""
        return re.findall(r"bulk job (\d+) (begins|goes on|is done)\b", self.log_path.read_text(errors="replace"))

    def verified(self, offline=False):
        """What `queue verify` says that is no sound queue; empty: nothing."""
        options = ("--offline", str(self.queue)) if offline else ()
        text = self.run("queue", "verify", *options, statuses=(0, 1))
        return "" if re.search(r"; faults: 0$", text, re.MULTILINE) else text

    def stop(self):
        """In order: SIGTERM, and what it drains."""
        self._child.send_signal(signal.SIGTERM)
        try:
            status = self._child.wait(_DRAIN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            status = "no end"
        self.kill()
        if status != 0:
            raise ProductError(f"ended with {status} on SIGTERM\n{self.last_words()}")

    def kill(self):
        """The whole group, at once; returns when none of it is left."""
        if self._child is None:
            return
        group = self._child.pid
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._child.wait()
        while True:
            try:
                os.waitpid(-group, 0)
            except ChildProcessError:
                break
        self._child = None


def _user():
    return pwd.getpwnam(_USER_OF_ROOT) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _wrapper(user):
    command = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        command += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return command
