"""The account of the cluster's drill: what was promised, what arrived, what came twice and why.

A delivery is a message at one of its recipients. It is owed from the 250 on, until it has arrived at the recording
server or the queue lists it at the end. A second copy is explained by a fault that hit while the first copy's attempt
was open: the outcome of that attempt was not durable yet.
"""

import collections
import contextlib
import threading
import time
from dataclasses import dataclass

# Between the recording server's answer and the outcome on a majority's disks, while nothing is at fault.
_OUTCOME_SECONDS_MAX = 3.0
# A fault's end until the cluster works as before: an election, a lease that runs out, streams that are opened anew.
_RECOVERY_SECONDS_MAX = 15.0

KINDS = ("lost", "corrupt", "unexplained", "undone", "broken", "over the limit")


@dataclass
class Fault:
    what: str  # "SIGKILL of queue1, which led"
    leader: bool
    begin: float
    end: float | None = None

    def covers(self, moment):
        end = self.end if self.end is not None else time.time()
        return self.begin - _OUTCOME_SECONDS_MAX <= moment <= end + _RECOVERY_SECONDS_MAX


@dataclass(frozen=True)
class Finding:
    kind: str
    text: str


class Account:
    """Thread-safe. Stands in for Ledger where load and recording server tell what they see."""

    def __init__(self):
        self._lock = threading.Lock()
        self._messages = {}
        self._owed = {}  # (id, recipient): None
        self._arrivals = collections.defaultdict(list)  # (id, recipient): [time]
        self._accepted_at = []
        self.faults = []
        self.findings = []
        self.duplicates = 0

    # Load

    def sending(self, message):
        with self._lock:
            self._messages[message.id] = message

    def acknowledged(self, message):
        with self._lock:
            message.state, message.body = "acknowledged", b""
            self._accepted_at.append(time.time())
            for recipient in message.recipients:
                if (message.id, recipient) not in self._arrivals:
                    self._owed[message.id, recipient] = None

    def refused(self, message):
        """Or nobody knows: it may arrive."""
        with self._lock:
            message.state, message.body = "refused", b""

    # The recording server

    def arrived(self, message_id, recipient, whole, when, place):
        with self._lock:
            message = self._messages.get(message_id)
            key = (message_id, recipient)
            if not whole or message is None or recipient not in message.recipients:
                return self._find("corrupt", f"{place}: not as it was sent: {key}")
            for earlier in self._arrivals[key]:
                self.duplicates += 1
                if not any(fault.covers(earlier) for fault in self.faults):
                    self._find("unexplained", f"{key} came again after {when - earlier:.1f} s, and nothing was at fault")
            self._arrivals[key].append(when)
            self._owed.pop(key, None)

    def returned(self, message_id, recipients):
        with self._lock:
            self._find("undone", f"{message_id} came back to its sender: {recipients}")

    # Faults

    @contextlib.contextmanager
    def fault(self, what, leader=False):
        fault = Fault(what, leader, time.time())
        with self._lock:
            self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.end = time.time()

    # The end

    def find(self, kind, text):
        with self._lock:
            self._find(kind, text)

    def _find(self, kind, text):
        self.findings.append(Finding(kind, text))

    def owed(self):
        with self._lock:
            return list(self._owed)

    def count(self, state):
        with self._lock:
            return sum(message.state == state for message in self._messages.values())

    def arrivals(self):
        with self._lock:
            return sum(bool(times) for times in self._arrivals.values())

    def pauses(self):
        """(seconds, begin) of each time without a 250, longest first."""
        with self._lock:
            times = sorted(self._accepted_at)
        return sorted(((later - earlier, earlier) for earlier, later in zip(times, times[1:])), reverse=True)

    def longest_pause(self, of=lambda fault: True):
        """In seconds, among those that a fault began in or shortly before; 0: none."""
        return max((seconds for seconds, begin in self.pauses() for fault in self.faults
                    if of(fault) and begin - 1 <= fault.begin <= begin + seconds), default=0.0)
