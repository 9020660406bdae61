"""`sendmail -bv` to every kind of destination: the reports and the log beside real Postfix's, and nothing delivered.

Each probe is one call. Users, homes and aliases are those of local_notice_test.py.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import facts
import harness
import local_notice_test
import local_oracle_test
import machine
import own_root
from smtp_peer import RecordingServer

_SENDER = "sender@notices.example"
_ALIASES = """\
command: "|/bin/false with words"
file: /home/alice/file
folder: /home/alice/folder/
outside: x@far.example
two: alice, x@far.example
refused: x@gone.example
nobody: nosuchuser
list: alice, nosuchuser
owner-list: owner@notices.example
"""
_FORWARDS = {"bob": "\\bob, x@far.example\n", "carol": "\"|exit 67\"\n"}
_SERVICES = """\
prog unix - n n - - pipe user=daemon argv=/bin/false -f ${sender} ${recipient}
lonely unix - n n - - pipe flags=X user=daemon argv=/bin/false
vmail unix - n n - - virtual
"""

Probe = collections.namedtuple("Probe", "name recipients options", defaults=((),))
PROBES = [
    Probe("user", ["alice"]),
    Probe("no user", ["nosuchuser"]),
    *(Probe(name, [name]) for name in ("command", "file", "folder", "outside", "two", "refused", "nobody", "list", "bob", "carol")),
    Probe("virtual", ["a@v.example", "missing@v.example"]),
    Probe("mbox", ["m@v.example"]),
    Probe("pipe", ["a@prog.example", "b@prog.example"]),
    Probe("pipe without arguments", ["a@lonely.example"]),
    Probe("smtp", ["x@far.example"]),
    Probe("smtp, refused", ["bad@far.example"]),
    Probe("smtp, later", ["late@far.example"]),
    Probe("smtp, some", ["x@far.example", "bad@far.example", "late@far.example"]),
    Probe("smtp without pipelining", ["x@plain.example", "bad@plain.example"]),
    Probe("smtp, bad sender", ["x@nosender.example"]),
    Probe("closed port", ["x@closed.example"]),
    Probe("error", ["x@gone.example"]),
    Probe("retry", ["x@later.example"]),
    Probe("discard", ["x@void.example"]),
    Probe("notify", ["alice", "nosuchuser"], ("-N", "never")),
    Probe("all", ["alice", "x@far.example", "a@v.example", "x@gone.example", "nosuchuser"]),
]
_NO_PIPELINING = "250-peer.example\r\n250-SIZE\r\n250 8BITMIME"


class Side:
    def __init__(self, folder, oracle, peers):
        self.notices, self.far, self.plain, self.no_sender = peers
        local_oracle_test.mount_users(folder)
        for name in local_oracle_test.USERS:
            path = pathlib.Path("/home", name)
            path.mkdir()
            local_oracle_test.give(path, name, 0o755)
        for name, text in _FORWARDS.items():
            path = pathlib.Path("/home", name, ".forward")
            path.write_text(text)
            local_oracle_test.give(path, name, 0o644)
        os.chown("/var/mail", 0, 8)
        os.chmod("/var/mail", 0o2775)
        aliases = folder / "aliases"
        aliases.write_text(_ALIASES)
        closed = machine.Port()
        routes = {"notices": self.notices.port, "far": self.far.port, "plain": self.plain.port, "nosender": self.no_sender.port,
                  "closed": closed.number}
        table = folder / "routes"
        table.write_text("".join(f"{name}.example smtp:[127.0.0.1]:{port}\n" for name, port in routes.items()) +
                         "prog.example prog:\nlonely.example lonely:\ngone.example error:5.1.1 nobody there\n"
                         "later.example retry:4.2.2 not now\nvoid.example discard:\n")
        for peer, domain in ((self.far, "far.example"), (self.plain, "plain.example")):
            peer.answer("RCPT", "550 5.1.1 <bad> no", to=f"bad@{domain}")
            peer.answer("RCPT", "450 4.2.0 <late> busy", to=f"late@{domain}")
        self.plain.answer("EHLO", _NO_PIPELINING)
        self.no_sender.answer("MAIL", "550 5.1.8 not from you")
        self.mta = harness.Instance(folder, {
            "alias_maps": f"hash:{aliases}",
            "mydestination": "mta.example, localhost",
            "myorigin": "mta.example",
            "transport_maps": f"texthash:{table}",
            "virtual_mailbox_domains": "v.example",
            "virtual_mailbox_maps": "inline:{ a@v.example=a/, m@v.example=m }",
            "allow_mail_to_files": "alias,forward",
            "default_privs": "daemon",
            "in_flow_delay": "0s",
            "biff": "no",
        }, harness.MASTER_CF + _SERVICES.replace("{", "{{").replace("}", "}}"), name="postfix" if oracle else "postfleet", oracle=oracle)
        self._probes = 0
        self._sendmail = "/usr/sbin/sendmail" if oracle else str(machine.bin_folder() / "sendmail")
        status, _, error = self.mta.run("postalias", f"hash:{aliases}")
        if status:
            raise AssertionError(f"postalias: {error}")

    def probe(self, probe):
        """What is told of it: exit status and output, reports, lines of the log; and what was delivered."""
        before, log_before = len(self.notices.messages), len(self.mta.log())
        done = subprocess.run([self._sendmail, "-bv", "-f", _SENDER, *probe.options, *probe.recipients], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=30, check=False,
                              env={"PATH": os.environ["PATH"], "MAIL_CONFIG": str(self.mta.config)})
        self._probes += done.returncode == 0
        self.mta.wait_for_log(r"pickup\[\d+\]: \w+: uid=0 from=", self._probes)
        self.mta.wait_until_empty()
        lines = re.findall(r"\w+\[\d+\]: \w+: (to=.*)", self.mta.log()[log_before:])
        reports = [f"{report.sender} -> {report.recipients}\n" +
                   local_notice_test.in_order(report.content.replace(b"\r\n", b"\n").decode())
                   for report in self.notices.messages[before:]]
        return {"call": [done.returncode, done.stdout, done.stderr],
                "reports": sorted(self._plain(report) for report in reports),
                "log": sorted(self._plain(line) for line in lines)}

    def _plain(self, text):
        text = re.sub(r"delays?=[^,]+, ", "", text)
        text = re.sub(r"(127\.0\.0\.1\]?):\d+", r"\1:PORT", text)
        text = text.replace(str(self.mta.folder.parent), "FOLDER")
        text = re.sub(r"(?<![\w/])(?=[0-9])[0-9A-Za-z]{11,20}(?![\w-])", "QUEUEID", text)
        text = re.sub(r"QUEUEID\.\d+/", "QUEUEID.TIME/", text)
        text = re.sub(r"conn_use=\d+, ", "", text)
        return re.sub(r"\w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}(?: \(\w+\))?", "DATE", text)

    def delivered(self):
        """Mail anywhere but the reports: files of users, mailboxes, peers that got contents."""
        files = [str(path) for top in ("/home", "/var/mail", str(self.mta.mail)) for path in pathlib.Path(top).rglob("*")
                 if path.is_file() and path.name != ".forward"]
        return files + [peer.messages[0].sender for peer in (self.far, self.plain, self.no_sender) if peer.messages]


def run_side(folder, oracle):
    with RecordingServer() as notices, RecordingServer() as far, RecordingServer() as plain, RecordingServer() as no_sender:
        side = Side(folder, oracle, (notices, far, plain, no_sender))
        with side.mta:
            told = {probe.name: side.probe(probe) for probe in PROBES}
        told["delivered"] = side.delivered()
        told["said DATA"] = [verb for peer in (far, plain, no_sender) for verb, _ in peer.attempts if verb == "DATA"]
    return told


class Probes(unittest.TestCase):
    maxDiff = None

    def test_are_told_as_postfixs_and_deliver_nothing(self):
        if refusal := own_root.refusal():
            self.skipTest(refusal)
        sides = [start_side(self.enterContext(machine.folder()), oracle) for oracle in (True, False)]
        theirs, ours = (json.loads(side.communicate()[0]) for side in sides)
        for name in theirs:
            with self.subTest(name):
                self.assertEqual(ours[name], theirs[name])
        self.assertEqual((ours["delivered"], ours["said DATA"]), ([], []))


def start_side(folder, oracle):
    """Its results come as JSON on standard output."""
    folder.chmod(0o755)
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-B", __file__, "--side",
               "postfix" if oracle else "postfleet", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "LANG": "C", "SCENARIO_BIN": str(machine.bin_folder())})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        answer, sys.stdout = sys.stdout, sys.stderr  # what a failure prints is no part of it
        json.dump(run_side(pathlib.Path(sys.argv[3]), sys.argv[2] == "postfix"), answer)
    else:
        facts.main()
