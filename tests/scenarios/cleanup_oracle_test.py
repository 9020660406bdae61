"""What becomes of a message's content on its way into the queue: every case of cleanup_cases.txt, beside real Postfix.

Compared are the replies, the lines that smtpd and cleanup log, and the content that postcat shows, byte for byte but for
queue ids, dates and process ids. Cases with a line `why` differ as it says, and must differ. cleanup_cases.txt says how a
case is written. Needs root, as Postfix does.

SHOW=name prints what both did in the cases whose names begin so.
"""

import codecs
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import socket
import subprocess
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

FILE = pathlib.Path(__file__).parent / "cleanup_cases.txt"
CASES_MIN = 150
_SECONDS_MAX = 20.0
_SHOWN_BYTES_MAX = 1500
_PARAMETERS = {
    "mail_name": "Mail",
    "myorigin": "origin.example",
    "mynetworks": "127.0.0.1/32",
    "relay_domains": "peer.example",
    "defer_transports": "smtp relay",
    "smtpd_error_sleep_time": "0",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_peername_lookup": "no",
    # As Postfix 3.9 has it.
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_forbid_bare_newline_exclusions": "",
    "smtpd_forbid_unauth_pipelining": "yes",
    "in_flow_delay": "0s",
}
_REPEATED = re.compile(rb"\{(\d+)\*([^{}]*)\}")
_QUEUE_ID = re.compile(rb"\b4[0-9A-Za-z]{8,10}z[0-9A-Za-z]+\b")
_DATE = re.compile(rb"\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)")
_LOGGED = re.compile(r"postfix/(smtpd|cleanup)\[\d+\]: (.*)$", re.MULTILINE)
# Said by processes of Postfix to one another.
_INTERNAL = re.compile(r"public/qmgr|public/flush|overriding earlier entry|mail_stream_cleanup|Table-driven")


@dataclasses.dataclass
class Case:
    name: str
    greet: str = "EHLO client.example"
    source: str = "127.0.0.2"
    mail: str = "<sender@client.example>"
    rcpt: list = dataclasses.field(default_factory=list)
    chunked: bool = False
    content: bytes = b""
    end: bytes = b".\r\n"
    why: str = ""


@dataclasses.dataclass
class Group:
    name: str
    parameters: dict = dataclasses.field(default_factory=dict)
    cases: list = dataclasses.field(default_factory=list)


def _bytes(text):
    plain = codecs.escape_decode(text.encode())[0]
    while b"{" in plain:
        made = _REPEATED.sub(lambda found: found[2] * int(found[1]), plain)
        if made == plain:
            break
        plain = made
    return plain


def read(text):
    """[Group]"""
    groups = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "==":
            groups.append(Group(rest))
        elif word == "main.cf:" and not groups[-1].cases:
            name, _, value = rest.partition("=")
            groups[-1].parameters[name.strip()] = value.strip()
        elif not line.startswith(" ") and not rest:
            groups[-1].cases.append(Case(word))
        elif word in ("greet", "mail", "why"):
            setattr(groups[-1].cases[-1], word, _bytes(rest).decode())
        elif word == "from":
            groups[-1].cases[-1].source = rest
        elif word == "rcpt":
            groups[-1].cases[-1].rcpt.append(_bytes(rest).decode())
        elif word == "bdat":
            groups[-1].cases[-1].chunked = True
        elif word == "end":
            groups[-1].cases[-1].end = _bytes(rest)
        elif word in (">", "+"):
            groups[-1].cases[-1].content += _bytes(line.strip()[2:]) + (b"\r\n" if word == ">" else b"")
        else:
            raise ValueError(f"line {number}: {line!r}")
    return groups


class Side:
    """One of the two mail systems, with what became of each case."""

    def __init__(self, stack, parameters, oracle):
        self.label = "postfix" if oracle else "postfleet"
        ipv6 = "[::1]:{port} inet n - n - - smtpd\n" if parameters.get("inet_protocols") == "all" else ""
        self.mta = stack(harness.Instance(stack(machine.folder()), {**_PARAMETERS, **parameters},
                                          ipv6 + harness.MASTER_CF, self.label, oracle))
        self.mta.wait_for_log(r"disconnect from")

    def run(self, case):
        """Replies, lines of the log and what is queued, as text."""
        before = len(self.mta.log())
        replies, ids = self._talk(case)
        lines = self._log_since(before)
        if not ids:
            # Postfix's cleanup may be gone before it says so.
            lines = [line for line in lines if line != "ID: message-id=<>"]
        if any("message file too big" in reply for reply in replies):
            # How much of it Postfix's cleanup has read by then is a race.
            lines = [line for line in lines if "hopcount exceeded" not in line]
        queued = [self._stored(queue_id) for queue_id in ids]
        text = [f"< {line}" for line in replies] + [f"log: {line}" for line in lines]
        return "\n".join(text).encode() + b"".join(b"\n=\n" + content for content in queued)

    def _talk(self, case):
        host = "::1" if ":" in case.source else "127.0.0.1"
        with socket.create_connection((host, self.mta.port), _SECONDS_MAX, (case.source, 0)) as client:
            replies = client.makefile("rb")
            told = []

            def answer():
                while True:
                    try:
                        line = replies.readline()
                    except ConnectionResetError:
                        line = b""
                    told.append(line.rstrip(b"\r\n").decode("utf-8", "backslashreplace") or "EOF")
                    if not line or line[3:4] != b"-":
                        return line[:1]
            answer()
            lines = [case.greet, f"MAIL FROM:{case.mail}"]
            lines += [f"RCPT TO:{to}" for to in case.rcpt or ["<rcpt@peer.example>"]]
            for line in lines:
                client.sendall(line.encode() + b"\r\n")
                answer()
            told.clear()
            client.sendall(b"BDAT %d LAST\r\n" % len(case.content) if case.chunked else b"DATA\r\n")
            if case.chunked or answer() == b"3":
                client.sendall(case.content + (b"" if case.chunked else case.end))
                answer()
            if told[-1] != "EOF":
                client.sendall(b"QUIT\r\n")
                while answer():
                    pass
        ids = [found[1] for found in (re.search(r"queued as (\w+)", line) for line in told) if found]
        return [_QUEUE_ID.sub(b"ID", line.encode()).decode() for line in told], ids

    def _log_since(self, offset):
        def ended():
            text = self.mta.log()[offset:]
            return text if re.search(r"smtpd\[\d+\]: disconnect from .*\n", text) else None
        text = wait_until(f"the end of a session in the log of {self.label}", ended, _SECONDS_MAX, self.mta.why_ended)
        lines = [line for program, line in _LOGGED.findall(text) if not _INTERNAL.search(line)]
        return sorted(_DATE.sub(b"TIME", _QUEUE_ID.sub(b"ID", line.encode())).decode() for line in lines)

    def _stored(self, queue_id):
        def shown():
            done = subprocess.run(self.mta.command_line("postcat", "-ebhq", queue_id), capture_output=True, check=False)
            return done.stdout if done.returncode == 0 and b"*** MESSAGE FILE END" in done.stdout else None
        text = wait_until(f"{queue_id} in the queue of {self.label}", shown, _SECONDS_MAX, self.mta.why_ended)
        envelope, _, content = text.partition(b"*** MESSAGE CONTENTS")
        content, _, extracted = content.partition(b"\n")[2].rpartition(b"*** HEADER EXTRACTED")
        # The last one counts.
        encoding = b"".join(re.findall(rb"named_attribute: (encoding=\w+\n)", envelope + extracted)[-1:])
        return encoding + _DATE.sub(b"TIME", _QUEUE_ID.sub(b"ID", content))


def _difference(theirs, ours, whole=False):
    """Where they part, with what is around it."""
    at = 0 if whole else next((at for at, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1]), min(len(theirs), len(ours)))
    start = max(0, at - _SHOWN_BYTES_MAX // 3)
    return "".join(f"\n--- {label}, {len(text)} bytes, from {start}:\n"
                   + text[start:start + _SHOWN_BYTES_MAX].decode("utf-8", "backslashreplace")
                   for label, text in (("Postfix", theirs), ("Postfleet", ours)))


def fact(group):
    def test(self):
        def outcomes(oracle):
            side = Side(self.enterContext, group.parameters, oracle)
            return [side.run(case) for case in group.cases]
        wrong = []
        # The two beside each other.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            theirs, ours = pool.map(outcomes, (True, False))
        for case, told, said in zip(group.cases, theirs, ours):
            if os.environ.get("SHOW") and case.name.startswith(os.environ["SHOW"]):
                print(f"{case.name}:{_difference(told, said, whole=True)}", flush=True)
            if bool(case.why) != (told != said):
                wrong.append(case.name)
                print(f"{case.name}:" + (_difference(told, said) if told != said else " does not differ"), flush=True)
        self.assertEqual(wrong, [])
    test.__name__ = "test_" + group.name.replace(" ", "_")
    return test


@unittest.skipUnless(machine.IS_ROOT, "real Postfix needs root: run ./dev test as root, as CI does")
class Contents(unittest.TestCase):
    def test_are_many(self):
        names = [case.name for group in _GROUPS for case in group.cases]
        self.assertGreaterEqual(len(names), CASES_MIN)
        self.assertEqual(len(names), len(set(names)))


_UTF8_EHLO = "250-peer.example\r\n250-8BITMIME\r\n250 SMTPUTF8"
_UTF8_CONTENTS = [
    b"Subject: x\n",
    b"Subject: gr\xc3\xbc\xc3\x9fe\n",
    b"Subject: \xe4\n",
    b"Bcc: \xc3\xa4\nSubject: x\n",
    b"Subject: x\n\ngr\xc3\xbc\xc3\x9fe\n",
    b"Content-Type: message/rfc822\n\nSubject: \xc3\xa4\n",
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\nX-A: \xc3\xa4\n\n",
    b"Content-Type: message/partial\n\nSubject: \xc3\xa4\n",
]


@unittest.skipUnless(machine.IS_ROOT, "real Postfix needs root: run ./dev test as root, as CI does")
class NeedOfSmtpUtf8(unittest.TestCase):
    """What MAIL says to the next server."""

    def parameters_of_mail(self, classes, options):
        told = []
        for oracle in (True, False):
            with RecordingServer() as peer, machine.folder() as folder:
                peer.answer("EHLO", _UTF8_EHLO)
                with harness.Instance(folder, {**_PARAMETERS, "defer_transports": "", "relay_domains": "",
                                               "relayhost": f"[127.0.0.1]:{peer.port}",
                                               "smtputf8_autodetect_classes": classes}, oracle=oracle) as mta:
                    with smtp_client.Client(mta.port) as client:
                        for number, content in enumerate(_UTF8_CONTENTS):
                            reply = client.send(f"s{number}@client.example", ["r@peer.example"], content, options)
                            self.assertEqual(reply.code, 250, reply)
                        client.quit()
                    found = {message.sender: message.parameters for message in peer.wait_for(len(_UTF8_CONTENTS))}
            told.append([found[f"s{number}@client.example"] for number in range(len(_UTF8_CONTENTS))])
        return told

    def test_is_detected_as_by_postfix(self):
        for classes, options in (("all", ""), ("smtpd", " SMTPUTF8"), ("sendmail, verify", ""),
                                 ("sendmail, verify", " SMTPUTF8")):
            with self.subTest(classes + options):
                theirs, ours = self.parameters_of_mail(classes, options)
                self.assertEqual(ours, theirs)
                self.assertEqual("SMTPUTF8" in theirs[1], classes != "sendmail, verify" or bool(options))

    def parameters_of_notices(self, classes):
        """{who gets it: what MAIL says}, at both."""
        told = []
        for oracle in (True, False):
            with RecordingServer() as peer, machine.folder() as folder:
                peer.answer("EHLO", _UTF8_EHLO)
                with harness.Instance(folder, {**_PARAMETERS, "defer_transports": "", "relay_domains": "", "mydestination": "",
                                               "relayhost": f"[127.0.0.1]:{peer.port}", "notify_classes": "bounce",
                                               "smtpd_reject_unlisted_recipient": "no",
                                               "bounce_notice_recipient": "post\u00e4master@client.example",
                                               "transport_maps": "inline:{ { bad.example = error:no such host } }",
                                               "smtputf8_autodetect_classes": classes}, oracle=oracle) as mta:
                    with smtp_client.Client(mta.port) as client:
                        sender = "s\u00e4nder@client.example".encode().decode("latin-1")
                        reply = client.send(sender, ["r@bad.example"], b"Subject: x\n")
                        self.assertEqual(reply.code, 250, reply)
                        client.quit()
                    found = {message.recipients[0]: re.sub(r"SIZE=\d+", "SIZE", str(message.parameters))
                             for message in peer.wait_for(2)}
            told.append(found)
        return told

    def test_of_notices_is_detected_as_by_postfix(self):
        for classes in ("sendmail, verify", "bounce", "notify", "all"):
            with self.subTest(classes):
                theirs, ours = self.parameters_of_notices(classes)
                self.assertEqual(len(theirs), 2)
                self.assertEqual(ours, theirs)


_GROUPS = read(FILE.read_text())
for _group in _GROUPS:
    setattr(Contents, f"test_{_group.name.replace(' ', '_')}", fact(_group))

if __name__ == "__main__":
    facts.main()
