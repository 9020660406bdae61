"""Cleans up after a comparison that was killed and could not do it itself.

A process of its own that waits for the end of a pipe. When the comparison ends in order, nothing
is left and nothing happens; when it was killed by SIGKILL, the instances in its folder are ended
and the folder is removed.

Only processes that run inside the comparison's accounts are ended: their groups carry its id.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import accounting


def start(root):
    """Called by the comparison; returns the pipe's end to keep open."""
    read_end, write_end = os.pipe()
    subprocess.Popen(
        [sys.executable, __file__, str(root), str(os.getpid())], stdin=read_end,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    os.close(read_end)
    os.set_inheritable(write_end, False)
    return write_end


def _left_groups(owner):
    own = accounting.own_cgroup()
    return list(own.glob(accounting.group_prefix(owner) + "*")) if own is not None else []


def _end_groups(owner):
    for group in _left_groups(owner):
        accounting.end_group(group)
        group.rmdir()


def main(root, owner):
    sys.stdin.buffer.read()  # until the comparison is gone
    if not root.exists():
        return
    for main_cf in root.glob("postfix-*/etc/main.cf"):
        subprocess.run(["/usr/sbin/postfix", "-c", main_cf.parent, "stop"], check=False)
    _end_groups(owner)
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
