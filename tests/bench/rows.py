"""The rows of the comparison: what is sent, how, and when a run has ended.

A row's end says what "done" means:
  accept   every message has its 250; the transport is deferred, nothing leaves.
           The deferring itself goes on behind; its CPU is counted too.
  relay    smtp-sink has received every message.
  maildir  the log says "sent" for every message, and new/ holds that many files.
  mbox     the log says "sent" for every message, and the mbox files hold that many.
  logged   the log says "sent" for every recipient; smtp-sink receives them in as few messages as the MTA likes.
"""

import dataclasses

KIB = 1024


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. Lengths are bytes of content without headers."""

    name: str
    end: str
    content_bytes: int
    sessions: int = 50
    reuse: bool = False  # smtp-source -d: many messages over one connection
    paced: bool = False  # at 80 % of the side's own rate in relay_4k
    meaning: str = ""
    count: int = 0  # so many messages (logged: recipients) in each run; 0: as many as the asked time takes
    destinations: int = 1  # message i goes to destination i
    big_recipients: int = 0  # of one mail, which goes first; all others are small, and come at SMALL_RATE

    @property
    def watches_delays(self):
        """The log is read for how long first attempts waited."""
        return self.paced or self.big_recipients > 0


ROWS = (
    Row("accept_4k", "accept", 4 * KIB, meaning="accept, a connection for each message"),
    Row("accept_4k_reused", "accept", 4 * KIB, reuse=True, meaning="accept, connections reused"),
    Row("relay_4k", "relay", 4 * KIB, meaning="relay, a connection for each message"),
    Row("relay_4k_reused", "relay", 4 * KIB, reuse=True, meaning="relay, connections reused"),
    Row("relay_10k", "relay", 10 * KIB, meaning="relay, 10 KiB"),
    Row("relay_100k", "relay", 100 * KIB, sessions=20, meaning="relay, 100 KiB, 20 sessions"),
    Row("maildir_4k", "maildir", 4 * KIB, meaning="into one virtual Maildir"),
    Row("mbox_4k", "mbox", 4 * KIB, meaning="into a hundred virtual mbox files in turn"),
    Row("mixed_4k", "relay", 4 * KIB, paced=True, meaning="relay at 80 % of the own relay_4k rate"),
    Row("many_destinations", "relay", 4 * KIB, count=10_000, destinations=10_000,
        meaning="relay, 10,000 messages to a destination each"),
    Row("one_destination", "relay", 4 * KIB, count=10_000, meaning="relay, 10,000 messages to one destination"),
    Row("big_and_small", "logged", 4 * KIB, sessions=4, count=100_400, big_recipients=100_000,
        meaning="a mail to 100,000 recipients, and 400 small ones behind it"),
)

PACE_REFERENCE = "relay_4k"
PACE_SHARE = 0.8
FIRST_ATTEMPT_SECONDS = 1.0
SMALL_RATE = 20.0  # messages a second beside a big mail


def row_named(name):
    """The row of that name. KeyError names the rows that exist."""
    for row in ROWS:
        if row.name == name:
            return row
    raise KeyError(f"no row {name!r}; rows: {' '.join(row.name for row in ROWS)}")
