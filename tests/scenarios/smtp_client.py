"""A client that says exactly what a test wants: lines, bytes, dots, or half a message."""

import socket


class Reply:
    """One reply: code, and the whole text with its lines joined by LF."""

    def __init__(self, lines):
        self.code = int(lines[0][:3])
        self.text = "\n".join(lines)

    def __repr__(self):
        return self.text


class Client:
    """A connection that was greeted. Replies are returned, never judged, but for the greeting."""

    def __init__(self, port, ehlo="client.example", host="127.0.0.1", source=None, seconds_max=60):
        self.socket = socket.create_connection((host, port), seconds_max, source and (source, 0))
        self._input = self.socket.makefile("rb")
        self.greeting = self.read_reply()
        if self.greeting.code == 220 and ehlo:
            self.ehlo = self.command("EHLO " + ehlo)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._input.close()
        self.socket.close()

    def read_reply(self):
        """ConnectionError when the server hung up."""
        lines = []
        while True:
            line = self._input.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError(f"hung up after {lines!r} {line!r}")
            lines.append(line.rstrip(b"\r\n").decode("latin-1"))
            if lines[-1][3:4] != "-":
                return Reply(lines)

    def command(self, line):
        self.socket.sendall(line.encode("latin-1") + b"\r\n")
        return self.read_reply()

    def begin(self, sender, recipients, options=""):
        """MAIL, RCPTs and DATA in one segment; their replies. After 354 the content is due."""
        lines = [f"MAIL FROM:<{sender}>{options}"] + [f"RCPT TO:<{to}>" for to in recipients] + ["DATA"]
        self.socket.sendall("".join(line + "\r\n" for line in lines).encode("latin-1"))
        return [self.read_reply() for _ in lines]

    def content(self, lf_content):
        """Content with LF line ends, and the final dot; the last reply."""
        self.socket.sendall(on_wire(lf_content) + b".\r\n")
        return self.read_reply()

    def send(self, sender, recipients, lf_content, options=""):
        """One message. The reply to its end, or the first refusal."""
        replies = self.begin(sender, recipients, options)
        if replies[-1].code != 354:
            return next((reply for reply in replies if reply.code >= 400), replies[-1])
        return self.content(lf_content)

    def quit(self):
        reply = self.command("QUIT")
        self.close()
        return reply


def on_wire(lf_content):
    """LF lines as DATA has them: CRLF, dots doubled, the last line ended. No final dot."""
    wire = lf_content.replace(b"\n", b"\r\n")
    if wire and not wire.endswith(b"\r\n"):
        wire += b"\r\n"
    if wire.startswith(b"."):
        wire = b"." + wire
    return wire.replace(b"\r\n.", b"\r\n..")


def deliver(port, sender, recipients, lf_content, options=""):
    """One message on a connection of its own; the last reply."""
    with Client(port) as client:
        reply = client.send(sender, recipients, lf_content, options)
        client.quit()
        return reply


def queue_id(reply):
    """Of "250 2.0.0 Ok: queued as ID"."""
    assert reply.code == 250, reply
    return reply.text.rsplit(" ", 1)[1]
