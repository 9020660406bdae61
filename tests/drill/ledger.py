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
    time: float  # s, of the clock
    place: str  # for people: a file, or the recording server


# Between an answer of the recording server, or a file in new/, and the outcome on the disk.
_OPEN_ATTEMPT_SECONDS_MAX = 3.0

# What must not be. broken: the server did not start, or ended by itself. unexplained: a second
# copy that no cut explains.
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
        self._duplicate_ages = []
        self._cuts = {}  # round: when its power went
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

    def cut(self, when):
        """The round's power is off; said before what survived arrives."""
        with self._lock:
            self._cuts.setdefault(self.round, when)

    def arrived(self, message_id, recipient, whole, when, place):
        """Whatever has come to a recipient, whole or not."""
        with self._lock:
            message = self._messages.get(message_id)
            key = (message_id, recipient)
            if not whole or message is None or recipient not in message.recipients:
                return self._find("corrupt", key, f"{place}: not as it was sent: {key}")
            for earlier in self._arrivals[key]:
                self._explain(key, earlier, place)
            self._arrivals[key].append(Arrival(self.round, when, place))
            self._owed.pop(key, None)

    def _explain(self, key, earlier, place):
        """A second copy comes of an attempt that was open at a cut: the first one came shortly before it."""
        if earlier.round == self.round:
            self._find("unexplained", (key, place),
                       f"{place}: {key} came again with no cut between (first: {earlier.place})")
            return
        age = max(0.0, self._cuts[earlier.round] - earlier.time)
        self._duplicate_ages.append(age)
        if age > _OPEN_ATTEMPT_SECONDS_MAX:
            self._find("unexplained", (key, place), f"{place}: {key} came again; its first copy "
                       f"({earlier.place}) was {age:.1f} s old when the power went")

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
        """(how many second copies, the age in s of the oldest first copy when the power went)"""
        with self._lock:
            return len(self._duplicate_ages), max(self._duplicate_ages, default=0.0)
