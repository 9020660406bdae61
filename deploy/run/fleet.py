"""A cluster of Postfleet's processes: each with a configuration and folders of its own, as on a host of its own.

    fleet = Fleet(binaries, folder, Shape(queues=3))
    fleet.start()                    # all of them; returns once mail is taken
    fleet["queue2"].kill()           # SIGKILL
    fleet["queue2"].start()
    fleet.stop()

Processes are named by kind and number: queue1, lookup1, scheduler1, delivery1, ingress1. By default all of them
listen on 127.0.0.1 at ports that nobody else has now; `host_of` and `prefix_of` put each into a network of its own.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import time

START_SECONDS_MAX = 40.0
STOP_SECONDS_MAX = 40.0
_POLL_SECONDS = 0.05
_LOG_LINES_SHOWN = 30

MASTER_CF = """\
{inet}pickup unix n - n 60 1 pickup
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
bounce unix - - n - 0 bounce
"""


@dataclasses.dataclass(frozen=True)
class Shape:
    """How many of each."""

    queues: int = 3
    lookups: int = 1
    schedulers: int = 1
    deliveries: int = 3
    ingresses: int = 2

    def kinds(self):
        """In the order in which a person would start them; none has to wait for another."""
        return (("queue", self.queues), ("lookup", self.lookups), ("scheduler", self.schedulers),
                ("delivery", self.deliveries), ("ingress", self.ingresses))

    def names(self):
        return [f"{kind}{number}" for kind, count in self.kinds() for number in range(1, count + 1)]


class FleetError(Exception):
    """It did not start, answer or stop; the text holds the ends of its logs."""


def wait_for(what, found, seconds_max=START_SECONDS_MAX, hopeless=lambda: None):
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        if why := hopeless():
            raise FleetError(f"{what}: {why}")
        time.sleep(_POLL_SECONDS)
    raise FleetError(f"{what} did not happen within {seconds_max:g} s")


def mail_owner():
    """Whom servers run as: root's never do as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


class _Ports:
    """Ports that stay ours: bound, but not listened on, until the process that gets one is started."""

    def __init__(self):
        self._taken = set()

    def next(self, host):
        while True:
            with contextlib.closing(socket.socket()) as probe:
                # Another host's ports are all free.
                probe.bind((host if host.startswith("127.") else "127.0.0.1", 0))
                port = probe.getsockname()[1]
            if port not in self._taken:
                self._taken.add(port)
                return port


class Process:
    """One of the fleet's processes, which may run or not."""

    def __init__(self, fleet, name):
        self.name = name
        self.kind = name.rstrip("0123456789")
        self.folder = fleet.folder / name
        self.config = self.folder / "etc"
        self.queue = self.folder / "queue"
        self.log_path = self.folder / "log" / "mail.log"
        self.output_path = self.folder / "log" / "output"
        self.host = fleet.host_of(name)
        self.metrics = f"{self.host}:{fleet.ports.next(self.host)}"
        self.address = f"{self.host}:{fleet.ports.next(self.host)}"
        self.smtp_port = fleet.ports.next(self.host) if self.kind == "ingress" else None
        self._fleet = fleet
        self._child = None

    def make_folders(self):
        owner = mail_owner()
        for path in (self.config, self.queue, self.log_path.parent, self.folder / "data"):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        for path in (self.queue, self.log_path.parent, self.folder / "data"):
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def write_configuration(self, parameters):
        lines = [f"{name} = {value}\n" for name, value in parameters.items() if value is not None]
        (self.config / "main.cf").write_text("".join(lines))
        inet = f"{self.host}:{self.smtp_port} inet n - n - - smtpd\n" if self.smtp_port else ""
        (self.config / "master.cf").write_text(MASTER_CF.format(inet=inet) + self._fleet.more_services)

    @property
    def pid(self):
        return self._child.pid

    def running(self):
        return self._child is not None and self._child.poll() is None

    def start(self):
        """Does not wait until it serves."""
        if self.running():
            return
        with open(self.output_path, "ab") as output:
            self._child = subprocess.Popen(
                [*self._fleet.prefix_of(self.name), "setpriv", "--pdeathsig", "KILL",
                 str(self._fleet.binaries / "postfleet-launcher"), "-c", str(self.config),
                 "--server", f"postfleet-{self.kind}d"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=dict(os.environ, **self._fleet.environment), start_new_session=True,
                preexec_fn=self._fleet.enter)

    def signal(self, number):
        """To the process and those that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def wait_if_ended(self, seconds):
        """For the end of one that is about to end, if it is."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)

    def kill(self):
        if self._child is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self._child.wait()

    def terminate(self):
        """In order; its status."""
        if self._child is None:
            return 0
        if self.running():
            self.signal(signal.SIGCONT)
            self._child.terminate()
        try:
            return self._child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"no end within {STOP_SECONDS_MAX:g} s"

    def why_ended(self):
        if self._child is None or self._child.poll() is None:
            return None
        return f"{self.name} ended with {self._child.returncode}\n{self.last_words()}"

    def last_words(self):
        parts = []
        for path in (self.output_path, self.log_path):
            lines = path.read_text(errors="replace").splitlines() if path.exists() else ["(no file)"]
            parts.append("\n".join([f"--- {path}"] + lines[-_LOG_LINES_SHOWN:]))
        return "\n".join(parts)


class Fleet:
    """more: parameters of every main.cf. more_of: {process name: parameters}. more_services: lines of master.cf.
    enter: called in each process between fork and exec."""

    def __init__(self, binaries, folder, shape=Shape(), more=None, more_of=None, more_services="",
                 host_of=lambda name: "127.0.0.1", prefix_of=lambda name: [], environment=None, enter=None):
        self.binaries = pathlib.Path(binaries)
        self.folder = pathlib.Path(folder)
        self.shape = shape
        self.mail = self.folder / "mail"
        self.more_services = more_services
        self.host_of = host_of
        self.prefix_of = prefix_of
        self.environment = environment or {}
        self.enter = enter
        self.ports = _Ports()
        self._more = more or {}
        self._more_of = more_of or {}
        self.processes = {name: Process(self, name) for name in shape.names()}
        self.folder.chmod(0o755)
        self.mail.mkdir(exist_ok=True)
        os.chown(self.mail, mail_owner().pw_uid, mail_owner().pw_gid)
        for process in self:
            process.make_folders()
            process.write_configuration(self.parameters(process))

    def __iter__(self):
        return iter(self.processes.values())

    def __getitem__(self, name):
        return self.processes[name]

    def of_kind(self, kind):
        return [process for process in self if process.kind == kind]

    def parameters(self, process):
        owner = mail_owner()
        queues = self.of_kind("queue")
        return {
            "compatibility_level": "3.6",
            "queue_directory": process.queue,
            "data_directory": process.folder / "data",
            "maillog_file": process.log_path,
            "maillog_file_prefixes": self.folder,
            "mail_owner": owner.pw_name,
            "myhostname": f"{process.name}.mta.example",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "all",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "virtual_mailbox_base": self.mail,
            "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}",
            "postfleet_metrics_listen": process.metrics,
            "postfleet_cluster_members": ", ".join(f"{queue.name}={queue.address}" for queue in queues),
            "postfleet_cluster_name": process.name if process.kind == "queue" else None,
            "postfleet_queue_address": ", ".join(queue.address for queue in queues),
            "postfleet_scheduler_address": ", ".join(one.address for one in self.of_kind("scheduler")),
            "postfleet_lookup_address": ", ".join(one.address for one in self.of_kind("lookup")),
            **self._more,
            **self._more_of.get(process.name, {}),
        }

    def configure(self, process, **parameters):
        """Parameters of one process from its next start on; None takes one out."""
        self._more_of.setdefault(process.name, {}).update(parameters)
        process.write_configuration(self.parameters(process))

    def start(self):
        """Returns once every ingress takes mail, and every replica votes: a 250 means a majority of all then."""
        for process in self:
            process.start()
        self.wait_until_it_takes_mail()
        wait_for("every replica's vote", self.all_vote, hopeless=self.why_ended)

    def wait_until_it_takes_mail(self, seconds_max=START_SECONDS_MAX):
        for ingress in self.of_kind("ingress"):
            try:
                wait_for(f"a greeting of {ingress.name}", lambda ingress=ingress: greets(ingress.host, ingress.smtp_port),
                         seconds_max, self.why_ended)
            except FleetError as error:
                raise FleetError(f"{error}\n{self.last_words()}") from error

    def why_ended(self):
        for process in self:
            if why := process.why_ended():
                return why
        return None

    def stop(self):
        """In order, those who take mail first. {name: status} of whoever did not end with 0."""
        bad = {}
        for process in reversed(list(self)):
            status = process.terminate()
            if status != 0:
                bad[process.name] = status
        return bad

    def kill(self):
        for process in self:
            process.kill()

    def last_words(self):
        return "\n".join(process.last_words() for process in self)

    # Asking

    def command(self, *arguments, of=None):
        """A command line of postfleet's with the configuration of a process; by default an ingress's."""
        process = of or self.of_kind("ingress")[0]
        return [*self.prefix_of(process.name), str(self.binaries / "postfleet"), "-c", str(process.config), *arguments]

    def ask(self, *arguments, of=None, seconds_max=30):
        """What a command says, or None: it failed, or had no answer in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(self.command(*arguments, of=of), capture_output=True, text=True,
                                  timeout=seconds_max, check=False)
            if done.returncode == 0:
                return done.stdout
        return None

    def status(self):
        """`postfleet cluster status --json`, or None."""
        said = self.ask("cluster", "status", "--json", seconds_max=10)
        return json.loads(said) if said else None

    def all_vote(self):
        status = self.status()
        voters = [member for member in status["members"]
                  if member["role"] in ("leader", "follower") and member.get("active")] if status else []
        return len(voters) == len(self.of_kind("queue")) == len(status["members"] if status else ())

    def leader(self):
        """The queue process that leads, by the status; None: nobody knows of one."""
        status = self.status()
        name = status.get("leader") if status else None
        return self.processes.get(name)


def greets(host, port):
    """Answers with 220, and was told QUIT."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 6) as peer:
        peer.settimeout(6)
        if peer.recv(512).startswith(b"220"):
            peer.sendall(b"QUIT\r\n")
            peer.recv(512)
            return True
    return False
