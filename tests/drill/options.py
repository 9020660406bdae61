"""What every drill is told on its command line, and the folder that it works in."""

import argparse
import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import product
import programs

_SHORT_ROUNDS = 8


def parser(name, doc, rounds):
    """With the options that drills share; `rounds` is how many it runs by itself, None: it has none."""
    made = argparse.ArgumentParser(prog=f"./dev drill {name}", description=doc.splitlines()[0])
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds, help=f"({rounds})")
    made.add_argument("--short", action="store_true", help=f"{_SHORT_ROUNDS} rounds" if rounds else "for a test")
    made.add_argument("--seed", type=int, default=int(time.time()) * 1000,
                      help="of the first round; each next one has the next (by the clock)")
    made.add_argument("--keep", action="store_true", help="keep the folder with queue and logs")
    made.add_argument("--programs", type=Path, metavar="DIR",
                      help="an output folder of Bazel's; otherwise everything is built")
    return made


def parse(made, arguments):
    parsed = made.parse_args(arguments)
    if parsed.short:
        parsed.rounds = _SHORT_ROUNDS
    return parsed


def say(line):
    print(line, flush=True)


@contextlib.contextmanager
def folder(arguments, wanted=None):
    """A new one, with the programs in bin/ (programs.EMBEDDED, or those `wanted`); it goes again unless --keep."""
    root = Path(tempfile.mkdtemp(prefix="postfleet-drill-", dir="/tmp"))
    root.chmod(0o755)
    try:
        if getattr(arguments, "bin", None):
            (root / "bin").symlink_to(arguments.bin.resolve())
        else:
            programs.lay_out(arguments.programs or programs.build(wanted), root / "bin", wanted)
        product.adopt_orphans()
        yield root
    finally:
        if arguments.keep:
            say(f"kept {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
