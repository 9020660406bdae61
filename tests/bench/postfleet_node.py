"""Postfleet, embedded: `postfleet -c DIR postfix start-fg` until SIGTERM."""

import signal
import subprocess

import node

_DRAIN_SECONDS_MAX = 20.0


class PostfleetNode(node.Node):
    """The same main.cf and master.cf as Postfix has."""

    name = "postfleet"
    program = None  # set once, from the command line
    _child = None

    def launch(self):
        with open(self.output_path, "ab") as output:
            self._child = subprocess.Popen(
                [self.program, "-c", self.config, "postfix", "start-fg"], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, preexec_fn=self.account.enter)
        self.account.add_root(self._child.pid)

    def running(self):
        return self._child.poll() is None

    def stop(self):
        if self._child is None:
            return
        if self.running():
            self._child.send_signal(signal.SIGTERM)
        try:
            status = self._child.wait(_DRAIN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            status = "no end"
        finally:
            self.account.kill_all()
            self._child.wait()
        if status != 0:
            raise node.NodeError(f"postfleet ended with {status} on SIGTERM\n{self.last_words()}")
