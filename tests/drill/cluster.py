"""./dev drill cluster: kills, stops, cuts off and wipes the processes of a cluster under load, and asks for every message.

Three queue replicas and several of everything else, each in a network namespace of its own. README.md says more.
"""

import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import cluster_account
import cluster_faults
import load
import messages
import options
import product
import programs
import sink
from namespaces import Network

sys.path.insert(1, str(programs.ROOT / "deploy" / "run"))

import fleet

_SECONDS, _SHORT_SECONDS = 600.0, 60.0
_RATE = 200.0
_SENDERS = 16
_BETWEEN_SECONDS = (0.5, 6.0)
_DRAIN_SECONDS_MAX = 180.0
_SMALL_DISK = "queue3"
_SMALL_DISK_BYTES = 1_500 << 20
_LIMIT = 7
_SHAPE = fleet.Shape()


class Sender(threading.Thread):
    """Sends a share of the load over connections to whichever ingress answers."""

    def __init__(self, addresses, account, rng, prefix, rate):
        super().__init__(daemon=True)
        self._addresses = addresses
        self._account = account
        self._rng = rng
        self._writer = SinkWriter(0, prefix, rng, 0)
        self._interval = 1 / rate
        self.over = threading.Event()

    def run(self):
        due = time.monotonic()
        while not self.over.is_set():
            try:
                with load.Connection(self._rng.choice(self._addresses)) as connection:
                    for _ in range(25):
                        due = max(due + self._interval, time.monotonic() - 1)
                        if self.over.wait(max(0.0, due - time.monotonic())):
                            return
                        self._send(connection)
            except (load.Refused, OSError):
                self.over.wait(0.1)

    def _send(self, connection):
        message = self._writer.next()
        self._account.sending(message)
        try:
            connection.send(message)
        except (load.Refused, OSError):
            self._account.refused(message)
            raise
        self._account.acknowledged(message)


class SinkWriter(messages.Writer):
    """Mail to the recording server only, of usual sizes."""

    def _recipients(self):
        return (f"{self._rng.choice(messages.SINKS)}@{messages.SINK_DOMAIN}",)

    def _bytes(self):
        low, high = self._rng.choices(((1, 4_000), (4_000, 16_000), (131_000, 300_000)), (80, 19, 1))[0]
        return self._rng.randint(low, high)


class Drill:
    def __init__(self, arguments, root):
        self._arguments = arguments
        self._account = cluster_account.Account()
        self._rng = random.Random(arguments.seed)
        self._network = Network(_SHAPE.names())
        self._sink = sink.Sink(self._account, arguments.seed, 0.0, self._network.own_address)
        (root / "fleet").mkdir()
        self._cluster = fleet.Fleet(
            root / "bin", root / "fleet", _SHAPE, self._parameters(),
            host_of=self._network.address_of, prefix_of=self._network.prefix_of)
        self._disk = self._cluster[_SMALL_DISK].queue
        _mount(self._disk)
        self._faults = cluster_faults.Faults(self._cluster, self._network, self._account, self._rng, _SMALL_DISK,
                                            self._sink.cut_off)
        self._senders = []

    def _parameters(self):
        return {
            "mynetworks": f"127.0.0.0/8 {self._network.subnet}",
            "postfleet_cluster_plaintext": "yes",
            "smtpd_client_connection_count_limit": 0,
            # Mail of the cluster's own is in nobody's account.
            "notify_classes": "",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "relayhost": f"[{self._sink.host}]:{self._sink.port}",
            "initial_destination_concurrency": _LIMIT,
            "smtp_destination_concurrency_limit": _LIMIT,
            "relay_destination_concurrency_limit": _LIMIT,
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "5s",
            "queue_run_delay": "1s",
        }

    def run(self):
        self._cluster.start()
        options.say(f"seed {self._arguments.seed}: {len(self._cluster.processes)} processes, "
                    f"{self._arguments.rate:g} messages a second for {self._arguments.seconds:g} s")
        self._send()
        end = time.monotonic() + self._arguments.seconds
        over = threading.Event()
        timer = threading.Timer(self._arguments.seconds, over.set)
        timer.daemon = True
        timer.start()
        # The first seconds are without a fault: what comes twice then is of our own making.
        over.wait(3.0)
        while time.monotonic() < end:
            self._faults.run_one(over)
            over.wait(self._rng.uniform(*_BETWEEN_SECONDS))
        self._stop_sending()
        self._drain()
        self._report()

    def _send(self):
        addresses = [(ingress.host, ingress.smtp_port) for ingress in self._cluster.of_kind("ingress")]
        rate = self._arguments.rate / _SENDERS
        self._senders = [Sender(addresses, self._account, random.Random(self._rng.random()), f"s{number}", rate)
                         for number in range(_SENDERS)]
        for sender in self._senders:
            sender.start()

    def _stop_sending(self):
        for sender in self._senders:
            sender.over.set()
        for sender in self._senders:
            sender.join(60)

    def _drain(self):
        self._faults.mend()
        end = time.monotonic() + _DRAIN_SECONDS_MAX
        while self._account.owed() and time.monotonic() < end:
            self._cluster.ask("postqueue", "-f")
            time.sleep(1)
        listed = self._cluster.ask("postqueue", "-j") or ""
        listed_ids = set(re.findall(r'"sender": *"m-([0-9a-z.]+)@', listed))
        for message_id, recipient in self._account.owed():
            if message_id not in listed_ids:
                self._account.find("lost", f"{message_id} to {recipient}: got its 250, and is neither listed nor arrived")
        if self._account.owed():
            self._account.find("broken", f"{len(self._account.owed())} deliveries still wait after {_DRAIN_SECONDS_MAX:g} s"
                               f"\n{listed[:2000]}")
        if self._sink.transactions_max > _LIMIT:
            self._account.find("over the limit", f"{self._sink.transactions_max} transactions at once; the limit is {_LIMIT}")

    def _report(self):
        account = self._account
        for fault in account.faults:
            options.say(f"  {time.strftime('%H:%M:%S', time.localtime(fault.begin))} {fault.end - fault.begin:5.1f} s  {fault.what}")
        for finding in account.findings[:20]:
            options.say(f"{finding.kind}: {finding.text}")
        found = {kind: sum(finding.kind == kind for finding in account.findings) for kind in cluster_account.KINDS}
        options.say(f"{account.count('acknowledged')} accepted, {account.count('refused')} not, {account.arrivals()} arrived, "
                    f"{account.duplicates} twice; {len(account.faults)} faults "
                    f"({', '.join(f'{count} {name}' for name, count in self._faults.counts.items())})")
        options.say(f"longest pause of acceptance: {account.longest_pause():.2f} s; after a leader's SIGKILL "
                    f"{account.longest_pause(lambda fault: fault.leader):.2f} s; at most {self._sink.transactions_max} transactions "
                    f"at once (limit {_LIMIT})")
        options.say(", ".join(f"{kind} {count}" for kind, count in found.items()))

    @property
    def failed(self):
        return bool(self._account.findings)

    def last_words(self):
        return self._cluster.last_words()

    def close(self):
        for sender in self._senders:
            sender.over.set()
        self._cluster.kill()
        self._sink.close()
        subprocess.run(["umount", self._disk], check=False)
        self._network.close()


def _mount(folder):
    owner = fleet.mail_owner()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK_BYTES},uid={owner.pw_uid},gid={owner.pw_gid},mode=0755",
                    "tmpfs", folder], check=True)


def _parse(arguments):
    made = options.parser("cluster", __doc__, None)
    made.add_argument("--seconds", type=float, default=_SECONDS, help="under faults (%(default)g)")
    made.add_argument("--rate", type=float, default=_RATE, help="messages a second (%(default)g)")
    made.add_argument("--bin", type=Path, metavar="DIR", help="the programs, laid out as by ./dev build")
    parsed = made.parse_args(arguments)
    if parsed.short:
        parsed.seconds = _SHORT_SECONDS
    return parsed


def main(arguments):
    parsed = _parse(arguments)
    with options.folder(parsed, programs.SERVICES) as root:
        drill = Drill(parsed, root)
        try:
            drill.run()
        except fleet.FleetError as error:
            options.say(f"broken: {error}\n{drill.last_words()}")
            return 1
        finally:
            drill.close()
        if drill.failed:
            options.say(drill.last_words())
        return 1 if drill.failed else 0
