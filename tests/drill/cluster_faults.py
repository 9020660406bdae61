"""What the cluster's drill does to a cluster: each fault is a function that breaks something, waits and mends it.

A fault that takes a replica's disk, or its membership, happens only while all replicas are voters and no other fault
lasts: a majority's disks are never taken.
"""

import shutil
import signal
import threading

_STOP_SECONDS = (1.0, 30.0)
_CUT_SECONDS = (1.0, 15.0)
_FULL_SECONDS = (2.0, 8.0)
_VOTERS_SECONDS_MAX = 90.0
_BALLAST_PIECE_BYTES = 8 << 20


class Faults:
    """network: namespaces.Network. small_disk: the name of the replica whose folder lies on a disk that can be filled.
    on_cut: told the host that was cut off."""

    def __init__(self, cluster, network, account, rng, small_disk, on_cut):
        self._cluster = cluster
        self._network = network
        self._account = account
        self._rng = rng
        self._small_disk = small_disk
        self._on_cut = on_cut
        self._over = threading.Event()
        # (weight, function)
        self._table = (
            (6, self.kill_any), (4, self.kill_leader), (4, self.stop_any), (2, self.cut_any), (2, self.silence_one),
            (1, self.delete_disk), (1, self.fill_disk), (1, self.replace_member), (2, self.transfer),
        )
        self.counts = {function.__name__: 0 for _, function in self._table}

    def run_one(self, over):
        """over: an event that ends every wait early; what is broken is mended all the same."""
        self._over = over
        weights, functions = zip(*self._table)
        function = self._rng.choices(functions, weights)[0]
        if function():
            self.counts[function.__name__] += 1

    def wait_until_all_vote(self):
        """False: it took too long, or the drill is over."""
        waited = 0.0
        while not self._cluster.all_vote():
            if waited >= _VOTERS_SECONDS_MAX or self._over.wait(0.5):
                return False
            waited += 0.5
        return True

    def _last(self, seconds):
        self._over.wait(self._rng.uniform(*seconds))

    def _leader(self):
        return self._cluster.leader() or self._rng.choice(self._cluster.of_kind("queue"))

    # Processes

    def kill_any(self):
        return self._kill(self._rng.choice(list(self._cluster)))

    def kill_leader(self):
        return self._kill(self._leader())

    def _kill(self, process):
        leads = process is self._cluster.leader()
        with self._account.fault(f"SIGKILL of {process.name}{', which led' if leads else ''}", leads):
            process.kill()
            self._over.wait(self._rng.uniform(0.0, 3.0))
            process.start()
        return True

    def stop_any(self):
        process = self._rng.choice(list(self._cluster))
        with self._account.fault(f"SIGSTOP of {process.name}"):
            process.signal(signal.SIGSTOP)
            self._last(_STOP_SECONDS)
            process.signal(signal.SIGCONT)
            # A worker that was stopped for long has ended: whoever runs it starts it again.
            process.wait_if_ended(1.0)
            process.start()
        return True

    # The network

    def cut_any(self):
        process = self._rng.choice(list(self._cluster))
        with self._account.fault(f"{process.name} is cut off"):
            self._network.cut(process.name)
            self._on_cut(process.host)
            self._last(_CUT_SECONDS)
            self._network.heal(process.name)
        return True

    def silence_one(self):
        one, other = self._rng.sample(self._cluster.of_kind("queue"), 2)
        with self._account.fault(f"what {one.name} sends to {other.name} is lost"):
            self._network.silence(one.name, other.name)
            self._last(_CUT_SECONDS)
            self._network.unsilence(one.name, other.name)
        return True

    # Disks and members

    def delete_disk(self):
        if not self.wait_until_all_vote():
            return False
        process = self._rng.choice(self._cluster.of_kind("queue"))
        with self._account.fault(f"{process.name}'s disk is gone"):
            process.kill()
            empty(process)
            process.start()
            self._rejoin(process)
        return True

    def replace_member(self):
        """An administrator takes a member out, which comes back with an empty folder."""
        if not self.wait_until_all_vote():
            return False
        process = self._rng.choice(self._cluster.of_kind("queue"))
        with self._account.fault(f"{process.name} is removed and comes back"):
            if self._cluster.ask("cluster", "remove", process.name) is None:
                return False
            process.kill()
            empty(process)
            process.start()
            self._rejoin(process)
        return True

    def _rejoin(self, process):
        if not self.wait_until_all_vote() and not self._over.is_set():
            self._account.find("broken", f"{process.name} was no voter within {_VOTERS_SECONDS_MAX:g} s\n{process.last_words()}")

    def transfer(self):
        with self._account.fault("another one leads by an administrator's word"):
            self._cluster.ask("cluster", "transfer", seconds_max=10)
        return True

    def fill_disk(self):
        process = self._cluster[self._small_disk]
        ballast = process.queue / "ballast"
        with self._account.fault(f"{process.name}'s disk is full"):
            fill(ballast)
            self._last(_FULL_SECONDS)
            ballast.unlink(missing_ok=True)
            # It may have ended: what it wrote last is not known to be durable.
            process.start()
        return True

    def mend(self):
        """Starts what does not run."""
        for process in self._cluster:
            process.signal(signal.SIGCONT)
            process.start()


def empty(process):
    """As a new disk: the folder is there, nothing is in it."""
    for path in process.queue.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def fill(path):
    """Until there is no room; the last piece is written byte by byte, so to say."""
    piece = bytes(_BALLAST_PIECE_BYTES)
    with open(path, "wb", buffering=0) as ballast:
        while len(piece) > 0:
            try:
                ballast.write(piece)
            except OSError:
                piece = piece[:len(piece) // 2]
