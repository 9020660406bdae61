"""Which server a destination's mail goes to, and what is said when there is none: ours beside real Postfix.

A real knot answers for dns_zone.txt, a real unbound asks it for both, and the destinations listen on port 25, all in
a network namespace of this test's own, where lame.example has no server. Needs root.
"""

import collections
import contextlib
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import Missed, wait_until
from smtp_peer import RecordingServer
from stock import MASTER_CF

NAMESPACE = "POSTFLEET_TEST_NAMESPACE"
ENTERED = "own"
ZONE = pathlib.Path(__file__).with_name("dns_zone.txt")
RESOLVER, AUTHORITY, NOBODY = "127.0.0.53", "127.0.0.54", "127.0.0.55"
SERVERS = {"mx1": ("127.0.1.1", 25), "mx2": ("127.0.1.2", 25), "other": ("127.0.1.4", 2525),
           "six": ("fd00::1", 25), "fallback": ("127.0.1.9", 25)}

# Domain -> route; all others of CASES go by the domain's own records.
ROUTES = {
    "bracket.test.example": "smtp:[mx1.dns.example]:25",
    "bracketabsent.test.example": "smtp:[absent.dns.example]",
    "bracketnodata.test.example": "smtp:[nodata.dns.example]",
    "bracketlame.test.example": "smtp:[host.lame.example]",
    "bracketcname.test.example": "smtp:[alias.dns.example]",
    "port.test.example": "smtp:[other.dns.example]:2525",
    "mxport.test.example": "smtp:altmx.dns.example:2525",
    "address.test.example": "smtp:[127.0.1.2]",
    "addressport.test.example": "smtp:[127.0.1.4]:2525",
    "sixaddress.test.example": "smtp:[fd00::1]:25",
    "list.test.example": "smtp:[dead.dns.example], [mx2.dns.example]",
    "listabsent.test.example": "smtp:absent.dns.example, plain.dns.example",
    "fbdead.test.example": "withfallback:nobody.dns.example",
    "fbabsent.test.example": "withfallback:absent.dns.example",
    "fbnull.test.example": "withfallback:null.dns.example",
    "fblame.test.example": "withfallback:x.lame.example",
    "fbself.test.example": "withfallback:self.dns.example",
    "fbfine.test.example": "withfallback:plain.dns.example",
}
CASES = [f"{name}.dns.example" for name in (
    "plain", "prefer", "second", "nobody", "implicit", "null", "nullplus", "cname", "chain", "dangling", "loop1",
    "cnamedmx", "nohost", "halfhost", "noaddress", "nodata", "absent", "sixonly", "siximplicit", "self", "selfsecond",
    "selffirst", "selfequal", "lamehost", "lamehalf", "numeric", "many", "a.wild", "under_score")] + [
        "lame.example", "[127.0.1.1]", "[IPv6:fd00::1]"] + list(ROUTES)
# Domain -> why we are meant to differ.
KNOWN = {
}
EQUAL_MESSAGES = 24

_FATE = re.compile(r"/\w+\[\d+\]: \w+: to=<c(\d+)@[^>]*>, (?:orig_to=<[^>]*>, )?relay=(\S+), .*?dsn=([\d.]+), status=(\w+) \((.*)\)$", re.MULTILINE)
_SECONDS_MAX = 30.0

Fate = collections.namedtuple("Fate", "relay dsn status text")


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

    def __init__(self, folder):
        self._folder = folder
        self._processes = []

    def __enter__(self):
        folder = self._folder
        shutil.copy(ZONE, folder / "zone")
        (folder / "knot.conf").write_text(
            f"server:\n  rundir: {folder}\n  listen: {AUTHORITY}@53\ndatabase:\n  storage: {folder}\n"
            f"log:\n  - target: stderr\n    any: warning\n"
            f"zone:\n  - domain: dns.example\n    file: {folder}/zone\n    zonefile-sync: -1\n")
        stubs = {"dns.example": AUTHORITY, "lame.example": AUTHORITY, "silent.example": NOBODY}
        (folder / "unbound.conf").write_text(
            f"server:\n  interface: {RESOLVER}\n  access-control: 127.0.0.0/8 allow\n  username: \"\"\n  chroot: \"\"\n"
            f"  directory: {folder}\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n"
            "  do-not-query-localhost: no\n  module-config: \"iterator\"\n  qname-minimisation: no\n"
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


class Side:
    def __init__(self, stack, folder, oracle):
        self.label = "postfix" if oracle else "postfleet"
        routes = folder / "routes"
        routes.write_text("".join(f"{domain} {route}\n" for domain, route in ROUTES.items()))
        self.mta = stack(harness.Instance(folder, {
            "inet_protocols": "all",
            "smtpd_peername_lookup": "no",
            "transport_maps": f"texthash:{routes}",
            "smtp_address_preference": "ipv4",
            "smtp_destination_concurrency_limit": "20",
            "in_flow_delay": "0s",
            "smtputf8_enable": "no",
            # A kept connection would be used instead of choosing a host again.
            "smtp_connection_cache_on_demand": "no",
        }, MASTER_CF + "withfallback unix - - n - - smtp -o smtp_fallback_relay=[fallback.dns.example]\n",
            name=self.label, oracle=oracle))

    def run(self):
        """A message to each, which have their fates afterwards."""
        with smtp_client.Client(self.mta.port) as client:
            for number, domain in enumerate(CASES):
                self._send(client, f"c{number}@{domain}")
            for number in range(EQUAL_MESSAGES):
                self._send(client, f"equal{number}@equal.dns.example")
            client.quit()

        def decided():
            self.fates = {CASES[int(found.group(1))]: Fate(*found.groups()[1:])
                          for found in reversed(list(_FATE.finditer(self.mta.log())))}
            return len(self.fates) == len(CASES)
        with contextlib.suppress(Missed):
            wait_until("fates", decided, _SECONDS_MAX, self.mta.why_ended, poll_seconds=0.2)
        for domain in set(CASES) - set(self.fates):
            self.fates[domain] = f"none within {_SECONDS_MAX:g} s"
        self.mta.wait_for_log(r"to=<equal\d+@.*status=sent", EQUAL_MESSAGES)

    def _send(self, client, recipient):
        reply = client.send(f"{self.label}@sender.example", [recipient], b"Subject: where to?\n\nbody\n")
        if reply.code != 250:
            raise AssertionError(f"{self.label}: {recipient}: {reply}")


class Destinations(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.environ.get(NAMESPACE) != ENTERED:
            raise unittest.SkipTest("needs root and namespaces of its own: " + os.environ.get(NAMESPACE, "not root"))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "addr", "replace", "fd00::1/128", "dev", "lo"], check=True)
        enter = cls.enterClassContext
        folder = enter(machine.folder())
        cls.peers = {name: enter(RecordingServer(*address)) for name, address in SERVERS.items()}
        (folder / "dns").mkdir()
        enter(NameServers(folder / "dns"))
        cls.sides = []
        for oracle in (True, False):
            (folder / str(oracle)).mkdir()
            (folder / str(oracle)).chmod(0o755)
            cls.sides.append(Side(enter, folder / str(oracle), oracle))
        errors = []

        def run(side):
            try:
                side.run()
            except AssertionError as error:
                errors.append(f"{side.label}: {error}")
        threads = [threading.Thread(target=run, args=(side,)) for side in cls.sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise AssertionError("; ".join(errors))
        cls.postfix, cls.postfleet = cls.sides

    def places(self, side):
        """{recipient in lower case: [servers that took it]}"""
        found = collections.defaultdict(list)
        for name, peer in self.peers.items():
            for message in peer.messages:
                if message.sender.startswith(side.label + "@"):
                    for recipient in message.recipients:
                        found[recipient.lower()].append(name)  # a literal's letters
        return found

    def test_decide_fate_and_words_as_with_postfix(self):
        different = {domain for domain in CASES if self.postfix.fates[domain] != self.postfleet.fates[domain]}
        for domain in sorted(different - set(KNOWN)):
            print(f"{domain}:\n  postfix   {self.postfix.fates[domain]}\n"
                  f"  postfleet {self.postfleet.fates[domain]}")
        self.assertEqual(sorted(different - set(KNOWN)), [])
        self.assertEqual(sorted(set(KNOWN) - different), [], "known differences that are none")

    def test_each_have_a_fate_with_postfix(self):
        self.assertEqual([fate for fate in self.postfix.fates.values() if isinstance(fate, str)], [])

    def test_get_the_mail_that_postfix_would_give_them(self):
        theirs, ours = ({recipient: servers for recipient, servers in self.places(side).items()
                         if recipient.partition("@")[2] not in ("equal.dns.example", *KNOWN)} for side in self.sides)
        self.assertGreater(len(theirs), len(CASES) // 3)
        self.assertEqual(theirs, ours)

    def test_of_equal_preference_share_the_mail(self):
        for side in self.sides:
            counts = collections.Counter(servers[0] for recipient, servers in self.places(side).items()
                                         if recipient.startswith("equal"))
            self.assertEqual(sum(counts.values()), EQUAL_MESSAGES)
            # With a fair coin one of them gets nothing once in eight million runs.
            self.assertEqual(set(counts), {"mx1", "mx2"}, side.label)

    def test_get_each_message_once(self):
        for side in self.sides:
            self.assertEqual({recipient: servers for recipient, servers in self.places(side).items()
                              if len(servers) != 1}, {}, side.label)


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


if __name__ == "__main__":
    enter_namespaces()
    facts.main()
