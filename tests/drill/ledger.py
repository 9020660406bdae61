"""The drill's account of each message: what was promised, what arrived, what is lost.

A delivery is a message at one of its recipients. It is owed from the 250 on, until the message has
arrived there whole or the queue lists it. Arrivals count once nothing can take them back: at the
recording server when it has read the final dot, in a Maildir when the file was there after a loss
of power (or, at the end, after an orderly stop and one).
"""

import collections
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    round: int
    place: str  # for messages: a file, or the recording server


# What must not be. broken: the server did not start, or ended by itself. unexplained: a second
# copy without a cut between.
KINDS = ("lost", "corrupt", "broken", "unexplained")


@dataclass(frozen=True)
class Finding:
    kind: str
    text: str


class Ledger:
    """Thread-safe."""

    def __init__(self):
        self._lock = threading.Lock()
        self._messages = {}
        self._arrivals = collections.defaultdict(list)  # (id, recipient): [Arrival]
        self._owed = {}  # (id, recipient): None, in the order of acknowledgement
        self._reported = set()
        self.round = 0
        self.findings = []

    # Load

    def sending(self, message):
        """Before the first byte of its contents is sent."""
        with self._lock:
            self._messages[message.id] = message

    def acknowledged(self, message):
        with self._lock:
            message.state = "acknowledged"
            message.body = b""
            for recipient in message.recipients:
                if (message.id, recipient) not in self._arrivals:
                    self._owed[message.id, recipient] = None

    def refused(self, message):
        with self._lock:
            message.state = "refused"
            message.body = b""

    # Arrivals

    def arrived(self, message_id, recipient, whole, place):
        """Whatever has come to a recipient, whole or not."""
        with self._lock:
            message = self._messages.get(message_id)
            key = (message_id, recipient)
            if not whole or message is None or recipient not in message.recipients:
                return self._find("corrupt", key, f"{place}: not as it was sent: {key}")
            for earlier in self._arrivals[key]:
                if earlier.round == self.round:
                    self._find("unexplained", (key, place),
                               f"{place}: {key} came a second time with no cut between "
                               f"(first: {earlier.place})")
            self._arrivals[key].append(Arrival(self.round, place))
            self._owed.pop(key, None)

    # Accounts

    def owed(self):
        """Deliveries that were promised and have not arrived."""
        with self._lock:
            return list(self._owed)

    def still_owed(self, keys):
        with self._lock:
            return [key for key in keys if key in self._owed]

    def account(self, keys, accounted_for):
        """Lost are those of `keys` that are still owed and not in `accounted_for`."""
        with self._lock:
            for key in keys:
                if key in self._owed and key not in accounted_for:
                    self._find("lost", key, f"{key[0]} to {key[1]}: acknowledged in round "
                               f"{self._messages[key[0]].round}, missing in round {self.round}")

    def found(self, kind, text):
        with self._lock:
            self._find(kind, text, text)

    def _find(self, kind, key, text):
        """Said once for each key."""
        if (kind, key) not in self._reported:
            self._reported.add((kind, key))
            self.findings.append(Finding(kind, text))

    def count(self, kind):
        with self._lock:
            return sum(finding.kind == kind for finding in self.findings)

    def summary(self):
        with self._lock:
            states = collections.Counter(message.state for message in self._messages.values())
            arrived = sum(len(arrivals) for arrivals in self._arrivals.values())
            return (f"messages: {states['acknowledged']} acknowledged, {states['open']} unanswered, "
                    f"{states['refused']} refused; deliveries: {arrived} arrived, {len(self._owed)} owed")

    def duplicates(self):
        """Arrivals past the first. What `arrived` did not find unexplained had a cut before it."""
        with self._lock:
            return sum(len(arrivals) - 1 for arrivals in self._arrivals.values() if arrivals)

    def duplicates_late(self):
        """Those whose earlier copy had come before more than one cut."""
        with self._lock:
            return sum(later.round - earlier.round > 1
                       for arrivals in self._arrivals.values()
                       for earlier, later in zip(arrivals, arrivals[1:]))
