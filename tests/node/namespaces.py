"""Hosts of a test: a network namespace each, on a bridge in a namespace that the test itself has entered.

    network = Network(["queue1", "queue2"])      # before the process has a second thread
    network.address_of("queue1")                 # 10.77.0.2; the test itself is 10.77.0.1
    subprocess.Popen([*network.prefix_of("queue1"), ...])
    network.cut("queue1"); network.heal("queue1")
    network.silence("queue1", "queue2")          # what queue1 sends to queue2 is lost; not the other way
    network.close()

Nothing of it reaches the machine's own network. Needs root and iproute2.
"""

import ctypes
import os
import subprocess

_CLONE_NEWNET = 0x40000000
_SUBNET = "10.77.0"


class Network:
    def __init__(self, names):
        self._names = list(names)
        self._namespaces = {name: f"pf{os.getpid()}-{name}" for name in self._names}
        self._links = {name: f"pf{number}" for number, name in enumerate(self._names)}
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"a network of its own: {os.strerror(error)}")
        _ip("link set lo up")
        _ip("link add hub type bridge")
        _ip(f"addr add {_SUBNET}.1/24 dev hub")
        _ip("link set hub up")
        try:
            for name in self._names:
                self._add(name)
        except BaseException:
            self.close()
            raise

    own_address = f"{_SUBNET}.1"
    subnet = f"{_SUBNET}.0/24"

    def _add(self, name):
        namespace, link = self._namespaces[name], self._links[name]
        _ip(f"netns add {namespace}")
        _ip(f"link add {link} type veth peer name eth0 netns {namespace}")
        _ip(f"link set {link} master hub up")
        _ip(f"-n {namespace} link set lo up")
        _ip(f"-n {namespace} addr add {self.address_of(name)}/24 dev eth0")
        _ip(f"-n {namespace} link set eth0 up")

    def address_of(self, name):
        return f"{_SUBNET}.{2 + self._names.index(name)}"

    def prefix_of(self, name):
        return ["ip", "netns", "exec", self._namespaces[name]]

    def cut(self, name):
        _ip(f"link set {self._links[name]} down")

    def heal(self, name):
        _ip(f"link set {self._links[name]} up")

    def silence(self, name, other):
        _ip(f"-n {self._namespaces[name]} route add blackhole {self.address_of(other)}/32")

    def unsilence(self, name, other):
        _ip(f"-n {self._namespaces[name]} route del blackhole {self.address_of(other)}/32")

    def close(self):
        """The processes in it should have ended."""
        for namespace in self._namespaces.values():
            subprocess.run(["ip", "netns", "del", namespace], check=False, stderr=subprocess.DEVNULL)


def _ip(arguments):
    subprocess.run(["ip", *arguments.split()], check=True)
