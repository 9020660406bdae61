"""Postfleet, embedded, in a folder of its own: configuration, start, listing of the queue, end.

Every start is a session of its own, so that the launcher, the server and the delivery helper are
ended together by the group's id; when the drill itself dies, they die with it. Started by root,
all of them run as nobody from the beginning: the shim survives no change of user.
"""

import ctypes
import json
import os
import pwd
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
    "maximal_backoff_time": "2s",
    "queue_run_delay": "1s",
}


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
            "transport_maps": f"inline:{{ {messages.SINK_DOMAIN}=smtp:[127.0.0.1]:{sink_port} }}",
            "virtual_mailbox_maps": f"inline:{{ {boxes} }}",
        }

    def start(self, environment):
        """Returns True when it greets, False when it ended before."""
        self.port = stock.free_port()
        self.write_files(self._parameters, self.port)
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

    def listed(self):
        """{(message id, recipient)} of everything that the queue lists."""
        done = subprocess.run(
            [self._programs / "postfleet", "-c", self.config, "postqueue", "-j"],
            capture_output=True, text=True, timeout=_LIST_SECONDS_MAX, check=False)
        if done.returncode != 0:
            raise ProductError(f"postqueue -j: {done.returncode} {done.stderr.strip()}")
        listed = [json.loads(line) for line in done.stdout.splitlines()]
        return {(messages.id_of_sender(entry["sender"]), recipient["address"])
                for entry in listed for recipient in entry["recipients"]}

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
