"""Notices about what aliases and .forward files lead to: ours beside real Postfix.

Compared, byte for byte but for queue ids, dates and the order of recipients: every notice that comes of a mail, with
its envelope, the log's lines about notices, and what postqueue shows of mail that waits. Each case is one message
whose subject is the case's name. Users and homes are those of local_oracle_test.py.
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
import local_oracle_test
import machine
import own_root
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

_SENDER = "sender@notices.example"
_ALIASES = """\
one: nosuchuser
two: nosuchuser, alice
several: nosuchuser, nosuchuser2, "|exit 67", alice
outer: inner
inner: nosuchuser, "|echo words of its own; exit 69"
command: "|exit 67"
words: "|echo 5.2.1 not today; exit 1"
file: /home/alice/private/file
forwards: bob
loopa: loopb
loopb: loopa
far: x@bad.example, nosuchuser
mixed: alice, x@gone.example
list: alice, nosuchuser, "|exit 67"
owner-list: owner@notices.example
late: alice, "|exit 75"
latebad: nosuchuser, "|exit 75"
latetwo: "|exit 75", "|echo 4.2.2 full; exit 75"
lateouter: late, latetwo
good: alice
nested: good, mixed
"""
_FORWARDS = {"bob": "nosuchuser, \"|exit 67\"\n", "carol": "\\carol, x@gone.example\n", "erin": "alice, nosuchuser\n"}

Case = collections.namedtuple("Case", "name recipients options rcpt fields sender", defaults=("", "", "", _SENDER))

# Case -> why we are meant to differ.
KNOWN = {name: "the sender is told of a list's commands and files that fail, not its owner"
         for name in ("list", "success-list")}

_BOTH = " NOTIFY=SUCCESS,FAILURE"
CASES = [
    Case("user", "nosuchuser@mta.example"),
    *(Case(name, f"{name}@mta.example") for name in
      ("one", "two", "several", "outer", "command", "words", "file", "forwards", "loopa", "far", "bob", "erin", "list")),
    Case("orcpt", "outer@mta.example", " ENVID=e", " NOTIFY=FAILURE ORCPT=rfc822;Orig@z.example"),
    Case("together", "one@mta.example nosuchuser@mta.example alice@mta.example"),
    Case("never", "several@mta.example", rcpt=" NOTIFY=NEVER"),
    Case("null", "two@mta.example", sender=""),
    Case("delivered", "alice@mta.example", fields="Delivered-To: alice@mta.example\n"),
    Case("delivered-before", "good@mta.example", fields="Delivered-To: alice@mta.example\n"),
    *(Case(f"success-{name}", f"{name}@mta.example", rcpt=_BOTH) for name in
      ("good", "mixed", "nested", "carol", "alice", "two", "several", "erin", "outer", "far", "list")),
    Case("success-only", "two@mta.example", rcpt=" NOTIFY=SUCCESS"),
    Case("success-orcpt", "nested@mta.example", " RET=HDRS", _BOTH + " ORCPT=rfc822;Orig@z.example"),
]
LATE = [
    Case("late", "late@mta.example"),
    Case("latetwo", "latetwo@mta.example"),
    Case("together", "late@mta.example latetwo@mta.example"),
    Case("lateouter", "lateouter@mta.example"),
    Case("latebad", "latebad@mta.example"),
]


# One side, in a namespace of its own.


class Side:
    def __init__(self, folder, oracle, notices, settings):
        self.notices = notices
        local_oracle_test.mount_users(folder)
        for name in local_oracle_test.USERS:
            path = pathlib.Path("/home", name)
            path.mkdir()
            local_oracle_test.give(path, name, 0o755)
        private = pathlib.Path("/home/alice/private")
        private.mkdir()
        local_oracle_test.give(private, "root", 0o700)
        for name, text in _FORWARDS.items():
            path = pathlib.Path("/home", name, ".forward")
            path.write_text(text)
            local_oracle_test.give(path, name, 0o644)
        os.chown("/var/mail", 0, 8)
        os.chmod("/var/mail", 0o2775)
        aliases = folder / "aliases"
        aliases.write_text(_ALIASES)
        self.mta = harness.Instance(folder, {
            "alias_maps": f"hash:{aliases}",
            "mydestination": "mta.example, localhost",
            "myorigin": "mta.example",
            "transport_maps": "inline:{ gone.example=discard:, { bad.example=error:5.1.1 nobody there },"
                              f" notices.example=smtp:[127.0.0.1]:{notices.port} }}",
            "default_privs": "defpriv",
            "in_flow_delay": "0s",
            "biff": "no",
            **settings,
        }, name="postfix" if oracle else "postfleet", oracle=oracle)

        status, _, error = self.mta.run("postalias", f"hash:{aliases}")
        if status:
            raise AssertionError(f"postalias: {error}")

    def send(self, cases):
        with smtp_client.Client(self.mta.port) as client:
            for case in cases:
                content = f"From: {_SENDER}\nSubject: case {case.name}\nMessage-Id: <{case.name}@case>\n" \
                          f"Date: Mon, 23 Nov 2026 07:00:00 +0000\n{case.fields}\ntext\n".encode()
                lines = [f"MAIL FROM:<{case.sender}>{case.options}",
                         *(f"RCPT TO:<{to}>{case.rcpt}" for to in case.recipients.split(" ")), "DATA"]
                for line in lines:
                    reply = client.command(line)
                    if reply.code >= 400:
                        raise AssertionError(f"{case.name}: {line}: {reply}")
                client.content(content)
            client.quit()

    def told(self):
        """{case: its notices and the log's lines about them, without what differs from run to run}."""
        log = self.mta.log()
        cases = {queue_id: name for queue_id, name in re.findall(r"cleanup\[\d+\]: (\w+): message-id=<([\w-]+)@case>", log)}
        told = collections.defaultdict(list)
        for message in self.notices.messages:
            text = message.content.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace")
            found = re.findall(r"^Subject: case (\S+)$", text, re.MULTILINE)
            told[found[-1]].append(self._plain(f"{message.sender} -> {message.recipients}\n{in_order(text)}"))
        for queue_id, text in re.findall(r"bounce\[\d+\]: (\w+): (.*)", log):
            if queue_id in cases:
                told[cases[queue_id]].append(self._plain(f"bounce: {text}"))
        return {name: sorted(texts) for name, texts in told.items()}

    def _plain(self, text):
        text = re.sub(r"(?<![\w/])(?=[0-9])[0-9A-Za-z]{11,20}(?![\w-])", "QUEUEID", text)
        text = re.sub(r"QUEUEID\.\d+/", "QUEUEID.TIME/", text)
        return re.sub(r"\w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d \+0000(?: \(UTC\))?", "DATE", text)


def in_order(text):
    """With the paragraphs about recipients in the order of their text."""
    def put(match):
        return "".join(sorted(re.findall(r"(?s).+?\n\n", match.group())))
    text = re.sub(r"(?:^<.*\n(?: .*\n)*\n)+", put, text, flags=re.MULTILINE)
    return re.sub(r"(?:^Final-Recipient: .*\n(?:.+\n)*\n)+", put, text, flags=re.MULTILINE)


def run_side(folder, oracle):
    with RecordingServer() as notices:
        side = Side(folder, oracle, notices, {})
        with side.mta:
            side.send(CASES)
            side.mta.wait_until_empty()
            # Lines of the log come a moment later.
            side.mta.wait_for_log(r"bounce\[\d+\]: \w+: .* notification: ", len(notices.messages))
            told = side.told()
            side.send(LATE)
            wait_until("the deferral of all late mail", lambda: side.mta.queued() and all(
                message["queue_name"] == "deferred" for message in side.mta.queued()), 30.0, side.mta.why_ended)
            told["queue"] = sorted(sorted((to["address"], to.get("delay_reason", "")) for to in message["recipients"])
                                   for message in side.mta.queued())
            told["listed"] = listed(side.mta.run("postqueue", "-p")[1])
    return told


def listed(text):
    """Of `postqueue -p`, the recipients of each message with the reason above them."""
    messages = []
    for part in text.partition("\n")[2].split("\n\n"):
        reason, rows = "", []
        for line in part.splitlines()[1:]:
            if line.lstrip().startswith("("):
                reason = line
            else:
                rows.append([reason, line])
        messages.append(sorted(rows))
    return sorted(messages)


class NoticesAboutParts(unittest.TestCase):
    maxDiff = None

    def test_are_postfixs(self):
        if refusal := own_root.refusal():
            self.skipTest(refusal)
        sides = [start_side(self.enterContext(machine.folder()), oracle) for oracle in (True, False)]
        theirs, ours = (json.loads(side.communicate()[0]) for side in sides)
        self.assertGreater(len(theirs), len(CASES) - 3, "never, null, and those of LATE")
        for name in sorted(set(theirs) | set(ours)):
            with self.subTest(name):
                compare = self.assertNotEqual if name in KNOWN else self.assertEqual
                compare(theirs.get(name), ours.get(name), KNOWN.get(name))


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
