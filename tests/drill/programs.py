"""The programs of the drill: built by Bazel, laid out in one folder, as the launcher expects them."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The launcher starts HELPER, with an empty environment: there the drill puts what loads the shim.
HELPER = "postfleet-delivery-helper"
HELPER_PROGRAM = HELPER + ".program"

# Name in the folder: path below Bazel's output folder.
_SHARED = {
    "postfleet": "commands/postfleet",
    "postfleet-launcher": "services/launcher/launcher",
}
# Of the embedded product under powercut.
EMBEDDED = {
    **_SHARED,
    "postfleetd": "services/all/postfleetd",
    HELPER_PROGRAM: "services/delivery/privileged/helper",
    "powercut": "tests/drill/powercut/powercut",
    "libpowercut.so": "tests/drill/powercut/libpowercut.so",
}
# Of a cluster.
SERVICES = {
    **_SHARED,
    HELPER: "services/delivery/privileged/helper",
    "postfleet-queued": "services/queue/queued",
    "postfleet-lookupd": "services/lookup/lookupd",
    "postfleet-schedulerd": "services/scheduler/schedulerd",
    "postfleet-deliveryd": "services/delivery/deliveryd",
    "postfleet-ingressd": "services/ingress/ingressd",
}


def _bazel(command, *arguments):
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    base = os.environ.get("POSTFLEET_OUTPUT_BASE")
    done = subprocess.run(
        ["bazel", *([f"--output_base={base}"] if base else []), command,
         f"--disk_cache={cache}/postfleet/bazel", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("drill: the programs do not build")
    return done.stdout.strip()


def build(wanted=None):
    """Bazel's output folder, up to date. wanted: EMBEDDED or SERVICES."""
    _bazel("build", *("//%s:%s" % (path.rpartition("/")[0], path.rpartition("/")[2])
                      for path in (wanted or EMBEDDED).values()))
    return Path(_bazel("info", "bazel-bin"))


def lay_out(outputs, folder, wanted=None):
    """Copies: a launcher behind a link would look for the others where the link points."""
    folder.mkdir()
    folder.chmod(0o755)
    for name, path in (wanted or EMBEDDED).items():
        shutil.copy(outputs / path, folder / name)
        (folder / name).chmod(0o755)


def shim_helper(folder, environment):
    """HELPER becomes a script that sets `environment` and goes on as the program."""
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    script = folder / HELPER
    script.write_text(f'#!/bin/sh\nexec env {assignments} {shlex.quote(str(folder / HELPER_PROGRAM))} "$@"\n')
    script.chmod(0o755)
