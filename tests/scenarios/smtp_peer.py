"""The next mail server: accepts and records, or answers as a test told it.

    with RecordingServer() as peer:
        peer.answer("RCPT", "450 4.2.0 busy", to="a@peer.example", times=1)
        ... mail to 127.0.0.1:peer.port ...
        peer.wait_for(3)
        peer.messages[0].content

It runs in a thread of its own. Rules are looked at in the order in which they were given; a rule
that was used up is skipped; without a rule the answer is a plain yes.
"""

import asyncio
import dataclasses
import re
import threading
import time

from deadlines import Signal, wait_until

DROP = "drop"  # hangs up instead of answering

_YES = {
    "CONNECT": "220 peer.example ESMTP",
    "HELO": "250 peer.example",
    "EHLO": "250-peer.example\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    "END": "250 2.0.0 Ok: recorded",
    "RSET": "250 2.0.0 Ok",
    "NOOP": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}


@dataclasses.dataclass
class Message:
    """One that was answered with 250."""
    sender: str
    recipients: list
    content: bytes  # as on the wire, CRLF, dots of stuffing removed
    parameters: str  # of MAIL
    connection: int
    time: float


@dataclasses.dataclass
class _Rule:
    verb: str
    reply: str
    to: str
    times: int
    after_seconds: float


@dataclasses.dataclass
class _Session:
    number: int
    sender: str = None
    parameters: str = ""
    recipients: list = dataclasses.field(default_factory=list)
    counted: bool = False  # in transactions


class RecordingServer:
    """Public and safe to read from the test: port, messages, attempts, connections."""

    def __init__(self, host="127.0.0.1", port=0):
        """port 0: a free one. A given one needs a network namespace of the test's own."""
        self.messages = []
        self._address = (host, port)
        self.attempts = []  # (verb, argument) of every command
        self.connections = 0
        self.open_connections = 0
        self.transactions = 0  # from MAIL to the reply after the dot, RSET, QUIT or the end
        self.at_mail = []  # (monotonic time, transactions with this one, sender) of each MAIL
        self.connected = []  # monotonic times
        self._rules = []
        self._changed = Signal()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._changed.close()

    def answer(self, verb, reply=None, to=None, times=1 << 60, after_seconds=0.0):
        """From now on. verb: CONNECT, a command, or END (after the content's dot). reply: text, DROP, None for the
        plain yes. to: only for RCPT of this address, or END of mail from it. after_seconds: what the reply waits."""
        self._rules.append(_Rule(verb, reply, to, times, after_seconds))

    def forget_answers(self):
        self._rules = []

    def wait_for(self, count, seconds_max=30.0, hopeless=None):
        wait_until(f"{count} messages at the peer", lambda: len(self.messages) >= count, seconds_max, hopeless,
                   self._changed)
        return self.messages

    def count(self, verb):
        return sum(1 for attempted, _ in self.attempts if attempted == verb)

    async def _listen(self):
        return await asyncio.start_server(self._serve, *self._address, backlog=512, limit=1 << 20)

    async def _close(self):
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.connections += 1
        self.open_connections += 1
        self.connected.append(time.monotonic())
        session = _Session(self.connections)
        try:
            await self._talk(session, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._count(session, False)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _talk(self, session, reader, writer):
        if not await self._reply(writer, "CONNECT", ""):
            return
        while True:
            line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            verb, _, argument = line.decode("latin-1").rstrip("\r\n").partition(" ")
            verb = verb.upper()
            if verb not in _YES or verb == "CONNECT":
                writer.write(b"500 5.5.2 not known\r\n")
                continue
            if not await self._command(session, verb, argument, reader, writer):
                return

    async def _command(self, session, verb, argument, reader, writer):
        """False: hang up."""
        self.attempts.append((verb, argument))
        address = _address(argument)
        if verb == "MAIL":
            self._count(session, True)
            self.at_mail.append((time.monotonic(), self.transactions, address))
        if verb in ("RSET", "QUIT"):
            self._count(session, False)
        if verb == "DATA" and not session.recipients:
            writer.write(b"554 5.5.1 no valid recipients\r\n")
            return True
        code = await self._reply(writer, verb, address)
        if verb in ("RSET", "EHLO", "HELO") or (verb == "MAIL" and code == 250):
            session.sender, session.parameters, session.recipients = None, "", []
        if verb == "MAIL" and code == 250:
            session.sender, session.parameters = address, argument.partition(">")[2].strip()
        if verb == "RCPT" and code == 250:
            session.recipients.append(address)
        if verb == "DATA" and code == 354:
            await writer.drain()
            content = await _read_content(reader)
            code = await self._reply(writer, "END", session.sender)
            if code == 250:
                self.messages.append(Message(session.sender, session.recipients, content, session.parameters,
                                             session.number, time.time()))
                self._changed.set()
            session.sender, session.parameters, session.recipients = None, "", []
            self._count(session, False)
        return code not in (0, 421) and verb != "QUIT"

    def _count(self, session, in_transaction):
        self.transactions += in_transaction - session.counted
        session.counted = in_transaction

    async def _reply(self, writer, verb, address):
        """The code; 0 when the connection is to be dropped."""
        rule = next((rule for rule in self._rules
                     if rule.verb == verb and rule.times > 0 and rule.to in (None, address)), None)
        reply = _YES[verb]
        if rule:
            rule.times -= 1
            reply = rule.reply or reply
            if rule.after_seconds:
                await asyncio.sleep(rule.after_seconds)
        if reply == DROP:
            writer.transport.abort()
            return 0
        writer.write(reply.encode("latin-1") + b"\r\n")
        return int(reply[:3])


async def _read_content(reader):
    parts = []
    size_max = 1 << 20
    while True:
        try:
            line = await reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError as overrun:
            parts.append(await reader.readexactly(min(overrun.consumed, size_max)))
            continue
        starts = not parts or parts[-1].endswith(b"\r\n")
        if starts and line == b".\r\n":
            return b"".join(parts)
        parts.append(line[1:] if starts and line.startswith(b".") else line)


def _address(argument):
    found = re.search(r"<([^>]*)>", argument)
    return found.group(1) if found else ""
