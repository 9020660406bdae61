"""A real nginx as a mail proxy before the server: mail comes from the client, whom nginx names by XCLIENT or in a PROXY header.

nginx answers the client itself up to the first recipient, asks a little web server which server is next, and says there
what it was told. It knows no XFORWARD.
"""

import base64
import http.server
import re
import subprocess
import threading
import unittest

import facts
import harness
import machine
import own_root
import smtp_client
from deadlines import wait_until
from stock import MASTER_CF, wait_for_greeting

CLIENT = "127.0.0.9"
_SECONDS_MAX = 20.0
_CONF = """\
load_module {modules}/ngx_mail_module.so;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log info;
events {{}}
mail {{
  server_name proxy.example;
  auth_http 127.0.0.1:{authority}/;
  proxy_pass_error_message on;
  server {{
    listen 127.0.0.1:{port};
    protocol smtp;
    smtp_auth {auth};
    {options}
  }}
}}
"""


class Authority:
    """Lets everybody through to 127.0.0.1:`target`."""

    def __init__(self, target):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                for name, value in (("Auth-Status", "OK"), ("Auth-Server", "127.0.0.1"), ("Auth-Port", target)):
                    self.send_header(name, str(value))
                self.end_headers()

            def log_message(self, *_):
                pass
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self._server.server_address[1]

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Nginx:
    """Passes mail of a port of its own on, as `authority` says."""

    def __init__(self, folder, authority, auth, options):
        self._port = machine.Port()
        self.port = self._port.number
        self._program = own_root.unpacked("nginx") / "usr/sbin/nginx"
        modules = own_root.unpacked("libnginx-mod-mail") / "usr/lib/nginx/modules"
        self._folder = folder / "nginx"
        self._folder.mkdir()
        self._conf = self._folder / "nginx.conf"
        self._conf.write_text(_CONF.format(modules=modules, folder=self._folder, authority=authority.port, port=self.port,
                                           auth=auth, options=options))
        self._output = self._folder / "output"

    def __enter__(self):
        with open(self._output, "wb") as output:
            self._child = subprocess.Popen([self._program, "-p", self._folder, "-e", self._folder / "nginx.log", "-c", self._conf],
                                           stdin=subprocess.DEVNULL, stdout=output, stderr=output)
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


class AnNginxBeforeTheServer(unittest.TestCase):
    maxDiff = None

    def told(self, oracle, auth="none", options="", parameters=None, service=""):
        """What the client is told, and what log and mail say of it."""
        folder = self.enterContext(machine.folder())
        port = machine.Port()
        self.addCleanup(port.close)
        mta = self.enterContext(harness.Instance(folder, {
            "mydestination": "", "virtual_mailbox_domains": "box.example", "virtual_mailbox_maps": "static:box/",
            "smtpd_peername_lookup": "no", "mynetworks": "127.0.0.1/32", **(parameters or {})},
            MASTER_CF + f"127.0.0.1:{port.number} inet n - n - - smtpd -o syslog_name=postfix/behind {service}\n",
            name="postfix" if oracle else "postfleet", oracle=oracle))
        authority = self.enterContext(Authority(port.number))
        proxy = self.enterContext(Nginx(folder, authority, auth, options))
        said = []
        with smtp_client.Client(proxy.port, source=CLIENT) as client:

            def say(line):
                said.append((line, str(client.command(line))))
            if auth != "none":
                say("AUTH PLAIN " + base64.b64encode(b"\0bob\0secret").decode())
            for line in ("MAIL FROM:<a@client.example>", "RCPT TO:<b@box.example>", "RCPT TO:<c@elsewhere.example>", "DATA"):
                say(line)
            said.append(("content", re.sub(r"queued as \w+", "queued", str(client.content(b"Subject: x\n\nbody\n")))))
            client.quit()
        ended = mta.wait_for_log(rf"behind/smtpd\[\d+\]: (disconnect from \S+\[{re.escape(CLIENT)}\].*)$")[-1].group(1)
        wait_until("the mail", lambda: mta.maildir("box"), _SECONDS_MAX, mta.why_ended)
        received = re.sub(rb" id \w+", b" id ID", re.search(rb"Received: from .*\n.*", mta.maildir("box")[0]).group())
        lines = re.findall(r"behind/smtpd\[\d+\]: (?:\w+: client=|NOQUEUE: |\w+: reject: )(.*)$", mta.log(), re.MULTILINE)
        return said, lines, ended, received

    def told_by_both(self, **how):
        """Ours, which is as Postfix's."""
        machine.require_root(self)
        ours = self.told(False, **how)
        self.assertEqual(ours, self.told(True, **how))
        return ours

    def test_names_the_client_by_xclient(self):
        _, lines, _, received = self.told_by_both(options="xclient on;", parameters={"smtpd_authorized_xclient_hosts": "127.0.0.1"})
        self.assertEqual(lines[0], f"unknown[{CLIENT}]")
        self.assertIn(f"RCPT from unknown[{CLIENT}]: 454 4.7.1 <c@elsewhere.example>: Relay access denied", lines[1])
        self.assertIn(b"from client.example (unknown [127.0.0.9])", received)

    def test_names_who_has_logged_in_there_by_xclient(self):
        _, lines, _, received = self.told_by_both(
            auth="plain", options="xclient on;", parameters={"smtpd_authorized_xclient_hosts": "127.0.0.1"})
        self.assertEqual(lines[0], f"unknown[{CLIENT}], sasl_method=XCLIENT, sasl_username=bob")
        self.assertIn(b" with ESMTPA ", received)

    def test_names_the_client_in_a_proxy_header(self):
        _, lines, _, _ = self.told_by_both(options="xclient off; proxy_protocol on;",
                                           service="-o smtpd_upstream_proxy_protocol=haproxy")
        self.assertEqual(lines[0], f"unknown[{CLIENT}]")

    def test_counts_the_clients_behind_it_not_it(self):
        said, lines, _, _ = self.told_by_both(
            options="xclient on;", parameters={"smtpd_authorized_xclient_hosts": "127.0.0.1",
                                               "smtpd_client_recipient_rate_limit": "1"})
        self.assertIn(f"450 4.7.1 Error: too many recipients from {CLIENT}", said[2][1])
        self.assertEqual(lines, [f"unknown[{CLIENT}]"])


if __name__ == "__main__":
    facts.main()
