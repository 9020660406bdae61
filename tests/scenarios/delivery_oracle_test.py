"""What delivery agents say of mail that no server judges: ours beside real Postfix.

One message to each case, by way of each of the two. Compared are the fate of each recipient in the log (agent, relay,
dsn, status, text) and the agents' other lines.
"""

import collections
import re
import threading
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer
from stock import MASTER_CF

# {peer}: the port of a server that takes everything; {refuses}: of one that greets with 550.
SERVICES = """\
bestmx unix - - n - - smtp -o best_mx_transport=virtual
relays unix - - n - - smtp -o relayhost=[::1]
fallback unix - - n - - smtp -o smtp_fallback_relay=[::1]
taken unix - - n - - smtp -o smtp_fallback_relay=[127.0.0.1]:{peer}
frank unix - - n - - smtp -o smtp_skip_5xx_greeting=no -o relayhost=[127.0.0.1]:{refuses}
soft unix - - n - - smtp -o smtp_skip_5xx_greeting=no -o soft_bounce=yes
lmtpback unix - - n - - lmtp -o lmtp_fallback_relay=[127.0.0.1]:{peer}
sink unix - - n - - discard
filtered unix - n n - - virtual -o virtual_delivery_status_filter=$filter
filtersmtp unix - - n - - smtp -o smtp_delivery_status_filter=$filter
filterlmtp unix - - n - - lmtp -o lmtp_delivery_status_filter=$filter
"""
# Domain -> route.
ROUTES = {
    "loop.example": "smtp:[127.0.0.1]",
    "looptwo.example": "smtp:[127.0.0.1], [127.0.0.1]:{peer}",
    "other-port.example": "smtp:[127.0.0.1]:{peer}",
    "bestmx.example": "bestmx:[127.0.0.1]",
    "six.example": "smtp:[::1]",
    "relays.example": "relays:[::1]",
    "fallback.example": "fallback:[127.0.0.1]:1",
    "taken.example": "taken:[127.0.0.1]:1",
    "frank.example": "frank:[127.0.0.1]:{refuses}",
    "soft.example": "soft:[127.0.0.1]:{refuses}",
    "softnext.example": "soft:[127.0.0.1]:{refuses}, [127.0.0.1]:{peer}",
    "nosocket.example": "lmtp:unix:private/Nowhere",
    "socketback.example": "lmtpback:unix:private/Nowhere",
    "inetback.example": "lmtpback:inet:[127.0.0.1]:1",
    "discard.example": "discard:By Rule",
    "sink.example": "sink:Dropped By Rule",
    "box.example": "filtered:",
    "nobox.example": "filtered:",
    "filtersmtp.example": "filtersmtp:[127.0.0.1]:1",
    "filtersix.example": "filtersmtp:[::1]",
    "filterlmtp.example": "filterlmtp:unix:private/Nowhere",
}
FILTER = ("{ {/^2\\.0\\.0 delivered (.*)/ 2.6.1 Put $$1}, {/^5\\.1\\.1 (unknown .*)/ 4.1.1 Not yet: $$1},"
          " {/^4\\.4\\.1 (.* Connection refused)/ 5.4.1 Never: $$1}, {/No such file/ 4.4.9 no},"
          " {/invalid host/ 2.0.0 fine} }")
# Domain -> why we are meant to differ.
KNOWN = {}

_LINE = re.compile(r" \S*/(\w+)\[\d+\]: (\w+: |)(.*)$", re.MULTILINE)
_FATE = re.compile(r"to=<r@([\w-]+\.example)>, .*?relay=(\S+), .*?dsn=([\d.]+), status=(.*)$")
_AGENTS = ("smtp", "lmtp", "virtual", "error", "discard")
_SECONDS_MAX = 30.0


class Side:
    def __init__(self, stack, oracle):
        self.label = "postfix" if oracle else "postfleet"
        peer, refuses = stack(RecordingServer()), stack(RecordingServer())
        refuses.answer("CONNECT", "550 5.7.1 not you")
        self._ports = {str(peer.port): "PEER", str(refuses.port): "REFUSES"}
        ports = {"peer": peer.port, "refuses": refuses.port}
        folder = stack(machine.folder())
        routes = folder / "routes"
        routes.write_text("".join(f"{domain} {route.format(**ports)}\n" for domain, route in ROUTES.items()))
        self.mta = stack(harness.Instance(folder, {
            "transport_maps": f"texthash:{routes}",
            "filter": f"regexp:{FILTER}",
            "virtual_mailbox_maps": "inline:{ r@box.example=box/, r@bestmx.example=best/ }",
            "in_flow_delay": "0s",
        }, MASTER_CF + SERVICES.format(**ports), name=self.label, oracle=oracle))

    def run(self):
        with smtp_client.Client(self.mta.port) as client:
            for domain in ROUTES:
                reply = client.send("", [f"r@{domain}"], b"Subject: where to?\n\nbody\n")
                if reply.code != 250:
                    raise AssertionError(f"{self.label}: {domain}: {reply}")
            client.quit()
        wait_until(f"fates of {self.label}", lambda: len(self._read()) == len(ROUTES), _SECONDS_MAX,
                   self.mta.why_ended, poll_seconds=0.2)
        self.fates = self._read()

    def _read(self):
        fates, self.notes = {}, collections.Counter()
        for agent, _, text in _LINE.findall(self.mta.log()):
            for port, name in self._ports.items():
                text = text.replace(f":{port}", f":{name}")
            if found := _FATE.match(text):
                fates.setdefault(found.group(1), (agent, *found.groups()[1:]))
            elif agent in _AGENTS:
                self.notes[text] += 1
        return fates


class DeliveryAgents(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Postfix does: run ./dev test as root, as CI does")
        sides = [Side(cls.enterClassContext, oracle) for oracle in (True, False)]
        errors = []

        def run(side):
            try:
                side.run()
            except AssertionError as error:
                errors.append(str(error))
        threads = [threading.Thread(target=run, args=(side,)) for side in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise AssertionError("; ".join(errors))
        cls.postfix, cls.postfleet = sides

    def test_decide_each_recipients_fate_as_with_postfix(self):
        different = {domain for domain in ROUTES if self.postfix.fates[domain] != self.postfleet.fates[domain]}
        for domain in sorted(different - set(KNOWN)):
            print(f"{domain}:\n  postfix   {self.postfix.fates[domain]}\n  postfleet {self.postfleet.fates[domain]}")
        self.assertEqual(sorted(different - set(KNOWN)), [])
        self.assertEqual(sorted(set(KNOWN) - different), [], "known differences that are none")

    def test_write_what_else_postfix_writes(self):
        self.assertEqual(self.postfleet.notes, self.postfix.notes)


if __name__ == "__main__":
    facts.main()
