"""Waiting for an event of another process: polled, with an end. Tests sleep nowhere else."""

import time

_POLL_SECONDS = 0.01
EVENT_SECONDS_MAX = 30.0


class Missed(AssertionError):
    """What was waited for did not happen."""


def wait_until(what, happened, seconds_max=EVENT_SECONDS_MAX, hopeless=None):
    """Returns the first true result of happened(). Missed after seconds_max, or when hopeless() says why."""
    end = time.monotonic() + seconds_max
    while True:
        result = happened()
        if result:
            return result
        reason = hopeless() if hopeless else None
        if reason:
            raise Missed(f"{what}: {reason}")
        if time.monotonic() > end:
            raise Missed(f"{what}: not within {seconds_max:g} s")
        time.sleep(_POLL_SECONDS)
