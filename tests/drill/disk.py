"""The disk that loses power: powercut (powercut/README.md) around one tree."""

import os
import struct
import subprocess


class Disk:
    """`tree` loses power; `control` and `shadow` lie outside of it."""

    def __init__(self, programs, tree, control, shadow):
        self._programs = programs
        self.tree = tree
        self._control = control
        self._settings = {"POWERCUT_DIR": str(control), "POWERCUT_TREE": str(tree),
                          "POWERCUT_SHADOW": str(shadow)}

    def environment(self, cut_at=None, ignore_sync=None):
        """Of processes that write to the tree."""
        found = dict(self._settings, LD_PRELOAD=str(self._programs / "libpowercut.so"))
        if cut_at is not None:
            found["POWERCUT_CUT_AT"] = cut_at
        if ignore_sync is not None:
            found["POWERCUT_IGNORE_SYNC"] = ignore_sync
        return found

    def init(self):
        """What the tree holds now is durable."""
        self._tool("init")

    def cut(self):
        """From now on every operation on the tree blocks. Kill the processes, then restore."""
        self._tool("cut")

    def restore(self, seed):
        """The tree is what the disk holds: seed 0 only what was synced, otherwise more by the seed."""
        return self._tool("restore", POWERCUT_SEED=str(seed))

    def boundaries(self):
        return self._state()[0]

    def is_cut(self):
        return self._state()[1] != 0

    def _state(self):
        return struct.unpack("QQ", (self._control / "state").read_bytes()[:16])

    def _tool(self, command, **settings):
        done = subprocess.run([self._programs / "powercut", command], capture_output=True, text=True,
                              env=dict(os.environ, **self._settings, **settings), check=False)
        if done.returncode != 0:
            raise RuntimeError(f"powercut {command}: {done.stderr.strip()}")
        return done.stdout
