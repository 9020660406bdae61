"""The drill's account of each message: what was promised, what arrived, what is lost.

A delivery is a message at one of its recipients. It is owed from the 250 on, until the message has
arrived there whole or the queue lists it. Arrivals count once nothing can take them back: at the
recording server when it has read the final dot, in a Maildir when the file was there after a loss
of power (or, at the end, after an orderly stop and one).

What an administrator asks for is told before the command runs, since a command that the power cuts
off may have been done or not; what an answer promised is told after it was read. A delivery that
was asked to be removed is owed no more than one that was never acknowledged; one that was asked to
expire may come back to its sender instead.
"""

import collections
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Arrival:
    round: int
    time: float  # s, of the clock
    place: str  # for people: a file, or the recording server


# Between an answer of the recording server, or a file in new/, and the outcome on the disk.
_OPEN_ATTEMPT_SECONDS_MAX = 3.0

# What must not be. broken: the server did not start, or ended by itself. unexplained: a second
# copy that no cut explains. undone: what an administrator's command had answered did not last, or
# what nobody asked for was done. unsound: what `queue verify` finds.
KINDS = ("lost", "corrupt", "broken", "unexplained", "undone", "unsound")


@dataclass(frozen=True)
class Finding:
    kind: str
    text: str


@dataclass
class _Wishes:
    """What administrators asked of a message."""
    asked: set = field(default_factory=set)
    deleted_since: float | None = None  # it was answered
    held_since: float | None = None


class Ledger:
    """Thread-safe."""

    def __init__(self):
        self._lock = threading.Lock()
        self._messages = {}
        self._arrivals = collections.defaultdict(list)  # (id, recipient): [Arrival]
        self._owed = {}  # (id, recipient): None, in the order of acknowledgement
        self._wishes = collections.defaultdict(_Wishes)  # by id
        self._asked_of_all = set()
        self._returned = set()  # (id, recipient)
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
            if self._asked_of_all:
                self._wishes[message.id].asked |= self._asked_of_all

    def acknowledged(self, message):
        with self._lock:
            message.state = "acknowledged"
            message.body = b""
            for recipient in message.recipients:
                key = (message.id, recipient)
                if key not in self._arrivals and key not in self._returned:
                    self._owed[key] = None

    def refused(self, message):
        with self._lock:
            message.state = "refused"
            message.body = b""

    # Administration

    def acknowledged_messages(self):
        with self._lock:
            return [message for message in self._messages.values() if message.state == "acknowledged"]

    def forget(self, which):
        """As if they had never been sent."""
        with self._lock:
            for message in [message for message in self._messages.values() if which(message)]:
                del self._messages[message.id]
                for recipient in message.recipients:
                    self._owed.pop((message.id, recipient), None)

    def acknowledged_ids(self):
        with self._lock:
            return {message.id for message in self._messages.values() if message.state == "acknowledged"}

    def ask(self, wish, message_ids):
        """Before a command: "remove", "hold", "expire" or "deliver" (released, requeued)."""
        with self._lock:
            self._ask(wish, message_ids)

    def ask_all(self, wish):
        """Of all messages, and of those that are sent until ask_all_ends() or a cut."""
        with self._lock:
            self._ask(wish, list(self._messages))
            self._asked_of_all.add(wish)

    def ask_all_ends(self):
        with self._lock:
            self._asked_of_all.clear()

    def _ask(self, wish, message_ids):
        for message_id in message_ids:
            wishes = self._wishes[message_id]
            if wish == "remove held":
                if "hold" not in wishes.asked:
                    continue
                wish_of_it = "remove"
            # The notice about an expired message expires, too: then nobody is told.
            elif wish == "expire" and "expire" in wishes.asked:
                wish_of_it = "remove"
            else:
                wish_of_it = wish
            wishes.asked.add(wish_of_it)
            if wish in ("deliver", "expire"):
                wishes.held_since = None

    def answered(self, wish, message_ids, when):
        """It was done to these: "remove" or "hold"."""
        with self._lock:
            for message_id in message_ids:
                wishes = self._wishes[message_id]
                if wish == "remove":
                    wishes.deleted_since = when
                else:
                    wishes.held_since = when

    def listed(self, message_ids, asked_at):
        """Of the queue, which was asked for at that time."""
        with self._lock:
            for message_id in message_ids:
                wishes = self._wishes.get(message_id)
                if wishes and wishes.deleted_since is not None and wishes.deleted_since < asked_at:
                    self._find("undone", message_id, f"{message_id}: was deleted, and is listed in round {self.round}")

    def returned(self, message_id, recipients):
        """A notice of failure has arrived."""
        with self._lock:
            if message_id not in self._messages or "expire" not in self._wishes[message_id].asked:
                self._find("undone", message_id, f"{message_id}: came back to its sender, and nobody had asked for it")
            for recipient in recipients:
                self._returned.add((message_id, recipient))
                self._owed.pop((message_id, recipient), None)

    # Arrivals

    def cut(self, when):
        """The round's power is off; said before what survived arrives."""
        with self._lock:
            self._asked_of_all.clear()
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
            self._check_wishes(key, when, place)
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

    def _check_wishes(self, key, when, place):
        """An attempt that was open goes on for a moment."""
        wishes = self._wishes.get(key[0])
        if wishes is None:
            return
        for word, since in (("deleted", wishes.deleted_since), ("held", wishes.held_since)):
            if since is not None and when > since + _OPEN_ATTEMPT_SECONDS_MAX:
                self._find("undone", key, f"{place}: {key} came {when - since:.1f} s after it was {word}")

    # Accounts

    def owed(self):
        """Deliveries that were promised and have not arrived."""
        with self._lock:
            return list(self._owed)

    def missing(self, keys, accounted_for, waiting_notices=frozenset()):
        """Those of `keys` that are still owed and not in `accounted_for`, nor asked to be removed, nor
        asked to expire with their notice in `waiting_notices` (ids)."""
        with self._lock:
            return self._missing(keys, accounted_for, waiting_notices)

    def _missing(self, keys, accounted_for, waiting_notices):
        found = []
        for key in keys:
            asked = self._wishes[key[0]].asked if key[0] in self._wishes else ()
            if "remove" in asked or ("expire" in asked and key[0] in waiting_notices):
                continue
            if key in self._owed and key not in accounted_for:
                found.append(key)
        return found

    def account(self, keys, accounted_for, waiting_notices=frozenset()):
        """The missing ones are lost."""
        with self._lock:
            for key in self._missing(keys, accounted_for, waiting_notices):
                if key in self._owed:
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
            removed = sum("remove" in self._wishes[key[0]].asked for key in self._owed if key[0] in self._wishes)
            return (f"messages: {states['acknowledged']} acknowledged, {states['open']} unanswered, "
                    f"{states['refused']} refused; deliveries: {arrived} arrived, {len(self._returned)} returned, "
                    f"{removed} removed or to be, {len(self._owed) - removed} owed")

    def administered(self):
        with self._lock:
            asked = collections.Counter(wish for wishes in self._wishes.values() for wish in wishes.asked)
            deleted = sum(wishes.deleted_since is not None for wishes in self._wishes.values())
            return (f"asked of messages: remove {asked['remove']} (answered {deleted}), hold {asked['hold']}, "
                    f"expire {asked['expire']}, release or requeue {asked['deliver']}")

    def duplicates(self):
        """(how many second copies, the age in s of the oldest first copy when the power went)"""
        with self._lock:
            return len(self._duplicate_ages), max(self._duplicate_ages, default=0.0)
