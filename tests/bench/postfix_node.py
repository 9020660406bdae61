"""Debian's Postfix as a private instance: never the system's configuration, queue or processes."""

import os
import subprocess

import load
import node

_STOP_SECONDS_MAX = 30.0


class PostfixNode(node.Node):
    """`postfix -c DIR start` and `stop`. Needs root, as Postfix does."""

    name = "postfix"
    owns_queue = False

    def launch(self):
        if os.geteuid() != 0:
            raise node.NodeError("Postfix can only be started by root")
        (self.queue / "pid").mkdir()
        self._postfix("start", enter=self.account.enter)
        master = self.queue / "pid" / "master.pid"
        try:
            self.account.add_root(int(master.read_text().split()[0]))
        except (OSError, ValueError, IndexError) as error:
            raise node.NodeError(f"postfix wrote no {master}: {error}\n{self.last_words()}") from error

    def running(self):
        return bool(self.account.pids())

    def stop(self):
        if self.running():
            self._postfix("stop")
        self.account.kill_all()

    def _postfix(self, command, enter=None):
        with open(self.output_path, "ab") as output:
            done = subprocess.run(
                [load.program("postfix"), "-c", self.config, command], check=False, stdout=output,
                stdin=subprocess.DEVNULL, stderr=output, preexec_fn=enter, timeout=_STOP_SECONDS_MAX)
        if done.returncode != 0:
            raise node.NodeError(f"postfix {command} failed\n{self.last_words()}")
