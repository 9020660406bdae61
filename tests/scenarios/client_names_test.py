"""The names of clients, from a real knot by a real unbound: ours beside real Postfix, in a network namespace of its own.

Needs root.
"""

import re
import socket
import subprocess
import unittest

import facts
import harness
import machine
import name_servers

HOSTS = """@ SOA ns.dns.example. admin.dns.example. 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.54
mx1 A 127.0.1.1
good A 127.2.0.1
both A 127.0.1.1
both A 127.2.0.2
forged A 127.0.1.1
nodata TXT "no address"
capital.name A 127.2.0.6
under_score A 127.2.0.8
"""
NAMES = """@ SOA ns.dns.example. admin.dns.example. 1 3600 600 86400 60
@ NS ns.dns.example.
1.0 PTR good.dns.example.
2.0 PTR both.dns.example.
3.0 PTR forged.dns.example.
4.0 PTR absent.dns.example.
5.0 PTR nodata.dns.example.
6.0 PTR capital.name.dns.example.
7.0 PTR host.lame.example.
8.0 PTR under_score.dns.example.
9.0 PTR bad\\!name.dns.example.
"""
ADDRESSES = [f"127.2.0.{number}" for number in range(1, 11)]
_LINE = re.compile(r"/smtpd\[\d+\]: (connect from \S+|warning: .*(?:127\.2\.0\.\d+|!).*)$", re.MULTILINE)


class ClientNames(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if name_servers.why_not_entered():
            raise unittest.SkipTest(name_servers.why_not_entered())
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        folder = cls.enterClassContext(machine.folder())
        (folder / "dns").mkdir()
        cls.enterClassContext(name_servers.NameServers(
            folder / "dns", {"dns.example": HOSTS, "2.127.in-addr.arpa": NAMES}))
        cls.lines = {}
        for oracle in (True, False):
            (folder / str(oracle)).mkdir()
            (folder / str(oracle)).chmod(0o755)
            mta = cls.enterClassContext(harness.Instance(folder / str(oracle), {}, name=str(oracle), oracle=oracle))
            for address in ADDRESSES:
                with socket.create_connection(("127.0.0.1", mta.port), 30, (address, 0)) as client:
                    if not client.recv(100).startswith(b"220 "):
                        raise AssertionError(f"no banner for {address}")
            mta.wait_for_log(r"disconnect from \S+\[127\.2\.0\.", len(ADDRESSES))
            cls.lines[oracle] = [line for line in _LINE.findall(mta.log()) if "127.0.0.1]" not in line]

    def test_and_warnings_are_those_of_postfix(self):
        self.assertEqual(self.lines[False], self.lines[True])

    def test_are_known_only_where_the_name_has_the_address(self):
        known = [line for line in self.lines[True] if line.startswith("connect") and "unknown[" not in line]
        self.assertEqual(known, ["connect from good.dns.example[127.2.0.1]", "connect from both.dns.example[127.2.0.2]",
                                 "connect from capital.name.dns.example[127.2.0.6]",
                                 "connect from under_score.dns.example[127.2.0.8]"])


if __name__ == "__main__":
    name_servers.enter_namespaces()
    facts.main()
