"""Load for a server that is broken meanwhile: clients that send one message after the other.

    load = Load(8, lambda number: ("bob@peer.example", content))
    with load.run(mta.port):
        load.wait_for_more(10)
"""

import contextlib
import threading

import smtp_client
from deadlines import Signal, wait_until


class Load:
    """make(number): recipient and content of each message. acknowledged: those with a 250; refused: what else
    was answered. A connection that breaks ends its client."""

    def __init__(self, clients, make):
        self.acknowledged = []
        self.refused = []
        self._clients = clients
        self._make = make
        self._lock = threading.Lock()
        self._numbers = 0
        self._stop = threading.Event()
        self._changed = Signal()

    @contextlib.contextmanager
    def run(self, port):
        """The clients end with the block, after the messages that they are sending."""
        self._stop.clear()
        threads = [threading.Thread(target=self._run_one, args=(port,)) for _ in range(self._clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_for_more(self, count, hopeless=None):
        """Until so many more than now were acknowledged."""
        wanted = len(self.acknowledged) + count
        wait_until(f"{count} more messages with a 250", lambda: len(self.acknowledged) >= wanted,
                   hopeless=hopeless, changes=self._changed)

    def close(self):
        self._changed.close()

    def _run_one(self, port):
        with contextlib.suppress(OSError), smtp_client.Client(port) as client:
            while not self._stop.is_set():
                with self._lock:
                    self._numbers += 1
                    number = self._numbers
                to, content = self._make(number)
                reply = client.send("sender@client.example", [to], content)
                with self._lock:
                    (self.acknowledged if reply.code == 250 else self.refused).append(to)
                self._changed.set()
                if reply.code != 250:
                    return
