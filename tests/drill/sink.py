"""The recording SMTP server: lives outside of the tree that loses power, and never does.

It acknowledges a message after it is in the ledger. Some recipients are deferred at their first
attempts (450), some answers come late, so that at a cut attempts are open and mail waits.
"""

import random
import socketserver
import threading
import time

import messages

_LATE_SECONDS_MAX = 0.03
_LATE_SHARE = 0.2


class Sink:
    """Listens on a port of its own until close()."""

    def __init__(self, ledger, seed, defer_share, host="127.0.0.1"):
        self.ledger = ledger
        self._defer_share = defer_share
        self._rng = random.Random(seed)
        self._deferred = set()
        self.opened = False  # for LATER_DOMAIN, too
        self._sessions = 0
        self._changed = threading.Condition()
        self._open = {}  # transactions, by the client's host and how often that was cut off
        self._cuts = {}
        self.transactions_max = 0  # at once: from MAIL until it is over
        self._server = _Server((host, 0), _Session)
        self._server.sink = self
        self.host, self.port = self._server.server_address
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def wait_idle(self, seconds):
        """Whatever was sent before its clients died has been read."""
        with self._changed:
            return self._changed.wait_for(lambda: self._sessions == 0, seconds)

    def cut_off(self, host):
        """What a client has open when its network is cut it cannot end: it does not count any more."""
        with self._changed:
            self._cuts[host] = self._cuts.get(host, 0) + 1

    def begin(self, host):
        """What end is to be told."""
        with self._changed:
            key = (host, self._cuts.get(host, 0))
            self._open[key] = self._open.get(key, 0) + 1
            now = sum(count for (host, cuts), count in self._open.items() if cuts == self._cuts.get(host, 0))
            self.transactions_max = max(self.transactions_max, now)
            return key

    def end(self, key):
        with self._changed:
            self._open[key] -= 1

    def session(self, step):
        with self._changed:
            self._sessions += step
            self._changed.notify_all()

    def defers(self, key):
        """True at the first attempt of some deliveries, and always for the queue that stands."""
        with self._changed:
            if key[1].endswith("@" + messages.LATER_DOMAIN):
                return not self.opened
            if key in self._deferred or self._rng.random() >= self._defer_share:
                return False
            self._deferred.add(key)
            return True

    def delay(self):
        with self._changed:
            late = self._rng.random() < _LATE_SHARE
            seconds = self._rng.uniform(0, _LATE_SECONDS_MAX)
        if late:
            time.sleep(seconds)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class _Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        self.server.sink.session(1)
        try:
            self._serve()
        except OSError:
            pass  # the client died
        finally:
            self._reset()
            self.server.sink.session(-1)

    def _serve(self):
        self._say("220 sink.example ESMTP")
        verbs = {"EHLO": self._ehlo, "HELO": self._ehlo, "MAIL": self._mail, "RCPT": self._rcpt,
                 "DATA": self._data, "RSET": self._rset, "NOOP": self._noop}
        while line := self.rfile.readline():
            verb, _, argument = line.decode("latin-1").rstrip("\r\n").partition(" ")
            if verb.upper() == "QUIT":
                return self._say("221 2.0.0 bye")
            verbs.get(verb.upper(), self._unknown)(argument)

    _id = None  # of the transaction that is open
    _counted = None
    _recipients = ()

    def _reset(self):
        if self._id is not None:
            self.server.sink.end(self._counted)
        self._id = None
        self._recipients = []

    def _say(self, line):
        self.wfile.write(line.encode() + b"\r\n")

    def _ehlo(self, _):
        self._reset()
        self._say("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
                  "250-ENHANCEDSTATUSCODES\r\n250 SIZE 0")

    def _mail(self, argument):
        self._reset()
        self._id = messages.id_of_sender(_path(argument)) or "?"
        self._counted = self.server.sink.begin(self.client_address[0])
        self._say("250 2.1.0 ok")

    def _rcpt(self, argument):
        recipient = _path(argument)
        if self.server.sink.defers((self._id, recipient)):
            return self._say("450 4.2.0 later")
        self._recipients.append(recipient)
        self._say("250 2.1.5 ok")

    def _data(self, _):
        if not self._recipients:
            return self._say("554 5.5.1 no valid recipients")
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                raise ConnectionError("it ends in the middle of a message")
            lines.append(line[1:] if line.startswith(b".") else line)
        self.server.sink.delay()
        self._record(b"".join(lines))
        # It is over before the client knows: the next one may begin at once, on another connection.
        self._reset()
        self._say("250 2.0.0 recorded")

    def _record(self, contents):
        for recipient in self._recipients:
            if recipient.endswith("@" + messages.SENDER_DOMAIN):
                self.server.sink.ledger.returned(messages.id_of_sender(recipient),
                                                 messages.returned_recipients(contents))
        message_id, whole = messages.identify(contents)
        for recipient in self._recipients:
            if not recipient.endswith("@" + messages.SENDER_DOMAIN):
                self.server.sink.ledger.arrived(
                    message_id, recipient, whole and message_id == self._id, time.time(), "the recording server")

    def _rset(self, _):
        self._reset()
        self._say("250 2.0.0 ok")

    def _noop(self, _):
        self._say("250 2.0.0 ok")

    def _unknown(self, _):
        self._say("502 5.5.2 unknown command")


def _path(argument):
    """The address in MAIL FROM:<...> or RCPT TO:<...>."""
    return argument.partition("<")[2].partition(">")[0]
