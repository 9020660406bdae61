"""./dev drill sim: thousands of seeds of the simulation of replicated logs. A failure prints its seed.
"""

import argparse
import subprocess

import programs

_SIMULATE = {"simulate": "services/queue/replica/simulate"}
_SHARES = ((3, 3), (5, 1), (1, 1))  # voters, share of the seeds


def main(arguments):
    made = argparse.ArgumentParser(prog="./dev drill sim", description=__doc__.splitlines()[0])
    made.add_argument("--seeds", type=int, default=5_000, help="(%(default)s)")
    made.add_argument("--seed", type=int, default=1, help="the first one (%(default)s)")
    made.add_argument("--voters", type=int, help="only groups of that size; otherwise 3, 5 and 1")
    parsed = made.parse_args(arguments)
    program = programs.build(_SIMULATE) / _SIMULATE["simulate"]
    shares = ((parsed.voters, 1),) if parsed.voters else _SHARES
    total = sum(share for _, share in shares)
    failed = False
    for voters, share in shares:
        seeds = max(1, parsed.seeds * share // total)
        done = subprocess.run([program, str(parsed.seed), str(seeds), str(voters)], check=False)
        failed = failed or done.returncode != 0
    return 1 if failed else 0
