#!/usr/bin/env python3
"""Clients that hold a server up, in one process: hostile_clients.py PORT IDLE SLOW GARBAGE.

  idle      says EHLO and nothing more
  slow      sends a byte a second, and never a whole command
  garbage   sends lines of nonsense as fast as they are taken, and comes again when it is hung up on

Each comes from an address of 127/8 of its own, so that no limit of one client is met. Prints "ready" once all idle and
slow ones have their banner, or "refused" with how many have it if the rest have none within WAIT_SECONDS; then
runs until it is ended, and prints how many sessions garbage has had.
"""

import errno
import selectors
import signal
import socket
import sys
import time

WAIT_SECONDS = 60.0
_GARBAGE = b"".join(b"NONSENSE %d\r\n" % number for number in range(300))
_RECONNECT_SECONDS = 0.01


class Client:
    def __init__(self, kind, number, port):
        self.kind, self.number, self._port = kind, number, port
        self.greeted = False
        self.sessions = 0
        self.socket = None

    def connect(self, selector):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.bind((f"127.{2 + self.number // 62500}.{self.number // 250 % 250}.{self.number % 250 + 1}", 0))
        failure = self.socket.connect_ex(("127.0.0.1", self._port))
        if failure not in (0, errno.EINPROGRESS):
            raise OSError(failure, "connect")
        self.sessions += 1
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.kind == "garbage" else 0)
        selector.register(self.socket, events, self)

    def close(self, selector):
        selector.unregister(self.socket)
        self.socket.close()

    def ready(self, events, selector):
        """False: the server has hung up."""
        try:
            if events & selectors.EVENT_READ:
                received = self.socket.recv(4096)
                if not received:
                    return False
                if not self.greeted and self.kind == "idle":
                    self.socket.send(b"EHLO idle.example\r\n")
                self.greeted = True
            if events & selectors.EVENT_WRITE:
                self.socket.send(_GARBAGE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def drip(self, letter):
        try:
            self.socket.send(letter)
        except OSError:
            pass


def main():
    port, idle, slow, garbage = map(int, sys.argv[1:])
    kinds = ["idle"] * idle + ["slow"] * slow + ["garbage"] * garbage
    clients = [Client(kind, number, port) for number, kind in enumerate(kinds)]
    quiet = [client for client in clients if client.kind != "garbage"]
    dripping = [client for client in clients if client.kind == "slow"]
    selector = selectors.DefaultSelector()
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    waiting = []  # (when, client) to connect again
    for client in quiet:
        client.connect(selector)
    start = next_drip = time.monotonic()
    began = False
    while not ended:
        for key, events in selector.select(0.05):
            if not key.data.ready(events, selector):
                key.data.close(selector)
                waiting.append((time.monotonic() + _RECONNECT_SECONDS, key.data))
        now = time.monotonic()
        due = [client for when, client in waiting if when <= now]
        waiting = [(when, client) for when, client in waiting if when > now]
        for client in due:
            client.connect(selector)
        if now >= next_drip:
            next_drip = now + 1.0
            for client in dripping:
                client.drip(b"N")
        if not began and (all(client.greeted for client in quiet) or now - start > WAIT_SECONDS):
            began = True
            greeted = sum(client.greeted for client in quiet)
            print("ready" if greeted == len(quiet) else f"refused {greeted}", flush=True)
            for client in clients[len(quiet):]:
                client.connect(selector)
    print(sum(client.sessions for client in clients[len(quiet):]), flush=True)


if __name__ == "__main__":
    main()
