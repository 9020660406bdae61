"""Follows a Postfix-style mail log and counts the outcomes in it.

Input: lines as Postfix's delivery agents write them ("QID: to=<...>, ..., delays=a/b/c/d, dsn=...,
status=sent (...)"). Only whole lines are looked at.
"""

import re

_FIRST_ATTEMPT = re.compile(rb": ([0-9A-Za-z]+): to=<.*?, delays=([0-9.]+)/([0-9.]+)/")


class LogTail:
    """Counts since the beginning of the file. With delays: a+b of each queue id's first attempt."""

    def __init__(self, path, delays=False):
        self._path = path
        self._file = None
        self._rest = b""
        self._delays = {} if delays else None
        self.sent = self.deferred = self.bounced = 0

    def close(self):
        if self._file is not None:
            self._file.close()

    def poll(self):
        if self._file is None:
            try:
                self._file = open(self._path, "rb")
            except FileNotFoundError:
                return
        block = self._rest + self._file.read()
        whole, newline, self._rest = block.rpartition(b"\n")
        if not newline:
            return
        self.sent += whole.count(b", status=sent ")
        self.deferred += whole.count(b", status=deferred ")
        self.bounced += whole.count(b", status=bounced ")
        if self._delays is not None:
            self._read_delays(whole)

    def _read_delays(self, block):
        for match in _FIRST_ATTEMPT.finditer(block):
            qid, before_queue, in_queue = match.groups()
            self._delays.setdefault(qid, float(before_queue) + float(in_queue))

    def outcomes(self):
        return self.sent + self.deferred + self.bounced

    def first_attempt_delays(self):
        """Seconds from a message's arrival to its first attempt, sorted."""
        return sorted(self._delays.values()) if self._delays else []
