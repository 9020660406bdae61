"""Postfleet as a cluster on one machine: three queue replicas and one of everything else."""

import os
import sys
import urllib.request
from pathlib import Path

import node

sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "deploy" / "run"))

import fleet

SHAPE = fleet.Shape(queues=3, lookups=1, schedulers=1, deliveries=1, ingresses=1)
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# What each process has for itself.
_OWN = ("queue_directory", "data_directory", "maillog_file", "maillog_file_prefixes", "mail_owner", "myhostname")


class ClusterNode(node.Node):
    """main.cf is Postfix's, but for what each process has for itself. All write one log."""

    name = "cluster"
    binaries = None  # set once, from the command line
    _cluster = None

    def launch(self):
        parameters = {name: value for name, value in self.parameters().items() if name not in _OWN}
        folder = self.folder / "fleet"
        folder.mkdir()
        self._cluster = fleet.Fleet(
            self.binaries, folder, SHAPE, {**parameters, "maillog_file": self.log_path, "maillog_file_prefixes": self.folder},
            enter=self.account.enter)
        try:
            self._cluster.start()
        except fleet.FleetError as error:
            raise node.NodeError(str(error)) from error
        for process in self._cluster:
            self.account.add_root(process.pid)
        self.port = self._cluster["ingress1"].smtp_port

    def running(self):
        return self._cluster is not None and self._cluster.why_ended() is None

    def stop(self):
        if self._cluster is None:
            return
        bad = self._cluster.stop()
        self.account.kill_all()
        if bad:
            raise node.NodeError(f"these did not end in order: {bad}\n{self.last_words()}")

    def cpu_by_service(self):
        """{kind: seconds} so far; replicas apart, the leader first."""
        leader = self._cluster.leader()
        found = {}
        for process in self._cluster:
            name = process.kind
            if name == "queue":
                name = "queue, leader" if process is leader else "queue, followers"
            found[name] = found.get(name, 0.0) + _cpu_seconds(process.pid)
        return found

    def messages_per_sync(self):
        """Of the leader, since it began; None: no sync yet."""
        leader = self._cluster.leader()
        page = urllib.request.urlopen(f"http://{leader.metrics}/metrics", timeout=5).read().decode()
        value = {name: float(line.split()[-1]) for line in page.splitlines() for name in ("sum", "count")
                 if line.startswith(f"postfleet_queue_commit_batch_messages_{name}")}
        return value["sum"] / value["count"] if value.get("count") else None


def _cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
