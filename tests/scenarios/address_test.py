"""Every form of an address in MAIL and RCPT, and its fate with Postfleet and with real Postfix: addresses.txt.

    main.cf: name = value          parameters of the servers; they begin a part of the table
    TO:<(x) bob @ localhost>       what the client says; \\t \\\\ \\xNN are bytes
      friend: bob@localhost        from a client of mynetworks
      stranger: 454 4.7.1 ...      from another: the reply, or, where it is taken,
                                   STORED; given GIVEN; written WRITTEN; goes to ADDRESS
    ! why we are meant to differ   then what Postfleet does instead, where that is another
      friend, ours: 501 ...

STORED is the address in the queue, with GIVEN where the client's words meant another (original_recipient), WRITTEN
what a notice will call it (dsn_orig_rcpt), and ADDRESS where the log says that mail to it goes; none of the three is
written down where it is STORED again. That the log says orig_to=<GIVEN> goes without saying. `sent at once`: there
is nothing left to look at. `stranger: same` is what a friend gets. Of a sender only <STORED> is told, and no stranger
is asked.

To write the fates of the installed Postfix into the table: RECORD=1 python3 -B address_test.py
"""

import codecs
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
from deadlines import FolderChanges, wait_until

TABLE = pathlib.Path(__file__).parent / "addresses.txt"
# Longer than any machine is slow.
_REPLY_SECONDS_MAX = 100.0
_LOG_SECONDS_MAX = 100.0
_SOURCES = {"friend": "127.0.0.1", "stranger": "127.0.0.3"}
# Everything that is taken stays in the queue, and its line in the log says where it would go.
_PARAMETERS = {
    "mydestination": "localhost, Local.Example",
    "local_recipient_maps": "inline:{ {root = x} {bob = x} {alice = x} }",
    "virtual_mailbox_domains": "virt.example",
    "virtual_mailbox_maps": "inline:{ {alice@virt.example = a} }",
    "relay_domains": "relay.example",
    "relay_recipient_maps": "inline:{ {carl@relay.example = a} }",
    "mynetworks": "127.0.0.1/32",
    "defer_transports": "smtp relay local virtual",
    "smtpd_error_sleep_time": "0",
    "smtpd_soft_error_limit": "10000",
    "smtpd_hard_error_limit": "10000",
    "smtpd_peername_lookup": "no",
    "in_flow_delay": "0s",
}


@dataclasses.dataclass
class Form:
    said: str
    comments: list = dataclasses.field(default_factory=list)
    fates: dict = dataclasses.field(default_factory=dict)  # by client
    why: list = dataclasses.field(default_factory=list)
    ours: dict = dataclasses.field(default_factory=dict)

    def bytes(self):
        return codecs.escape_decode(self.said.encode())[0]

    def expected(self, client, ours):
        return self.ours.get(client, self.fates[client]) if ours else self.fates[client]

    def text(self):
        lines = [*self.comments, self.said]
        for fates, end in ((self.fates, ""), (self.ours, ", ours")):
            if end and fates:
                lines += [f"! {line}" for line in self.why]
            for client, fate in fates.items():
                fate = "same" if client == "stranger" and fate == fates.get("friend") else fate
                lines.append(f"  {client}{end}: {fate}")
        return "\n".join(lines) + "\n"


@dataclasses.dataclass
class Part:
    head: list
    forms: list = dataclasses.field(default_factory=list)

    def parameters(self):
        return dict(re.match(r"main.cf: (\S+) = (.*)", line).groups()
                    for line in self.head if line.startswith("main.cf:"))


def read(text):
    parts, comments = [], []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        form = parts[-1].forms[-1] if parts and parts[-1].forms else None
        if not line or line.startswith("#"):
            comments.append(line)
        elif line.startswith("main.cf:"):
            if not parts or form:
                parts.append(Part(comments))
                comments = []
            parts[-1].head.append(line)
        elif line.startswith(("TO:", "FROM:")):
            parts[-1].forms.append(Form(line, comments))
            comments = []
        elif line.startswith("! ") and form:
            form.why.append(line[2:])
        elif found := re.match(r"  (friend|stranger)(, ours)?: (.*)", line):
            fates = form.ours if found[2] else form.fates
            if found[2] and not form.why:
                raise ValueError(f"line {number}: no reason is given")
            fates[found[1]] = fates["friend"] if found[3] == "same" else found[3]
        else:
            raise ValueError(f"line {number}: {line!r}")
    return parts


class Client:
    """One connection, a message for each form."""

    def __init__(self, mta, client):
        self._mta = mta
        self._socket = socket.create_connection(("127.0.0.1", mta.port), _REPLY_SECONDS_MAX, (_SOURCES[client], 0))
        self._lines = self._socket.makefile("rb")
        self._reply()
        self.say(b"EHLO a")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._lines.close()
        self._socket.close()

    def _reply(self):
        while True:
            line = self._lines.readline().decode(errors="backslashreplace").rstrip("\r\n")
            if line[3:4] != "-":
                return line

    def say(self, line):
        self._socket.sendall(line + b"\r\n")
        return self._reply()

    def try_form(self, form):
        """The reply that refuses it, or the queue id of a message."""
        said = form.bytes()
        sender, recipient = (said, b"TO:<bob@localhost>") if said.startswith(b"FROM") else (b"FROM:<a@b.example>", said)
        # SMTPUTF8 belongs to MAIL.
        if recipient.endswith(b" SMTPUTF8"):
            sender, recipient = sender + b" SMTPUTF8", recipient.removesuffix(b" SMTPUTF8")
        replies = [self.say(b"MAIL " + sender), self.say(b"RCPT " + recipient)]
        refused = next((reply for reply in replies if not reply.startswith("250")), None)
        if refused:
            self.say(b"RSET")
            return refused
        self.say(b"DATA")
        return re.search(r"queued as (\S+)", self.say(b"x\r\n."))[1]


def _first_words(mta, ids):
    """{queue id: (recipient, original recipient, status)}, as the log has it first; ("", "", "removed") where that is
    all."""
    found = {}
    for queue_id, to, original, status, removed in re.findall(
            r"(?m): (\w+): (?:to=<(.*?)>, (?:orig_to=<(.*?)>, )?relay=.*status=(\w+)|(removed)$)", mta.log()):
        found.setdefault(queue_id, (to, original, status or removed))
    return found if all(queue_id in found for queue_id in ids) else None


def _envelopes(mta, ids):
    """{queue id: what postcat says}"""
    shown = subprocess.run(mta.command_line("postcat", "-eq", *ids), capture_output=True, check=False,
                           timeout=_LOG_SECONDS_MAX)
    if shown.returncode:
        raise AssertionError(shown.stderr.decode(errors="replace"))
    return dict(zip(ids, shown.stdout.decode(errors="backslashreplace").split("*** ENVELOPE RECORDS ")[1:]))


def _unquoted(address):
    return re.sub(r'["\\]', "", address)


def _visible(text):
    return "".join(c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in text)


def _fate(form, envelope, goes_to, original):
    def one(name):
        found = re.search(rf"(?m)^{name}(?:=|: *)(.*)$", envelope)
        return found[1] if found else None
    if form.said.startswith("FROM"):
        return f"<{one('sender')}>"
    stored = one("recipient")
    written = (one("named_attribute: dsn_orig_rcpt") or "").removeprefix("rfc822;")
    given = one("original_recipient")
    others = (("given", given), ("written", written), ("goes to", goes_to))
    fate = "; ".join([stored] + [f"{word} {other}" for word, other in others if other and other != stored])
    expected = given if _unquoted(given) != _unquoted(goes_to) else ""
    return fate if _unquoted(original) == _unquoted(expected) else f"{fate}; orig_to={original}"


def fates(mta, forms):
    """{(form's index, client): fate}"""
    found, ids = {}, {}
    for client in _SOURCES:
        with Client(mta, client) as connection:
            for index, form in enumerate(forms):
                if client == "stranger" and form.said.startswith("FROM"):
                    continue
                outcome = connection.try_form(form)
                if outcome[3:4] == " ":
                    found[index, client] = outcome
                else:
                    ids[outcome] = (index, client)
    with FolderChanges(mta.log_path.parent) as changes:
        words = wait_until("a word in the log of each message", lambda: _first_words(mta, ids), _LOG_SECONDS_MAX,
                           mta.why_ended, changes)
    envelopes = _envelopes(mta, [queue_id for queue_id in ids if words[queue_id][2] == "deferred"])
    for queue_id, (index, client) in ids.items():
        goes_to, original, status = words[queue_id]
        found[index, client] = (_fate(forms[index], envelopes[queue_id], goes_to, original) if queue_id in envelopes
                                else f"{status} at once")
    return {key: _visible(fate) for key, fate in found.items()}


def start(folder, part, oracle):
    return harness.Instance(folder, {**_PARAMETERS, **part.parameters()}, name="postfix" if oracle else "postfleet",
                            oracle=oracle)


class Addresses(unittest.TestCase):
    maxDiff = None

    def compare(self, part, oracle):
        with machine.folder() as folder, start(folder, part, oracle) as mta:
            found = fates(mta, part.forms)
        wrong = [f"{form.said}\n  {client}: {found[index, client]}\n  not: {form.expected(client, not oracle)}"
                 for index, form in enumerate(part.forms) for client in form.fates
                 if found[index, client] != form.expected(client, not oracle)]
        if wrong:
            self.fail(f"{len(wrong)} of {len(found)}:\n" + "\n".join(wrong))


def add_facts():
    for number, part in enumerate(read(TABLE.read_text()), 1):
        for side in ["postfleet"] + (["postfix"] if machine.IS_ROOT else []):
            def test(self, part=part, side=side):
                self.compare(part, side == "postfix")
            setattr(Addresses, f"test_part_{number}_as_{side}", test)


def record():
    parts = read(TABLE.read_text())
    for part in parts:
        with machine.folder() as folder, start(folder, part, oracle=True) as mta:
            for (index, client), fate in sorted(fates(mta, part.forms).items()):
                part.forms[index].fates[client] = fate
    TABLE.write_text("".join("".join(f"{line}\n" for line in part.head) + "".join(form.text() for form in part.forms)
                             for part in parts))


if os.environ.get("RECORD"):
    record()
else:
    add_facts()
    facts.main()
