"""Mail whose structure is hard on a MIME parser: by hand, and at random from a seed. LF line ends."""

import random

_TEXT = [b"gr\xc3\xbc\xc3\x9fe", b"plain", b"=", b"=3D", b"a" * 80, b"\xe4" * 30, b"blank ", b"tab\t", b" ", b"\t", b"", b".", b".x",
         b"From here", b"--", b"--b", b"--b--", b"--c", b"--c--", b"--b c", b"--bc--", b"Subject: inner \xe4", b"x" * 1200,
         b"\xc3\xa4 " * 1000, b"\x01\x7f\x80\xff"]
_TYPES = [b"text/plain", b"text/html; charset=utf-8", b"TEXT/PLAIN", b"application/octet-stream", b"message/rfc822",
          b"message/RFC822", b"message/partial; id=x", b"message/external-body", b"message/global", b"message/delivery-status",
          b"message", b"multipart/mixed; boundary=b", b'multipart/mixed; boundary="b"', b"multipart/alternative;\n\tboundary=c",
          b'multipart/digest; boundary="c"', b"multipart/digest (a (comment) \\)) ; boundary = b", b"multipart/mixed",
          b'multipart/mixed; boundary="b\n c"', b"multipart/mixed; charset=x; boundary=b; boundary=c", b"Multipart/Mixed; BOUNDARY=c",
          b"multipart/mixed; boundary=", b'multipart/mixed; boundary=""', b"text", b"", b";", b'"multipart"/mixed; boundary=b',
          b"multipart / mixed ; x=y ; boundary = \"b\"", b"multipart/mixed; boundary=b;", b"video/mp4; boundary=b"]
_ENCODINGS = [b"8bit"] * 6 + [b"binary", b"8BIT", b"7bit", b"quoted-printable", b"base64", b"x-unknown", b" (c) 8bit", b"8bit (c)",
                              b"8bit;x", b'"8bit"', b"", b"8bit 7bit", b"\n 8bit", b"=?utf-8?q?8bit?="]


def random_mail(seed):
    """One message, the same for the same seed."""
    source = random.Random(seed)
    return b"Subject: " + str(seed).encode() + b"\n" + _entity(source, 0)


def _entity(source, depth):
    fields = []
    if source.random() < 0.8:
        name = source.choice([b"Content-Type: ", b"content-type:", b"CONTENT-TYPE:  "])
        fields.append(name + source.choice(_TYPES))
    for _ in range(source.choice([0, 1, 1, 1, 2])):
        name = source.choice([b"Content-Transfer-Encoding: ", b"CONTENT-TRANSFER-ENCODING:"])
        fields.append(name + source.choice(_ENCODINGS))
    if source.random() < 0.3:
        fields.append(b"X-Other: \xc3\xa4\n folded")
    source.shuffle(fields)
    if source.random() < 0.1:
        fields.append(b"no field")
    header = b"".join(field + b"\n" for field in fields)
    return header + (b"\n" if source.random() < 0.95 else b"") + _body(source, depth)


def _body(source, depth):
    lines = []
    for _ in range(source.randrange(8)):
        if depth < 4 and source.random() < 0.45:
            lines.append(source.choice([b"--b", b"--c", b"--b", b"", b"--b c", b"--"]) + b"\n" + _entity(source, depth + 1))
        else:
            lines.append(source.choice(_TEXT) + source.choice(_TEXT) + b"\n")
    return b"".join(lines)


def _nested(depth):
    """multipart in multipart."""
    parts = []
    for level in range(depth):
        boundary = b"level%03d" % level
        parts.append(b"Content-Type: multipart/mixed; boundary=" + boundary + b"\n\n--" + boundary + b"\n")
    return b"".join(parts) + b"Content-Transfer-Encoding: 8bit\n\n\xc3\xa4\n"


def _long_boundary(size):
    boundary = b"b" * size
    return (b"Content-Type: multipart/mixed; boundary=" + boundary + b"\n\n--" + boundary
            + b"\nContent-Transfer-Encoding: 8bit\n\n\xc3\xa4\n")


# Fate at a server without 8BITMIME: sent, unless the name says otherwise.
BY_HAND = {
    "8-bit bytes that nothing declares": b"Subject: \xe4\n\n\xe4\n",
    "header only": b"Subject: x\nContent-Transfer-Encoding: 8bit\n",
    "empty body": b"Content-Transfer-Encoding: 8bit\nSubject: x\n\n",
    "7-bit text declared 8bit": b"Content-Transfer-Encoding: 8bit\n\na=b \n.\n",
    "no line end at the end": b"Content-Transfer-Encoding: 8bit\n\n\xe4",
    "a line of 5000 bytes": b"Content-Transfer-Encoding: 8bit\n\n" + b"\xe4a" * 2500 + b"\n" + b"a" * 5000 + b"\n",
    "a line of 5000 bytes that stays": b"Content-Transfer-Encoding: 7bit\n\n" + b"\xe4a" * 2500 + b"\n",
    "as deep as may be": _nested(102),
    "boundary of 2000 bytes": _long_boundary(2000),
    "boundary of 2045 bytes": _long_boundary(2045),
    "boundary of 2046 bytes": _long_boundary(2046),
    "boundary of 3000 bytes": _long_boundary(3000),
    "parts of a digest": b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\nContent-Transfer-Encoding: 8bit\n\n\xe4\n"
                         b"--b\nContent-Type: application/x\n\nContent-Transfer-Encoding: 8bit\n\n\xe4\n--b--\n\xe4\n",
}
TOO_DEEP = _nested(103)
