"""Dialogues with an SMTP server, as text: what is sent, what is answered, what is queued.

    main.cf: smtpd_recipient_limit = 5     parameters of the servers; above the first dialogue
    ehlo: 250-mta.example|250 SIZE         what is meant where an answer is the word EHLO
    == a name [from 127.0.0.3]             a dialogue, and the client's address (default 127.0.0.1)
    > EHLO a                               sent with CRLF; \\r \\n \\t \\\\ \\xNN are bytes
    + half a line                          sent as it is
    < 250 mta.example                      the answer, line by line; EOF: hung up
    ! why we are meant to differ           then, line by line, what Postfleet answers instead
    <! 250 mta.example
    = sender: a@b.example                  a message that was queued, as postcat tells it; one line
    =                                      of "=" alone stands between messages

Lines that are sent without an answer between them leave together. The greeting, and the end by QUIT where the server
has not hung up, are not written down. Queue ids are ID, times are TIME.
"""

import codecs
import dataclasses
import re
import socket

# Longer than any machine is slow.
_SECONDS_MAX = 100.0
_RECORDING_SECONDS_MAX = 10.0
_QUIET_SECONDS = 0.06
_ENVELOPE = ("sender:", "recipient:", "original_recipient:", "named_attribute: dsn_", "named_attribute: notify_flags")


@dataclasses.dataclass
class Step:
    sent: list = dataclasses.field(default_factory=list)  # of lines as written
    answer: list = dataclasses.field(default_factory=list)
    why: list = dataclasses.field(default_factory=list)
    ours: list = dataclasses.field(default_factory=list)

    def bytes(self):
        return b"".join(codecs.escape_decode(line[2:].encode())[0] + (b"\r\n" if line[0] == ">" else b"")
                        for line in self.sent)


@dataclasses.dataclass
class Dialog:
    name: str
    source: str = "127.0.0.1"
    comments: list = dataclasses.field(default_factory=list)
    steps: list = dataclasses.field(default_factory=list)
    queued: list = dataclasses.field(default_factory=list)

    def text(self, ehlo):
        lines = [*self.comments, f"== {self.name}" + (f" [from {self.source}]" if self.source != "127.0.0.1" else "")]
        for step in self.steps:
            lines += step.sent + [f"< {line}" for line in (["EHLO"] if step.answer == ehlo else step.answer)]
            lines += [f"! {line}" for line in step.why] + [f"<! {line}" for line in step.ours]
        return "\n".join(lines + [f"= {line}".rstrip() for line in self.queued]) + "\n"


def read(text):
    """(parameters of main.cf, the answer to EHLO, [Dialog])"""
    parameters, ehlo, dialogs, comments = {}, [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        kind, _, rest = line.partition(" ")
        step = dialogs[-1].steps[-1] if dialogs and dialogs[-1].steps else None
        if not line or kind == "#":
            comments.append(line)
        elif kind == "main.cf:" and not dialogs:
            name, _, value = rest.partition("=")
            parameters[name.strip()] = value.strip()
        elif kind == "ehlo:" and not dialogs:
            ehlo = rest.split("|")
        elif kind == "==":
            name, _, source = rest.partition(" [from ")
            dialogs.append(Dialog(name, source.rstrip("]") or "127.0.0.1", comments))
            comments = []
        elif kind in (">", "+") and dialogs:
            if step is None or step.answer:
                dialogs[-1].steps.append(step := Step())
            step.sent.append(f"{kind} {rest}")
        elif kind == "<" and step:
            step.answer += ehlo if rest == "EHLO" else [rest]
        elif kind == "!" and step:
            step.why.append(rest)
        elif kind == "<!" and step and step.why:
            step.ours.append(rest)
        elif kind == "=" and dialogs:
            dialogs[-1].queued.append(rest)
        else:
            raise ValueError(f"line {number}: {line!r}")
    return parameters, ehlo, dialogs


class _Peer:
    def __init__(self, port, source):
        self.socket = socket.create_connection(("127.0.0.1", port), _SECONDS_MAX, (source, 0))
        self.queue_ids = []
        self._rest = b""

    def lines(self, count):
        """At most `count` lines of what comes, "EOF" among them; None: all, until nothing comes for a while."""
        found = []
        self.socket.settimeout(_SECONDS_MAX if count is not None else _RECORDING_SECONDS_MAX)
        while count is None or len(found) < count:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                found.append(self._plain(line.rstrip(b"\r").decode(errors="backslashreplace")))
                self._rest = rest
                continue
            if count is None and found:
                self.socket.settimeout(_QUIET_SECONDS)
            try:
                received = self.socket.recv(1 << 16)
            except TimeoutError:
                if count is not None or not found:
                    found.append("(no answer)")
                break
            except ConnectionResetError:
                received = b""
            if not received:
                found.append("EOF")
                break
            self._rest += received
        return found

    def _plain(self, line):
        self.queue_ids += re.findall(r"queued as (\S+)", line)
        return re.sub(r"queued as \S+", "queued as ID", line)


def hold(dialog, port, record=False):
    """([the answer of each step, up to the end], [queue ids]); record: whatever comes is taken."""
    peer = _Peer(port, dialog.source)
    with peer.socket:
        greeting = peer.lines(None if record else 1)
        answers = []
        for step in dialog.steps:
            peer.socket.sendall(step.bytes())
            answers.append(peer.lines(None if record else len(step.ours or step.answer)))
            if "EOF" in answers[-1]:
                break
        if "EOF" not in (answers[-1] if answers else greeting):
            peer.socket.sendall(b"QUIT\r\n")
            last = peer.lines(3)
            if last != ["221 2.0.0 Bye", "EOF"]:
                answers[-1] = answers[-1] + last
        return answers, peer.queue_ids


def queued(postcat):
    """What a message's text of postcat -ebh says that a server decides: envelope, then content."""
    envelope, _, content = postcat.partition("*** MESSAGE CONTENTS")
    content = content.partition("\n")[2].partition("*** HEADER EXTRACTED")[0]
    content = re.sub(r"(?m)^(\tby \S+ \([^)]*\) with \S+ id )\S+", r"\1ID", content)
    content = re.sub(r"(?m)^(Message-Id: <)\w+(@mta\.example>)", r"\1ID\2", content)
    content = re.sub(r"\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)", "TIME", content)
    lines = [line for line in envelope.splitlines() if line.startswith(_ENVELOPE)] + content.splitlines()
    return [line.rstrip() for line in lines]
