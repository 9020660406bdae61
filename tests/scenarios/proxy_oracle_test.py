"""What the server makes of a PROXY header (smtpd_upstream_proxy_protocol): ours beside real Postfix."""

import re
import socket
import struct
import unittest

import facts
import harness
import machine
from stock import MASTER_CF

SECONDS_MAX = 10.0
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PORTS = struct.pack(">HH", 25041, 25)
_TCP4 = socket.inet_aton("192.0.2.8") + socket.inet_aton("192.0.2.1") + _PORTS
_TCP6 = 2 * socket.inet_pton(socket.AF_INET6, "2001:db8::8") + _PORTS


def binary(version_and_command, family, fields):
    return _SIGNATURE + bytes([version_and_command, family]) + struct.pack(">H", len(fields)) + fields


HEADERS = {
    "line": b"PROXY TCP4 192.0.2.7 192.0.2.1 25041 25\r\n",
    "line without CR": b"PROXY TCP4 192.0.2.7 192.0.2.1 25041 25\n",
    "line of IPv6": b"PROXY TCP6 2001:db8::7 2001:db8::1 25041 25\r\n",
    "line of mapped IPv4": b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 25041 25\r\n",
    "unknown": b"PROXY UNKNOWN\r\n",
    "unknown with more": b"PROXY UNKNOWN ffff 1 2 3\r\n",
    "other protocol": b"PROXY UDP4 192.0.2.7 192.0.2.1 25041 25\r\n",
    "bad address": b"PROXY TCP4 300.0.2.7 192.0.2.1 25041 25\r\n",
    "bad port": b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 25\r\n",
    "port zero": b"PROXY TCP4 192.0.2.7 192.0.2.1 0 25\r\n",
    "leading zero": b"PROXY TCP4 192.0.2.7 192.0.2.1 025 25\r\n",
    "wrong family": b"PROXY TCP4 2001:db8::7 2001:db8::1 1 25\r\n",
    "two blanks": b"PROXY  TCP4 192.0.2.7 192.0.2.1 25041 25\r\n",
    "word too many": b"PROXY TCP4 192.0.2.7 192.0.2.1 25041 25 x\r\n",
    "word too few": b"PROXY TCP4 192.0.2.7 192.0.2.1 25041\r\n",
    "small letters": b"proxy TCP4 192.0.2.7 192.0.2.1 25041 25\r\n",
    "long line": b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
    "no header": b"EHLO client.example\r\n",
    "binary": binary(0x21, 0x11, _TCP4),
    "binary with TLV": binary(0x21, 0x11, _TCP4 + b"\x03\0\x04abcd"),
    "binary of IPv6": binary(0x21, 0x21, _TCP6),
    "local": binary(0x20, 0, b""),
    "local with fields": binary(0x20, 0x11, _TCP4),
    "unspecified": binary(0x21, 0, b""),
    "unix socket": binary(0x21, 0x31, b"x" * 216),
    "datagrams": binary(0x21, 0x12, _TCP4),
    "short fields": binary(0x21, 0x11, b"1234"),
    "other version": binary(0x31, 0x11, _TCP4),
    "other command": binary(0x25, 0x11, _TCP4),
    "too long": binary(0x21, 0x11, _TCP4 + b"\x04" + struct.pack(">H", 3000) + b"x" * 3000),
    "silence": b"",
}


class AProxyBeforeTheServer(unittest.TestCase):
    maxDiff = None

    def outcomes(self, oracle):
        """{name: (the first line of the reply, who the log calls the client)}"""
        port = machine.Port()
        self.addCleanup(port.close)
        mta = self.enterContext(harness.Instance(self.enterContext(machine.folder()), {
            "smtpd_peername_lookup": "no", "inet_protocols": "all",
        }, MASTER_CF + f"127.0.0.1:{port.number} inet n - n - - smtpd -o syslog_name=postfix/behind"
            " -o smtpd_upstream_proxy_protocol=haproxy -o smtpd_upstream_proxy_timeout=1s\n",
            name="postfix" if oracle else "postfleet", oracle=oracle))
        found = {}
        for number, (name, header) in enumerate(HEADERS.items(), 1):
            with socket.create_connection(("127.0.0.1", port.number), SECONDS_MAX) as client:
                client.sendall(header)
                reply = client.makefile("rb").readline().decode("ascii")
                if reply.startswith("220"):
                    client.sendall(b"QUIT\r\n")
            lines = mta.wait_for_log(r"behind/smtpd\[\d+\]: connect from (.*)$", number)
            found[name] = re.sub(r"^220 .*", "220", reply.strip()), lines[-1].group(1)
        return found

    def test_names_the_client_or_is_refused_as_at_postfix(self):
        machine.require_root(self)
        self.assertEqual(self.outcomes(oracle=False), self.outcomes(oracle=True))


if __name__ == "__main__":
    facts.main()
