#!/usr/bin/env python3
"""Starts the embedded default: ./dev run, and shows it at work: ./dev run --demo.

    run.py BIN [--dir DIR] [--port PORT]    runs in the foreground until Ctrl-C; keeps DIR (configuration, queue, mail)
    run.py BIN --demo                       a folder and ports of its own, everything ends by itself; exit 0 if all went well

Started by root, the server runs as mail_owner = nobody, and so do the mailboxes; otherwise all is the user's own.
"""

import argparse
import os
import pathlib
import pwd
import re
import sys

import demo

DOMAIN = "example.test"
DEFAULT_PORT = 2525
METRICS = "127.0.0.1:9154"


def mailbox_owner():
    """Whom mailboxes belong to: root never owns one."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def main_cf(folder, extra=""):
    owner = mailbox_owner()
    return f"""# An instance of Postfleet to play with. Syntax and names are Postfix's.
compatibility_level = 3.6
myhostname = mail.{DOMAIN}
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
mail_owner = {owner.pw_name}
queue_directory = {folder}/queue
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}

# {DOMAIN} has its mailboxes here: {folder}/mail/<user>/
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ alice@{DOMAIN}=alice/, bob@{DOMAIN}=bob/ }}
virtual_uid_maps = static:{owner.pw_uid}
virtual_gid_maps = static:{owner.pw_gid}
{extra}"""


def master_cf(port):
    return f"""# service type private unpriv chroot wakeup maxproc command
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix n - n 60 1 pickup
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
virtual   unix - - n - - virtual
bounce    unix - - n - - bounce
"""


def prepare(folder, port, extra=""):
    """Writes what is not there yet: a user's changes stay."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        sys.exit(f"run: {folder} belongs to somebody else; choose another folder with --dir")
    owner = mailbox_owner()
    for name, text in (("main.cf", main_cf(folder, extra)), ("master.cf", master_cf(port))):
        path = folder / name
        if not path.exists():
            path.write_text(text)
    (folder / "mail.log").touch()
    for path in (folder / "mail", folder / "mail.log"):
        if path.suffix != ".log":
            path.mkdir(mode=0o755, exist_ok=True)
        os.chown(path, owner.pw_uid, owner.pw_gid)


EXTRA = f"""
# Nobody listens on port 9: a message to this domain waits in the queue.
transport_maps = inline:{{ closed.test=smtp:[127.0.0.1]:9 }}
postfleet_metrics_listen = {METRICS}
"""


def port_of(folder):
    """Where smtpd listens: what master.cf says, which may be of an earlier start."""
    found = re.search(r"^127\.0\.0\.1:(\d+)\s+inet\s.*smtpd", (folder / "master.cf").read_text(), re.MULTILINE)
    return int(found.group(1)) if found else None


def run(binaries, folder, wanted_port):
    prepare(folder, wanted_port or DEFAULT_PORT, EXTRA)
    port = port_of(folder)
    if wanted_port not in (None, port):
        sys.exit(f"run: {folder}/master.cf is of an earlier start and says port {port}; change it there, or use another --dir")
    postfleet = binaries / "postfleet"
    print(
        f"""Postfleet runs in the foreground; Ctrl-C ends it. Its configuration, queue, mail and log are in {folder}.

Try, in another terminal:
  printf 'Subject: hello\\n\\nhi\\n' | curl -sS smtp://127.0.0.1:{port} --mail-from you@{DOMAIN} --mail-rcpt alice@{DOMAIN} -T -
  ls {folder}/mail/alice/new
  tail {folder}/mail.log
  {postfleet} -c {folder} postqueue -p
  curl -sS http://{METRICS}/metrics | grep postfleet_queue
""",
        flush=True,
    )
    os.execv(postfleet, [str(postfleet), "-c", str(folder), "postfix", "start-fg"])


def main():
    parser = argparse.ArgumentParser(prog="./dev run", description=__doc__.splitlines()[0])
    parser.add_argument("binaries", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--demo", action="store_true", help="show it at work and end")
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(f"/var/tmp/postfleet-{os.geteuid()}"),
                        help="configuration, queue, mail and log (default: %(default)s)")
    parser.add_argument("--port", type=int, help=f"of a new DIR; {DEFAULT_PORT} otherwise")
    arguments = parser.parse_args()
    if arguments.demo:
        return demo.run(arguments.binaries.resolve(), prepare)
    run(arguments.binaries.resolve(), arguments.dir.absolute(), arguments.port)


if __name__ == "__main__":
    sys.exit(main())
