"""What Postfix changes in a message on its way, and so do we: one function, the yardstick of the corpus.

What cleanup(8) of Postfix 3.9 does, checked beside Postfix 3.7.11 (SCENARIO_MTA=postfix). For mail of
remote SMTP clients (local_header_rewrite_clients empty), smtpd_forbid_bare_newline = normalize.
"""

import re

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_DROPPED = {b"bcc", b"content-length", b"resent-bcc", b"return-path"}
_HEADER_BYTES_MAX = 102400
_SMTP_LINE_BYTES_MAX = 998


def as_postfix_would(content):
    """LF content as a client sent it -> LF content below the fields on top, as it is stored."""
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    # smtpd: From_ lines of a mailbox before the first field; a leading blank starts the body.
    mailbox_lines = 0
    while mailbox_lines < len(lines) and lines[mailbox_lines].lstrip(b">").startswith(b"From "):
        mailbox_lines += 1
    # cleanup_replace_stray_cr_lf: line ends are gone, so each CR that is left is stray.
    lines = [line.replace(b"\r", b" ") for line in lines]
    header = [b"X-Mailbox-Line: " + line for line in lines[:mailbox_lines]]
    rest = lines[mailbox_lines:]
    stored, body = _header(header + rest)
    return b"".join(line + b"\n" for line in stored + body)


def _header(lines):
    """(header lines with what ends it, body lines)"""
    fields = []
    for number, line in enumerate(lines):
        found = _FIELD.match(line)
        if found:
            fields.append([found.group(1) + b":" + line[found.end():]])
        elif line[:1] in (b" ", b"\t") and fields:
            fields[-1].append(line)
        else:
            # The empty line; or body right under the header: an empty line goes in front.
            body = lines[number:]
            return _kept(fields), body if line == b"" else [b""] + body
    return _kept(fields), []


def _kept(fields):
    """message_drop_headers, header_size_limit."""
    kept = []
    for field in fields:
        if field[0].partition(b":")[0].lower() not in _DROPPED:
            kept.extend(b"\n".join(field)[:_HEADER_BYTES_MAX].split(b"\n"))
    return kept


def folded_for_smtp(stored):
    """LF content -> LF content as the SMTP client sends it: CRLF SPACE after each 998 bytes of a line."""
    return b"\n".join(_folded(line) for line in stored.split(b"\n"))


def _folded(line):
    if len(line) <= _SMTP_LINE_BYTES_MAX:
        return line
    parts = [line[:_SMTP_LINE_BYTES_MAX]]
    rest = line[_SMTP_LINE_BYTES_MAX:]
    size = _SMTP_LINE_BYTES_MAX - 1
    parts += [b" " + rest[start:start + size] for start in range(0, len(rest), size)]
    return b"\n".join(parts)


def split_added(content, names):
    """Takes off the fields on top that must have these names, in this order: ([field], the rest)."""
    fields = []
    for name in names:
        end = re.search(rb"\n(?![ \t])", content)
        if not end or not content.startswith(name + b": "):
            raise AssertionError(f"{name} is missing on top: {content[:200]!r}")
        fields.append(content[:end.start()])
        content = content[end.end():]
    return fields, content
