"""A server that does one case of hostile_cases.txt, and writes down what it was told."""

import asyncio
import codecs
import dataclasses
import pathlib
import re
import socket
import struct
import threading

FILE = pathlib.Path(__file__).with_name("hostile_cases.txt")
_FEATURES = ("SIZE 10240000", "8BITMIME", "ENHANCEDSTATUSCODES")
_YES = {
    "GREET": b"220 peer.example ESMTP\r\n",
    "HELO": b"250 peer.example\r\n",
    "XFORWARD": b"250 2.0.0 Ok\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    "END": b"250 2.0.0 Ok: taken\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}
_HEAR_OUT_SECONDS_MAX = 5.0
_LINE_BYTES_MAX = 1 << 20


@dataclasses.dataclass
class Case:
    name: str
    once: bool = False
    recipients: int = 1
    content: str = "plain"
    pipelining: bool = False
    answers: dict = dataclasses.field(default_factory=dict)  # ("RCPT", 2) or ("END", None) -> [(do, bytes)]


@dataclasses.dataclass
class Session:
    """One connection as the server saw it."""
    open: bool = True
    commands: list = dataclasses.field(default_factory=list)
    recipients: list = dataclasses.field(default_factory=list)  # answered with 2xx in this transaction
    contents: list = dataclasses.field(default_factory=list)
    taken: list = dataclasses.field(default_factory=list)  # recipients of content that got a whole 2xx reply


def read_cases(text=None):
    """All cases, those with two forms as two. ValueError names the line that cannot be read."""
    cases = []
    for number, line in enumerate((text if text is not None else FILE.read_text("ascii")).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == "case":
                cases.append(Case(words[1]))
            else:
                _read_line(cases[-1], line.strip(), words)
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(f"line {number}: {line!r}: {error}") from error
    found = [form for case in cases for form in _forms(case)]
    if len({case.name for case in found}) != len(found):
        raise ValueError("two cases have one name")
    return found


def _read_line(case, line, words):
    if words[0] == "once":
        case.once = True
    elif words[0] == "recipients":
        case.recipients = int(words[1])
    elif words[0] == "content":
        case.content = words[1]
    else:
        what, actions = re.fullmatch(r"(greet|on [A-Z]+(?: \d+)?):(.*)", line).groups()
        verb, _, number = (what.upper() if what == "greet" else what[3:]).partition(" ")
        if verb != "EHLO":
            _ = _YES[verb]
        case.answers[verb, int(number) if number else None] = [_action(part) for part in actions.split(" ;")]


def _action(part):
    do, _, text = part.strip(" ").partition(" ")
    sent = codecs.decode(text, "unicode_escape").encode("latin-1")
    if do == "say":
        return "send", sent + b"\r\n"
    if do == "raw":
        return "send", sent
    if do == "flood":
        count, _, line = sent.partition(b" ")
        return "send", int(count) * (line + b"\r\n")
    if do == "wait":
        return do, float(sent)
    if do in ("close", "reset", "stall"):
        return do, b""
    raise ValueError(f"no such action: {do}")


def _forms(case):
    if case.once:
        return [case]
    return [dataclasses.replace(case, name=case.name + suffix, pipelining=pipelining)
            for suffix, pipelining in (("-lines", False), ("-pipelined", True))]


class _End(Exception):
    """This connection is over."""


class HostileServers:
    """A port for each case. Safe to read when the mail has its fate: sessions(name)."""

    def __init__(self, cases):
        self._cases = cases
        self._sessions = {case.name: [] for case in cases}
        self.ports = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._servers = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def sessions(self, name):
        return list(self._sessions[name])

    async def _listen(self):
        servers = []
        for case in self._cases:
            server = await asyncio.start_server(lambda r, w, case=case: self._serve(case, r, w), "127.0.0.1", 0,
                                                limit=_LINE_BYTES_MAX)
            self.ports[case.name] = server.sockets[0].getsockname()[1]
            servers.append(server)
        return servers

    async def _close(self):
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, case, reader, writer):
        session = Session()
        self._sessions[case.name].append(session)
        try:
            await _Talk(case, session, reader, writer).run()
        except (_End, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            session.open = False
            writer.close()


class _Talk:
    def __init__(self, case, session, reader, writer):
        self._case = case
        self._session = session
        self._reader = reader
        self._writer = writer
        self._in_mail = False

    async def run(self):
        await self._answer("GREET")
        while True:
            line = await self._reader.readline()
            if not line.endswith(b"\n"):
                return
            text = line.decode("latin-1").rstrip("\r\n")
            self._session.commands.append(text)
            verb = text.partition(" ")[0].upper()
            if verb != "EHLO" and verb not in _YES:
                self._writer.write(b"500 5.5.2 not known\r\n")
                continue
            await self._command(verb, text)

    async def _command(self, verb, text):
        session = self._session
        if verb == "RCPT" and not self._in_mail or verb == "DATA" and not self._may_say_data():
            self._writer.write(b"503 5.5.1 wrong order\r\n")
            return
        number = re.search(r"<r(\d+)@", text)
        code = await self._answer(verb, int(number.group(1)) if verb == "RCPT" and number else None)
        if verb in ("EHLO", "HELO", "RSET", "MAIL"):
            session.recipients = []
            self._in_mail = verb == "MAIL" and code == b"2"
        if verb == "RCPT" and code == b"2":
            session.recipients.append(int(number.group(1)))
        if verb == "DATA" and code == b"3":
            session.contents.append(await self._content())
            await self._answer("END")
            session.recipients = []
            self._in_mail = False
        if verb == "QUIT":
            raise _End

    def _may_say_data(self):
        return self._session.recipients or self._case.answers.get(("DATA", None), [("", b"")])[0][1].startswith(b"354")

    async def _content(self):
        content = b""
        while not content.endswith(b"\r\n.\r\n") and content != b".\r\n":
            content += await self._reader.readuntil(b"\r\n")
        return content

    def _actions(self, verb, number):
        answers = self._case.answers
        for key in ((verb, number), (verb, None)):
            if key in answers:
                return answers[key]
        if verb == "EHLO":
            lines = ["peer.example", *(["PIPELINING"] if self._case.pipelining else []), *_FEATURES]
            return [("send", "".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode())]
        return [("send", _YES[verb])]

    async def _answer(self, verb, number=None):
        """The class of the reply, a digit. _End when the connection is over."""
        said = b""
        for do, sent in self._actions(verb, number):
            if do == "send":
                said += sent
                self._writer.write(sent)
                await self._writer.drain()
                if verb == "END" and _is_whole_yes(said) and self._session.recipients:
                    self._session.taken += self._session.recipients
                    self._session.recipients = []
            elif do == "wait":
                await asyncio.sleep(sent)
            else:
                await self._end(do)
        return said.splitlines()[-1][:1] if said.strip() else b""

    async def _end(self, how):
        if how == "reset":
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
            raise _End
        # With unread input a close would become a reset, and take back what was said before.
        if how == "close":
            self._writer.write_eof()
        seconds = _HEAR_OUT_SECONDS_MAX if how == "close" else None
        try:
            await asyncio.wait_for(self._hear_out(), seconds)
        except asyncio.TimeoutError:
            pass
        raise _End

    async def _hear_out(self):
        while await self._reader.read(1 << 16):
            pass


def _is_whole_yes(said):
    """The first reply is complete and its last line, which counts, has class 2."""
    last = next((line for line in said.split(b"\n")[:-1] if re.match(rb"\d\d\d( |\r|$)", line)), b"")
    return last.startswith(b"2")
