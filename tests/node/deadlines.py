"""Waiting for an event of another process, with an end. Tests wait nowhere else, and never for a time.

Where the system tells of the event, wait_until is given what tells (Changes) and sleeps in it:
FolderChanges for a log, Signal for what another thread of the test does. A process's end has
wait_for_exit. What nobody tells (a port that greets, a command's answer) is asked for again and again.
"""

import ctypes
import os
import select
import time

EVENT_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.01
# Told of changes, wait_until still looks so often whether there is any hope left.
_HOPE_SECONDS = 0.25

_IN_CHANGES = 0x002 | 0x080 | 0x100  # IN_MODIFY, IN_MOVED_TO, IN_CREATE
_LIBC = ctypes.CDLL(None, use_errno=True)


class Missed(AssertionError):
    """What was waited for did not happen."""


def wait_until(what, happened, seconds_max=EVENT_SECONDS_MAX, hopeless=None, changes=None,
               poll_seconds=_POLL_SECONDS):
    """Returns the first true result of happened(). Missed after seconds_max, or when hopeless() says why.

    changes: tells when to look again; without it happened() is called every poll_seconds."""
    end = time.monotonic() + seconds_max
    while True:
        result = happened()
        if result:
            return result
        reason = hopeless() if hopeless else None
        if reason:
            raise Missed(f"{what}: {reason}")
        left = end - time.monotonic()
        if left <= 0:
            raise Missed(f"{what}: not within {seconds_max:g} s")
        if changes:
            changes.wait(min(left, _HOPE_SECONDS))
        else:
            time.sleep(poll_seconds)


def wait_for_exit(pid, seconds_max):
    """True once the process has ended, waited for by its parent or not; False when time is up."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return wait_for_any([descriptor], seconds_max) != []
    finally:
        os.close(descriptor)


def wait_for_any(descriptors, seconds_max):
    """Numbers of those that became readable; none when time is up."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [number for number, _ in poll.poll(max(0.0, seconds_max) * 1000)]


class Changes:
    """Something changed since the last wait: never missed, sometimes nothing. Owns the descriptor."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        os.close(self._descriptor)

    def fileno(self):
        return self._descriptor

    def wait(self, seconds_max):
        """False when time is up."""
        if not wait_for_any([self], seconds_max):
            return False
        os.read(self._descriptor, 1 << 16)
        return True


class Signal(Changes):
    """set() by any thread, before or during the wait."""

    def __init__(self):
        super().__init__(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def set(self):
        os.eventfd_write(self._descriptor, 1)


class FolderChanges(Changes):
    """Files of a folder were written, made or moved there (inotify(7))."""

    def __init__(self, folder):
        super().__init__(_LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        if _LIBC.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_CHANGES) < 0:
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, os.strerror(error), str(folder))
