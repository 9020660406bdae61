"""Senders: SMTP connections that send messages until their share is sent or the server is gone.

A message is acknowledged when the 250 after its final dot was read, and only then.
"""

import socket
import threading

from deadlines import Signal

_REPLY_SECONDS_MAX = 30.0
_REFUSED_PAUSE_SECONDS = 0.05
_MESSAGES_PER_CONNECTION_MAX = 25
# Between messages: spreads the load over a round, and its syncs.
_PAUSE_SECONDS_MAX = 0.04


class Load:
    """`writers` draw the messages, one for each connection."""

    def __init__(self, port, ledger, writers):
        self._port = port
        self._ledger = ledger
        self._stop = threading.Event()
        self.first_acknowledged = threading.Event()
        self.finished = Signal()  # all messages are sent, or the server has gone
        self._left = len(writers)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send_all, args=(writer,), daemon=True)
                         for writer in writers]

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Ends after the messages that are being sent now; the server should be gone or answering."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_REPLY_SECONDS_MAX + 5)
        if not any(thread.is_alive() for thread in self._threads):
            self.finished.close()

    def _send_all(self, writer):
        try:
            self._send_share(writer)
        finally:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self.finished.set()

    def _send_share(self, writer):
        left = writer.share
        while left > 0 and not self._stop.is_set():
            try:
                with Connection(("127.0.0.1", self._port)) as connection:
                    left -= self._send_some(connection, writer, min(left, _MESSAGES_PER_CONNECTION_MAX))
            except Refused:
                self._stop.wait(_REFUSED_PAUSE_SECONDS)
            except OSError:
                return  # no server any more

    def _send_some(self, connection, writer, count):
        for _ in range(count):
            if self._stop.wait(writer.pause_seconds(_PAUSE_SECONDS_MAX)):
                break
            message = writer.next()
            self._ledger.sending(message)
            try:
                connection.send(message)
            except Refused:
                self._ledger.refused(message)
                raise
            self._ledger.acknowledged(message)
            self.first_acknowledged.set()
        return count


class Refused(Exception):
    """A reply other than the one that goes on."""


class Connection:
    def __init__(self, address):
        self._socket = socket.create_connection(address, _REPLY_SECONDS_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")
        try:
            self._expect(b"220")
            self._socket.sendall(b"EHLO client.example\r\n")
            self._expect(b"250")
        except BaseException:
            self._close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._socket.sendall(b"QUIT\r\n")
        except OSError:
            pass
        self._close()

    def _close(self):
        self._replies.close()
        self._socket.close()

    def _expect(self, code):
        while True:
            line = self._replies.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("the server hung up")
            if line[3:4] != b"-":
                break
        if line[:3] != code:
            raise Refused(line)

    def send(self, message):
        """Returns when it is acknowledged."""
        sender = f"MAIL FROM:<m-{message.id}@sender.example>\r\n"
        recipients = "".join(f"RCPT TO:<{recipient}>\r\n" for recipient in message.recipients)
        self._socket.sendall((sender + recipients + "DATA\r\n").encode())
        for _ in range(1 + len(message.recipients)):
            self._expect(b"250")
        self._expect(b"354")
        contents = message.contents().replace(b"\r\n.", b"\r\n..")
        self._socket.sendall(contents + b".\r\n")
        self._expect(b"250")
