"""Mail that every client sends in clients_test.py: what is easily spoilt on its way, and what is refused."""

import base64
import dataclasses

DOMAIN = "box.example"
UNKNOWN = "unknown"
SIZE_BYTES_MAX = 100_000
MANY = tuple(f"many{number:02}" for number in range(60))
# smtp-source counts in front of the name.
NUMBERED = tuple(f"{number}bob" for number in range(1, 8))
USERS = ("bob", "carol", "δοκιμή", *MANY, *NUMBERED)
ON_ONE_CONNECTION = 3

_HEADER = "From: {sender}\nTo: {to}\nSubject: {name}\nDate: Mon, 2 Mar 2026 10:00:00 +0000\nMessage-ID: <{name}@client.example>\n"
_BINARY = bytes(range(256)) * 40


@dataclasses.dataclass(frozen=True)
class Mail:
    """body: LF lines, below an empty line; fields: over it. refused: users who get nothing of it."""
    body: bytes
    fields: str = ""
    users: tuple = ("bob",)
    refused: tuple = ()
    sender: str = ""
    times: int = 1

    def recipients(self):
        return [f"{user}@{DOMAIN}" for user in self.users]

    def takers(self):
        return [user for user in self.users if user not in self.refused]

    def sender_of(self, name, client):
        """The envelope's: no two of them are the same."""
        return f"{self.sender or name}.{client}@client.example"

    def content(self, name, client):
        header = _HEADER.format(sender=self.sender_of(name, client), to=f"{self.users[0]}@{DOMAIN}", name=name)
        return (header + self.fields).encode() + b"\n" + self.body


_EIGHT_BIT = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
_MIXED = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="=_part"\n'
_PARTS = (b"--=_part\nContent-Type: text/plain; charset=us-ascii\n\nSee what is attached.\n"
          b"--=_part\nContent-Type: application/octet-stream; name=all.bin\nContent-Transfer-Encoding: base64\n\n"
          + base64.encodebytes(_BINARY) + b"--=_part--\n")

MAILS = {
    "text": Mail(b"A line.\n\nAnother line, and no end of it.\n"),
    "attachment": Mail(_PARTS, _MIXED),
    "eight-bit": Mail("grüße aus Köln\n日本語\n".encode(), _EIGHT_BIT),
    "utf8": Mail("καλημέρα\n".encode(), _EIGHT_BIT, users=("δοκιμή",), sender="jürgen"),
    "many": Mail(b"To all of you.\n", users=MANY),
    "some": Mail(b"To some of you.\n", users=("bob", UNKNOWN, "carol"), refused=(UNKNOWN,)),
    "nobody": Mail(b"To nobody.\n", users=(UNKNOWN,), refused=(UNKNOWN,)),
    "large": Mail(b"x" * 72 + b"\n" + (b"y" * 72 + b"\n") * 2000, refused=("bob",)),
    "dots": Mail(b".\n..\n.a\n...\n a.\n.\n\n.\n"),
    "long": Mail(b"z" * 5000 + b"\nshort\n" + b"w " * 1500 + b"\n"),
    "empty": Mail(b""),
    "again": Mail(b"Once more.\n", times=ON_ONE_CONNECTION),
}
