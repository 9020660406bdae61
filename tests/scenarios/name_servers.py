"""Real name servers for a test: knot answers for zones, unbound asks it and is the machine's resolver.

    enter_namespaces()            before anything else: the file runs again where mounts and addresses are its own
    with NameServers(folder, {"dns.example": text, ...}): ...

Needs root; a container may refuse namespaces even to root: why_not_entered() says why.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys

import machine
from deadlines import wait_until

NAMESPACE = "POSTFLEET_TEST_NAMESPACE"
ENTERED = "own"
RESOLVER, AUTHORITY, NOBODY = "127.0.0.53", "127.0.0.54", "127.0.0.55"
# Zones whose server has no such zone, or is not there.
LAME, SILENT = "lame.example", "silent.example"


def enter_namespaces():
    """Runs this file again where its mounts and addresses are its own; a container may refuse that even to root."""
    if not machine.IS_ROOT or os.environ.get(NAMESPACE):
        return
    unshare = ["unshare", "-m", "-n", "--propagation", "private"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        os.environ[NAMESPACE] = ENTERED
        os.execvp("unshare", [*unshare, sys.executable, "-B", *sys.argv])
    os.environ[NAMESPACE] = probe.stderr.strip()


def why_not_entered():
    """ "" where the namespaces are the test's own."""
    state = os.environ.get(NAMESPACE, "not root")
    return "" if state == ENTERED else f"needs root and namespaces of its own: {state}"


def answers(server, name):
    """The name server has an address for it."""
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"".join(
        bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(query, (server, 53))
            reply = client.recv(512)
        except OSError:
            return False
        return reply[3] & 15 == 0 and reply[6:8] != b"\0\0"


class NameServers:
    """knot and unbound; /etc/resolv.conf names them in this mount namespace."""

    def __init__(self, folder, zones):
        self._folder = folder
        self._zones = zones
        self._processes = []

    def __enter__(self):
        folder = self._folder
        for zone, text in self._zones.items():
            (folder / zone).write_text(text)
        (folder / "knot.conf").write_text(
            f"server:\n  rundir: {folder}\n  listen: {AUTHORITY}@53\ndatabase:\n  storage: {folder}\n"
            f"log:\n  - target: stderr\n    any: warning\n"
            "zone:\n" + "".join(f"  - domain: {zone}\n    file: {folder}/{zone}\n    zonefile-sync: -1\n"
                                for zone in self._zones))
        stubs = {**dict.fromkeys(self._zones, AUTHORITY), LAME: AUTHORITY, SILENT: NOBODY}
        (folder / "unbound.conf").write_text(
            f"server:\n  interface: {RESOLVER}\n  access-control: 127.0.0.0/8 allow\n  username: \"\"\n  chroot: \"\"\n"
            f"  directory: {folder}\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n"
            "  local-zone: \"127.in-addr.arpa.\" nodefault\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  qname-minimisation: no\n"
            "remote-control:\n  control-enable: no\n" + "".join(
                f"stub-zone:\n  name: {zone}\n  stub-addr: {address}\n" for zone, address in stubs.items()))
        (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
        subprocess.run(["mount", "--bind", folder / "resolv.conf", "/etc/resolv.conf"], check=True)
        try:
            self._start("knotd", "-c", folder / "knot.conf")
            self._start("unbound", "-d", "-c", folder / "unbound.conf")
            wait_until("an answer of unbound", lambda: answers(RESOLVER, "mx1.dns.example"), hopeless=self._why_ended)
        except BaseException:
            self._end()
            print((folder / "output").read_text(errors="replace"))
            raise
        return self

    def __exit__(self, *_):
        self._end()

    def _start(self, program, *arguments):
        path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not path:
            raise AssertionError(f"{program} is not installed: ./dev installs what deploy/packages lists")
        with open(self._folder / "output", "ab") as output:
            self._processes.append(subprocess.Popen([path, *arguments], stdin=subprocess.DEVNULL, stdout=output,
                                                    stderr=output))

    def _why_ended(self):
        ended = [process for process in self._processes if process.poll() is not None]
        return f"{ended[0].args[0]} ended with {ended[0].returncode}" if ended else None

    def _end(self):
        for process in self._processes:
            process.kill()
            process.wait()
        subprocess.run(["umount", "-l", "/etc/resolv.conf"], check=True)
