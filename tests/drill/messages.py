"""What the drill sends: messages that carry the proof of their own completeness.

An id names one message. It is in the sender's address, so that a queue listing tells which message
it lists, and in a header, beside the digest and the length of the body.
"""

import base64
import hashlib
import random
import re
from dataclasses import dataclass, field

BOX_DOMAIN = "box.example"
SINK_DOMAIN = "sink.example"
# What the recording server defers until the end: the queue that stands.
LATER_DOMAIN = "later.example"
SENDER_DOMAIN = "sender.example"
BOXES = ("box1", "box2", "box3")
SINKS = ("sink1", "sink2", "sink3")

_SENDER = re.compile(r"m-([0-9a-z.]+)@" + re.escape(SENDER_DOMAIN))
_TEXT_BYTES = 1 << 20
_LINE_CHARACTERS = 76


def sender_of(message_id):
    return f"m-{message_id}@{SENDER_DOMAIN}"


def id_of_sender(address):
    """The message's id, or None when the drill did not send it."""
    found = _SENDER.fullmatch(address)
    return found[1] if found else None


@dataclass
class Message:
    id: str
    round: int
    recipients: tuple
    body: bytes = field(repr=False)  # lines end in LF
    state: str = "open"  # open: no answer to its end yet; then acknowledged or refused

    def contents(self):
        """As it goes over the wire, without dot stuffing; lines end in CRLF."""
        header = (f"From: <{sender_of(self.id)}>\nTo: undisclosed-recipients:;\n"
                  f"Subject: drill {self.id}\nDate: Thu, 01 Jan 2026 00:00:00 +0000\n"
                  f"Message-ID: <{self.id}@drill.example>\nX-Drill-Id: {self.id}\n"
                  f"X-Drill-Digest: {digest(self.body)}\n\n")
        return (header.encode() + self.body).replace(b"\n", b"\r\n")


def digest(body):
    return hashlib.sha256(body).hexdigest()


class Writer:
    """Draws `share` messages. What it draws follows from the random generator alone."""

    def __init__(self, number, prefix, rng, share):
        self.share = share
        self._round = number
        self._prefix = prefix
        self._rng = rng
        self._text = _text(rng)
        self._count = 0

    def next(self):
        self._count += 1
        return Message(f"{self._prefix}.{self._count}", self._round, self._recipients(),
                       self._body(self._bytes()))

    def pause_seconds(self, longest):
        return self._rng.uniform(0, longest)

    def _recipients(self):
        """One mostly, some of either kind, some of both."""
        addresses = [f"{box}@{BOX_DOMAIN}" for box in BOXES]
        addresses += [f"{sink}@{SINK_DOMAIN}" for sink in SINKS]
        count = self._rng.choices((1, 2, 4), (7, 2, 1))[0]
        return tuple(self._rng.sample(addresses, count))

    def _bytes(self):
        """Mostly mail's usual sizes; one in twenty is longer than a chunk of 128 KiB."""
        low, high = self._rng.choices(((1, 4_000), (4_000, 16_000), (16_000, 120_000),
                                       (131_000, 400_000)), (50, 30, 15, 5))[0]
        return self._rng.randint(low, high)

    def _body(self, size):
        begin = self._rng.randrange(_TEXT_BYTES - size)
        return self._text[begin:begin + size] + b"\n"


class LaterWriter(Writer):
    """Short messages for the queue that stands, one after the other."""

    def pause_seconds(self, longest):
        return 0

    def _recipients(self):
        return (f"later{self._rng.randint(1, 3)}@{LATER_DOMAIN}",)

    def _bytes(self):
        return self._rng.randint(1, 3_000)


def _text(rng):
    """Lines of letters, some with a dot in front."""
    letters = base64.b64encode(rng.randbytes(_TEXT_BYTES))
    lines = [letters[i:i + _LINE_CHARACTERS] for i in range(0, _TEXT_BYTES, _LINE_CHARACTERS)]
    for i in range(0, len(lines), 7):
        lines[i] = b"." + lines[i]
    return b"\n".join(lines)


def identify(contents):
    """(id, whole) of a message that arrived, lines ending in LF or CRLF. Without an id: (None, False)."""
    header, separator, body = contents.replace(b"\r\n", b"\n").partition(b"\n\n")
    message_id = _field(header, b"X-Drill-Id")
    if message_id is None or not separator:
        return message_id, False
    return message_id, _field(header, b"X-Drill-Digest") == digest(body)


def returned_recipients(contents):
    """Of a notice of failure: the recipients that it is about."""
    found = re.findall(rb"(?mi)^Final-Recipient: *rfc822; *(\S+?)\r?$", contents)
    return [recipient.decode() for recipient in found]


def _field(header, name):
    found = re.search(b"^" + name + rb": ([0-9a-z.]+)$", header, re.MULTILINE)
    return found[1].decode() if found else None
