"""What a test borrows from the machine: a folder, a port, users, and the programs side by side.

As root the server runs as MAIL_OWNER, so folders are where nobody may enter (/tmp when TEST_TMPDIR
is not). SCENARIO_MTA=postfix runs the installed Postfix instead: the oracle for what these tests expect.
SCENARIO_BIN names a folder of programs, such as dist/bin, instead of Bazel's.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import tempfile

ORACLE = os.environ.get("SCENARIO_MTA") == "postfix"
IS_ROOT = os.geteuid() == 0


def mail_owner(oracle):
    """Who the mail system runs as."""
    if IS_ROOT:
        return "postfix" if oracle else "nobody"
    return pwd.getpwuid(os.geteuid()).pw_name


MAIL_OWNER = mail_owner(ORACLE)
MAILBOX_OWNER = "nobody" if IS_ROOT else MAIL_OWNER

# As dist/bin has them; the programs find one another there. Copies, because they ask /proc/self/exe.
_PROGRAMS = {
    "postfleet": "commands/postfleet",
    "sendmail": "commands/sendmail",
    "postdrop": "commands/postdrop",
    "postfleetd": "services/all/postfleetd",
    "postfleet-launcher": "services/launcher/launcher",
    "postfleet-delivery-helper": "services/delivery/privileged/helper",
    "postfleet-queued": "services/queue/queued",
    "postfleet-schedulerd": "services/scheduler/schedulerd",
    "postfleet-lookupd": "services/lookup/lookupd",
    "postfleet-ingressd": "services/ingress/ingressd",
    "postfleet-deliveryd": "services/delivery/deliveryd",
}


def _traversable(path):
    """Another user may enter it and all folders above it."""
    path = pathlib.Path(path).resolve()
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.parents])


@contextlib.contextmanager
def folder():
    """A new folder, removed at the end."""
    base = os.environ.get("TEST_TMPDIR", "")
    # A Unix socket's path has at most 107 bytes.
    usable = base and len(base) < 60 and _traversable(base)
    path = pathlib.Path(tempfile.mkdtemp(prefix="pf-", dir=base if usable else "/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Port:
    """A free port of 127.0.0.1, kept for one program: bound and not listening, with SO_REUSEADDR."""

    def __init__(self):
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.number = self._holder.getsockname()[1]

    def close(self):
        self._holder.close()


_bin_folder = None


def bin_folder():
    """All programs side by side, as after an installation. Made once for each run of a test file."""
    global _bin_folder
    if _bin_folder is None:
        given = os.environ.get("SCENARIO_BIN")
        _bin_folder = pathlib.Path(given) if given else _lay_out()
    return _bin_folder


def _lay_out():
    target = pathlib.Path(_stack.enter_context(folder()))
    for name, path in _PROGRAMS.items():
        if os.path.exists(path):
            shutil.copy(os.path.realpath(path), target / name)
            (target / name).chmod(0o755)
    return target


_stack = contextlib.ExitStack()


def close():
    """Removes what is shared by the facts of a file."""
    _stack.close()


def require_root(case):
    """Skips where a fact needs root and there is none."""
    if not IS_ROOT:
        case.skipTest("needs root: run ./dev test as root, as CI does")
