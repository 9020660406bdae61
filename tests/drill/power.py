"""./dev drill power: the power fails again and again under load; nothing acknowledged may be lost.

In each round the server starts on what the disk kept, mail flows in over several connections and
out into Maildirs and to a recording SMTP server, and the power goes: at a moment, or at a sync or
a rename whose number is drawn from the range of the round. Queue and Maildirs lose what was not
synced. Beside the mail an administrator works on the queue, part of which stands: the recording
server defers it until the end. After the last round everything drains, and the ledger must come
out even.

Ends with 0 when nothing was found, with 1 otherwise. With --expect: 0 when nothing was found with
all syncs, and a finding of that kind without those that --ignore-sync takes out.
"""

import argparse
import shutil
import signal
import tempfile
import time
from pathlib import Path

import disk
import ledger
import options
import product
import rounds
import sink
from options import say

_ROUNDS = 100
# With all syncs, before the same rounds without some.
_COMPARED_ROUNDS = 2
_MEMORY_BYTES_MIN = 4 << 30
_FINDINGS_PRINTED_MAX = 40


def parse_arguments(words):
    parser = options.parser("power", __doc__, _ROUNDS)
    parser.add_argument("--strict", action="store_true", help="the disk keeps nothing unsynced, ever")
    parser.add_argument("--cut", metavar="AT", help="before:N or after:N in every round")
    parser.add_argument("--ignore-sync", metavar="GLOB",
                        help="take the syncs of these files or folders out")
    parser.add_argument("--expect", metavar="KIND", choices=ledger.KINDS,
                        help="the drill must find this without the syncs, and nothing with all of them: "
                        + ", ".join(ledger.KINDS))
    parser.add_argument("--defer-share", type=float, default=0.15,
                        help="of the deliveries that the recording server defers once (0.15)")
    parser.add_argument("--only", metavar="OPTION", help="of the administrator's commands only postsuper OPTION: -d")
    return options.parse(parser, words)


def run_rounds(arguments, instance, account):
    """Stops early when a loss is what is waited for."""
    instance.fill(arguments.seed)
    for index in range(arguments.rounds):
        instance.run(arguments.seed + index, arguments.strict, arguments.cut)
        if arguments.ignore_sync and account.count(arguments.expect):
            return
    instance.drain()


def fast_folder():
    """/dev/shm where it is large; in a container it may be tiny."""
    try:
        if shutil.disk_usage("/dev/shm").free >= _MEMORY_BYTES_MIN:
            return "/dev/shm"
    except OSError:
        pass
    return "/tmp"


def drill(arguments, folder, bin_folder):
    """The ledger after all rounds."""
    account = ledger.Ledger()
    recorder = sink.Sink(account, arguments.seed, arguments.defer_share)
    # The journal holds every byte that is written, the shadow a copy of the tree.
    memory = Path(tempfile.mkdtemp(prefix="postfleet-drill-", dir=fast_folder()))
    memory.chmod(0o755)
    tree = folder / "tree"
    tree.mkdir()
    power = disk.Disk(bin_folder, tree, memory / "control", memory / "shadow")
    server = product.Product(bin_folder, folder, tree, recorder.port)
    try:
        power.init()
        instance = rounds.Rounds(power, server, recorder, account, say, arguments.ignore_sync,
                                 arguments.only)
        run_rounds(arguments, instance, account)
        say(instance.administrator.summary())
    except product.ProductError as error:
        account.found("broken", f"round {account.round}: the server {error}")
    finally:
        server.kill()
        recorder.close()
        shutil.rmtree(memory, ignore_errors=True)
    return account


def run_drill(arguments, folder, bin_folder):
    """The ledger, which it also prints."""
    folder.mkdir()
    say(f"./dev drill power --seed {arguments.seed} --rounds {arguments.rounds}, in {folder}"
        + (f", without the syncs of {arguments.ignore_sync}" if arguments.ignore_sync else ""))
    begin = time.monotonic()
    account = drill(arguments, folder, bin_folder)
    for finding in account.findings[:_FINDINGS_PRINTED_MAX]:
        say(f"{finding.kind}: {finding.text}")
    counts = ", ".join(f"{kind} {account.count(kind)}" for kind in ledger.KINDS)
    duplicates, oldest = account.duplicates()
    say(f"{account.round} starts in {time.monotonic() - begin:.0f} s, {account.summary()}")
    say(account.administered())
    say(f"{counts}, duplicates {duplicates} (their first copies came up to {oldest:.2f} s before a cut)")
    return account


def run_all(arguments, root):
    """The exit status."""
    if not arguments.expect:
        return 1 if run_drill(arguments, root / "drill", root / "bin").findings else 0
    whole = argparse.Namespace(**dict(vars(arguments), ignore_sync=None, rounds=_COMPARED_ROUNDS))
    if run_drill(whole, root / "whole", root / "bin").findings:
        say("something is wrong with all syncs")
        return 1
    found = run_drill(arguments, root / "drill", root / "bin").count(arguments.expect)
    say(f"found: {arguments.expect}" if found else f"FOUND NOTHING: {arguments.expect}")
    return 0 if found else 1


def end_in_order(number, _frame):
    raise SystemExit(128 + number)


def main(argv):
    arguments = parse_arguments(argv)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end_in_order)
    with options.folder(arguments) as root:
        return run_all(arguments, root)
