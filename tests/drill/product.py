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
import socket
import subprocess
import time

import messages
import programs

_START_SECONDS_MAX = 60.0
_DRAIN_SECONDS_MAX = 40.0
_LIST_SECONDS_MAX = 30.0
_LAST_WORDS_BYTES = 3_000
_PR_SET_CHILD_SUBREAPER = 36
_USER_OF_ROOT = "nobody"

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {tree}/queue
data_directory = {folder}/data
maillog_file = {log}
maillog_file_prefixes = {folder}
mail_owner = {owner}
myhostname = mta.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
transport_maps = inline:{{ {sink_domain}=smtp:[127.0.0.1]:{sink_port} }}
virtual_mailbox_domains = {box_domain}
virtual_mailbox_base = {tree}/mail
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""

_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
smtp unix - - n - - smtp
relay unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
bounce unix - - n - 0 bounce
"""


class ProductError(Exception):
    """It did not start, list or stop; the text holds the end of its log."""


def adopt_orphans():
    """The delivery helper outlives its parent for a moment; it is ours to wait for."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Product:
    def __init__(self, bin_folder, folder, tree, sink_port):
        self._programs = bin_folder
        self._config = folder / "etc"
        self._output = folder / "output"
        self._log = folder / "mail.log"
        self._child = None
        self.port = None
        user = _user()
        self._wrapper = _wrapper(user)
        self._log.touch()
        for path in (self._config, folder / "data", tree / "queue", tree / "mail"):
            path.mkdir()
        for path in (self._log, folder / "data", tree / "queue", tree / "mail"):
            os.chown(path, user.pw_uid, user.pw_gid)
        boxes = ", ".join(f"{{ {box}@{messages.BOX_DOMAIN} = {box}/ }}" for box in messages.BOXES)
        self._main_cf = _MAIN_CF.format(
            tree=tree, folder=folder, log=self._log, owner=user.pw_name, uid=user.pw_uid,
            gid=user.pw_gid, sink_domain=messages.SINK_DOMAIN, sink_port=sink_port,
            box_domain=messages.BOX_DOMAIN, mailboxes=boxes)

    def start(self, environment):
        """Returns True when it greets, False when it ended before."""
        self.port = _free_port()
        (self._config / "main.cf").write_text(self._main_cf)
        (self._config / "master.cf").write_text(_MASTER_CF.format(port=self.port))
        programs.shim_helper(self._programs, environment)
        with open(self._output, "ab") as output:
            self._child = subprocess.Popen(
                self._wrapper + [self._programs / "postfleet-launcher", "-c", self._config],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=dict(os.environ, **environment), start_new_session=True)
        return self._wait_for_greeting()

    def _wait_for_greeting(self):
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline:
            if not self.running():
                return False
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    if connection.recv(4) == b"220 ":
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        raise ProductError(f"no greeting in {_START_SECONDS_MAX:.0f} s\n{self.last_words()}")

    def running(self):
        return self._child is not None and self._child.poll() is None

    def queue(self):
        """{(message id, recipient)} of everything that the queue lists."""
        done = subprocess.run(
            [self._programs / "postfleet", "-c", self._config, "postqueue", "-j"],
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

    def last_words(self):
        return "".join(f"--- {path}\n{_end_of(path)}" for path in (self._output, self._log))


def _end_of(path):
    try:
        return path.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return "(no file)\n"


def _user():
    return pwd.getpwnam(_USER_OF_ROOT) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _wrapper(user):
    command = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        command += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return command


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
