"""A node of the mail system for a test: folders, owners, stock main.cf and master.cf, the wait for its greeting.

Everything lies in one folder of the node's own, but for queue and mailboxes where a test says so.
What is measured, broken or asked of it is the test's; so is how it is started and stopped.
"""

import contextlib
import os
import pwd
import socket

from deadlines import wait_until

START_SECONDS_MAX = 30.0
_GREETING_SECONDS_MAX = 5.0
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


class Node:
    """mail_owner, mailbox_owner: names of users. tree: where queue and mail lie, by default the folder."""

    def __init__(self, folder, mail_owner, mailbox_owner, tree=None):
        self.folder = folder
        self.config = folder / "etc"
        self.queue = (tree or folder) / "queue"
        self.mail = (tree or folder) / "mail"
        self.log_path = folder / "log" / "mail.log"
        # Standard output and error of its processes.
        self.output_path = folder / "log" / "output"
        self._mail_owner = mail_owner
        self._mailbox_owner = mailbox_owner

    def make_folders(self, owns_queue=True):
        """owns_queue: not so real Postfix, whose queue is root's."""
        for path in (self.config, self.queue, self.mail, self.log_path.parent, self.folder / "data"):
            path.mkdir()
            path.chmod(0o755)
        give_to(self.mail, self._mailbox_owner)
        give_to(self.folder / "data", self._mail_owner)
        give_to(self.log_path.parent, self._mail_owner)
        if owns_queue:
            give_to(self.queue, self._mail_owner)

    def stock_parameters(self):
        """What every node sets in main.cf."""
        box = pwd.getpwnam(self._mailbox_owner)
        return {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.folder / "data",
            "maillog_file": self.log_path,
            "maillog_file_prefixes": self.folder,
            "mail_owner": self._mail_owner,
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
        }

    def write_files(self, parameters, port, master_cf=MASTER_CF):
        """main.cf (None takes a parameter out) and master.cf; read at the next start."""
        lines = [f"{name} = {value}\n" for name, value in parameters.items() if value is not None]
        (self.config / "main.cf").write_text("".join(lines))
        (self.config / "master.cf").write_text(master_cf.format(port=port))

    def last_words(self):
        """The ends of its logs, for a failure's report."""
        parts = []
        for path in (self.output_path, self.log_path):
            lines = path.read_text(errors="replace").splitlines() if path.exists() else ["(no file)"]
            parts.append("\n".join([f"--- {path}, {len(lines)} lines"] + lines[-_LOG_LINES_SHOWN:]))
        return "\n".join(parts)


def give_to(path, owner):
    """As root; another user has only what is its own."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(owner)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def free_port():
    """A port of 127.0.0.1 that nobody listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def greets(port):
    """Answers with 220, and was told QUIT."""
    try:
        with socket.create_connection(("127.0.0.1", port), _GREETING_SECONDS_MAX) as peer:
            if not peer.recv(512).startswith(b"220"):
                return False
            peer.sendall(b"QUIT\r\n")
            peer.recv(512)
            return True
    except OSError:
        return False


def wait_for_greeting(port, hopeless=None, seconds_max=START_SECONDS_MAX):
    """Missed when it does not greet in time, or hopeless() says why it never will."""
    wait_until(f"a greeting at port {port}", lambda: greets(port), seconds_max, hopeless)
