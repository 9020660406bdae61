"""Scenes with an SMTP server, as text, and the log lines that they leave.

    == a name                  a scene
    to NAME                    the service that is talked to: smtp (default) or one of the caller's
    from 127.0.0.2             the client's address (default 127.0.0.1)
    > EHLO a                   sent with CRLF, a reply is awaited; \\r \\n \\xNN are bytes
    + half a line              sent as it is, no reply awaited
    . Subject: x\\n\\nbody       content with LF, and the final dot; the reply is awaited
    read 1                     awaits a reply
    until REGEX [COUNT]        waits for so many lines of the scene (default 1)
    run postsuper -d {id}      a command; {id}: the queue id of the first message of this scene

The greeting is awaited first; at the end the client hangs up, and the scene is over with its disconnect line. {big},
{hops}, {long} are texts too long to be written down.
"""

import codecs
import collections
import contextlib
import dataclasses
import re
import socket

from smtp_client import on_wire

_SECONDS_MAX = 20
_TEXTS = {
    "{big}": "x" * 70 + "\n" + ("y" * 70 + "\n") * 4000,
    "{hops}": "Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\n" * 60,
    "{long}": "z" * 3000,
}
_LINE = re.compile(r"^\w{3} [ \d]\d \d\d:\d\d:\d\d (\S+) (\S+?)\[\d+\]: (.*)$")
# Of a message that came in: a late line of the scene before may come first.
_QUEUE_ID = re.compile(r"^(\w{11,20}): (?:client|uid)=", re.MULTILINE)


@dataclasses.dataclass
class Scene:
    name: str
    steps: list


def read(path):
    scenes = []
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            scenes.append(Scene(line[3:], []))
        elif line and not line.startswith("#"):
            scenes[-1].steps.append(line)
    return scenes


class Stage:
    """Plays scenes at one instance. ports: service -> port."""

    def __init__(self, mta, ports):
        self._mta = mta
        self._ports = ports

    def play(self, scene):
        """The lines of this scene, [(process, text)]."""
        self._start = len(self._mta.log())
        service = next((step[3:] for step in scene.steps if step.startswith("to ")), "smtp")
        source = next((step[5:] for step in scene.steps if step.startswith("from ")), "127.0.0.1")
        with socket.create_connection(("127.0.0.1", self._ports[service]), _SECONDS_MAX, (source, 0)) as client:
            self._port = client.getsockname()[1]
            self._client, self._input = client, client.makefile("rb")
            self._reply()
            for step in scene.steps:
                self._step(step)
            self._input.close()
        self._wait(r": disconnect from ", 1)
        return self.lines()

    def lines(self):
        found = (_LINE.match(line) for line in self._slice().splitlines())
        return [(line[2], line[3]) for line in found if line]

    def _slice(self):
        return self._mta.log()[self._start:]

    def _wait(self, pattern, count):
        def enough():
            return len(re.findall(pattern, self._slice())) >= count
        self._mta.wait_for(f"{count} x {pattern!r}", enough)

    def _reply(self):
        with contextlib.suppress(ConnectionResetError):
            while self._input.readline()[3:4] == b"-":
                pass

    def _step(self, step):
        verb, _, rest = step.partition(" ")
        if verb in ("to", "from"):
            return
        if verb == "until":
            pattern, _, count = rest.rpartition(" ")
            self._wait(*((pattern, int(count)) if count.isdigit() else (rest, 1)))
        elif verb == "run":
            texts = "\n".join(text for _, text in self.lines())
            found = _QUEUE_ID.search(texts)
            command = rest.replace("{id}", found[1] if found else "").split()

            def has_acted():
                _, out, error = self._mta.run(*command)
                return command[0] != "postsuper" or re.search(r": [1-9]\d* message", out + error)
            # Postfix takes no hold of a message while it moves between its queues.
            self._mta.wait_for(rest, has_acted)
        elif verb == "read":
            self._reply()
        else:
            for name, text in _TEXTS.items():
                rest = rest.replace(name, text)
            sent = codecs.escape_decode(rest.encode())[0]
            if verb == ">":
                sent += b"\r\n"
            elif verb == ".":
                sent = on_wire(sent) + b".\r\n"
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server was first
                self._client.sendall(sent)
            if verb != "+":
                self._reply()


def masked(lines, ports):
    """{process: [text]}: queue ids by the order of their appearance, ports by name, times by form.

    Processes that work side by side write in any order; one and the same writes in its own."""
    names = {}

    def name_id(found):
        return names.setdefault(found[0], f"ID{len(names) + 1}")
    by_process = collections.defaultdict(list)
    for process, text in lines:
        text = re.sub(r"\b[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-y]+\b", name_id, text)
        text = re.sub(r"\b\d{14}\.(?=ID\d)", "TIME.", text)
        text = re.sub(r"delay=[\d.]+, delays=[\d./]+", "delay=N, delays=N", text)
        # Postfix counts what frames a line in its queue file.
        text = re.sub(r"size=\d+, nrcpt", "size=N, nrcpt", text)
        for port, name in ports.items():
            text = text.replace(f":{port}", f":{name}")
        by_process[process].append(text)
    for texts in by_process.values():
        # A message's lines stay in their order; messages do not wait for each other.
        texts.sort(key=lambda text: (re.match(r"(?:warning: )?(ID\d+): ", text) or [""] * 2)[1])
    return dict(by_process)
