"""A real haproxy before the server, with both forms of its header: mail comes from the client, not from the proxy."""

import os
import re
import shutil
import subprocess
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from stock import MASTER_CF, wait_for_greeting

CLIENT = "127.0.0.9"
_SECONDS_MAX = 20.0


class Haproxy:
    """Passes a port of its own on to `target`."""

    def __init__(self, folder, target, option):
        self._port = machine.Port()
        self.port = self._port.number
        self._config = folder / "haproxy.cfg"
        self._config.write_text(
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n"
            f"frontend in\n  bind 127.0.0.1:{self.port}\n  default_backend out\n"
            f"backend out\n  server mx 127.0.0.1:{target} {option}\n")
        self._output = folder / "haproxy.output"

    def __enter__(self):
        program = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not program:
            raise AssertionError("haproxy is not installed: ./dev installs what deploy/packages lists")
        with open(self._output, "wb") as output:
            self._child = subprocess.Popen([program, "-db", "-f", self._config], stdin=subprocess.DEVNULL,
                                           stdout=output, stderr=output)
        try:
            wait_for_greeting(self.port, lambda: self._output.read_text() if self._child.poll() is not None else None)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._child.kill()
        self._child.wait()
        self._port.close()


class AHaproxyBeforeTheServer(unittest.TestCase):
    maxDiff = None

    def told(self, oracle, option):
        """What the log and the mail say of a client at 127.0.0.9."""
        folder = self.enterContext(machine.folder())
        port = machine.Port()
        self.addCleanup(port.close)
        mta = self.enterContext(harness.Instance(folder, {
            "mydestination": "", "virtual_mailbox_domains": "box.example", "virtual_mailbox_maps": "static:box/",
            "smtpd_client_connection_count_limit": "0"},
            MASTER_CF + f"127.0.0.1:{port.number} inet n - n - - smtpd -o syslog_name=postfix/behind"
            " -o smtpd_upstream_proxy_protocol=haproxy\n", name="postfix" if oracle else "postfleet", oracle=oracle))
        proxy = self.enterContext(Haproxy(folder, port.number, option))
        with smtp_client.Client(proxy.port, source=CLIENT) as client:
            self.assertEqual(client.send("a@client.example", ["b@box.example"], b"Subject: x\n\nbody\n").code, 250)
            client.quit()
        lines = mta.wait_for_log(rf"behind/smtpd\[\d+\]: (disconnect from \S+\[{re.escape(CLIENT)}\].*)$")
        wait_until("the mail", lambda: mta.maildir("box"), _SECONDS_MAX, mta.why_ended)
        received = re.search(rb"Received: from .*", mta.maildir("box")[0]).group()
        clients = re.findall(r"behind/smtpd\[\d+\]: \w+: client=(\S+)", mta.log())
        return clients, lines[-1].group(1), received

    def test_leaves_the_client_to_be_known(self):
        machine.require_root(self)
        for option in ("send-proxy", "send-proxy-v2"):
            with self.subTest(option):
                ours = self.told(False, option)
                self.assertEqual(ours[0], [f"unknown[{CLIENT}]"])
                self.assertEqual(ours, self.told(True, option))


if __name__ == "__main__":
    facts.main()
