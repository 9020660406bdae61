"""Which server a destination's mail goes to, and what is said when there is none: ours beside real Postfix.

A real knot answers for dns_zone.txt, a real unbound asks it for both, and the destinations listen on port 25, all in
a network namespace of this test's own, where lame.example has no server. Needs root.
"""

import collections
import contextlib
import pathlib
import re
import subprocess
import threading
import unittest

import facts
import harness
import machine
import name_servers
import smtp_client
from deadlines import Missed, wait_until
from smtp_peer import RecordingServer
from stock import MASTER_CF

ZONE = pathlib.Path(__file__).with_name("dns_zone.txt")
SERVERS = {"mx1": ("127.0.1.1", 25), "mx2": ("127.0.1.2", 25), "other": ("127.0.1.4", 2525),
           "six": ("fd00::1", 25), "fallback": ("127.0.1.9", 25)}

# Domain -> route; all others of CASES go by the domain's own records.
ROUTES = {
    "bracket.test.example": "smtp:[mx1.dns.example]:25",
    "bracketabsent.test.example": "smtp:[absent.dns.example]",
    "bracketnodata.test.example": "smtp:[nodata.dns.example]",
    "bracketlame.test.example": "smtp:[host.lame.example]",
    "bracketcname.test.example": "smtp:[alias.dns.example]",
    "port.test.example": "smtp:[other.dns.example]:2525",
    "mxport.test.example": "smtp:altmx.dns.example:2525",
    "address.test.example": "smtp:[127.0.1.2]",
    "addressport.test.example": "smtp:[127.0.1.4]:2525",
    "sixaddress.test.example": "smtp:[fd00::1]:25",
    "list.test.example": "smtp:[dead.dns.example], [mx2.dns.example]",
    "listabsent.test.example": "smtp:absent.dns.example, plain.dns.example",
    "fbdead.test.example": "withfallback:nobody.dns.example",
    "fbabsent.test.example": "withfallback:absent.dns.example",
    "fbnull.test.example": "withfallback:null.dns.example",
    "fblame.test.example": "withfallback:x.lame.example",
    "fbself.test.example": "withfallback:self.dns.example",
    "fbfine.test.example": "withfallback:plain.dns.example",
}
CASES = [f"{name}.dns.example" for name in (
    "plain", "prefer", "second", "nobody", "implicit", "null", "nullplus", "cname", "chain", "dangling", "loop1",
    "cnamedmx", "nohost", "halfhost", "noaddress", "nodata", "absent", "sixonly", "siximplicit", "self", "selfsecond",
    "selffirst", "selfequal", "lamehost", "lamehalf", "numeric", "many", "a.wild", "under_score")] + [
        "lame.example", "[127.0.1.1]", "[IPv6:fd00::1]"] + list(ROUTES)
# Domain -> why we are meant to differ.
KNOWN = {
}
EQUAL_MESSAGES = 24
# Domain -> relay, dsn, status, how the text begins, with use_srv_lookup; "may." in front: allow_srv_lookup_fallback.
# Postfix has this since 3.8; what is expected here is what its sources say.
BY_SRV = {
    "srv.dns.example": ("other.dns.example[127.0.1.4]:2525", "2.0.0", "sent", "250 "),
    "srvorder.dns.example": ("mx2.dns.example[127.0.1.2]:25", "2.0.0", "sent", "250 "),
    "srvdown.dns.example": ("other.dns.example[127.0.1.4]:2525", "2.0.0", "sent", "250 "),
    "plain.dns.example": ("none", "5.4.4", "bounced", "Host or domain name not found. Name service error for "
                          "name=_smtp._tcp.plain.dns.example type=SRV: Host not found"),
    "srvdot.dns.example": ("none", "5.1.0", "bounced", "Service _smtp._tcp.srvdot.dns.example is not available"),
    "srvabsent.dns.example": ("none", "5.4.4", "bounced", "Host or domain name not found. Name service error for "
                              "name=absent.dns.example type=A"),
    "srvself.dns.example": ("none", "5.4.6", "bounced", "mail for _smtp._tcp.srvself.dns.example loops back to myself"),
    "may.plain.dns.example": ("mx1.dns.example[127.0.1.1]:25", "2.0.0", "sent", "250 "),
    "may.srvdot.dns.example": ("none", "5.4.4", "bounced", "Host or domain name not found. Name service error for "
                               "name=srvdot.dns.example type=A"),
    "may.srvabsent.dns.example": ("mx1.dns.example[127.0.1.1]:25", "2.0.0", "sent", "250 "),
    "may.srvself.dns.example": ("mx1.dns.example[127.0.1.1]:25", "2.0.0", "sent", "250 "),
}

_FATE = re.compile(r"/\w+\[\d+\]: \w+: to=<c(\d+)@[^>]*>, (?:orig_to=<[^>]*>, )?relay=(\S+), .*?dsn=([\d.]+), status=(\w+) \((.*)\)$", re.MULTILINE)
_SECONDS_MAX = 30.0

Fate = collections.namedtuple("Fate", "relay dsn status text")


class Side:
    def __init__(self, stack, folder, oracle):
        self.label = "postfix" if oracle else "postfleet"
        routes = folder / "routes"
        routes.write_text("".join(f"{domain} {route}\n" for domain, route in ROUTES.items()))
        self.mta = stack(harness.Instance(folder, {
            "inet_protocols": "all",
            "smtpd_peername_lookup": "no",
            "transport_maps": f"texthash:{routes}",
            "smtp_address_preference": "ipv4",
            "smtp_destination_concurrency_limit": "20",
            "in_flow_delay": "0s",
            "smtputf8_enable": "no",
            # A kept connection would be used instead of choosing a host again.
            "smtp_connection_cache_on_demand": "no",
        }, MASTER_CF + "withfallback unix - - n - - smtp -o smtp_fallback_relay=[fallback.dns.example]\n",
            name=self.label, oracle=oracle))

    def run(self):
        """A message to each, which have their fates afterwards."""
        with smtp_client.Client(self.mta.port) as client:
            for number, domain in enumerate(CASES):
                self._send(client, f"c{number}@{domain}")
            for number in range(EQUAL_MESSAGES):
                self._send(client, f"equal{number}@equal.dns.example")
            client.quit()

        def decided():
            self.fates = {CASES[int(found.group(1))]: Fate(*found.groups()[1:])
                          for found in reversed(list(_FATE.finditer(self.mta.log())))}
            return len(self.fates) == len(CASES)
        with contextlib.suppress(Missed):
            wait_until("fates", decided, _SECONDS_MAX, self.mta.why_ended, poll_seconds=0.2)
        for domain in set(CASES) - set(self.fates):
            self.fates[domain] = f"none within {_SECONDS_MAX:g} s"
        self.mta.wait_for_log(r"to=<equal\d+@.*status=sent", EQUAL_MESSAGES)

    def _send(self, client, recipient):
        reply = client.send(f"{self.label}@sender.example", [recipient], b"Subject: where to?\n\nbody\n")
        if reply.code != 250:
            raise AssertionError(f"{self.label}: {recipient}: {reply}")


class Destinations(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if name_servers.why_not_entered():
            raise unittest.SkipTest(name_servers.why_not_entered())
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "addr", "replace", "fd00::1/128", "dev", "lo"], check=True)
        enter = cls.enterClassContext
        folder = enter(machine.folder())
        cls.peers = {name: enter(RecordingServer(*address)) for name, address in SERVERS.items()}
        cls.folder = folder
        (folder / "dns").mkdir()
        enter(name_servers.NameServers(folder / "dns", {"dns.example": ZONE.read_text()}))
        cls.sides = []
        for oracle in (True, False):
            (folder / str(oracle)).mkdir()
            (folder / str(oracle)).chmod(0o755)
            cls.sides.append(Side(enter, folder / str(oracle), oracle))
        errors = []

        def run(side):
            try:
                side.run()
            except AssertionError as error:
                errors.append(f"{side.label}: {error}")
        threads = [threading.Thread(target=run, args=(side,)) for side in cls.sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise AssertionError("; ".join(errors))
        cls.postfix, cls.postfleet = cls.sides

    def places(self, side):
        """{recipient in lower case: [servers that took it]}"""
        found = collections.defaultdict(list)
        for name, peer in self.peers.items():
            for message in peer.messages:
                if message.sender.startswith(side.label + "@"):
                    for recipient in message.recipients:
                        found[recipient.lower()].append(name)  # a literal's letters
        return found

    def test_decide_fate_and_words_as_with_postfix(self):
        different = {domain for domain in CASES if self.postfix.fates[domain] != self.postfleet.fates[domain]}
        for domain in sorted(different - set(KNOWN)):
            print(f"{domain}:\n  postfix   {self.postfix.fates[domain]}\n"
                  f"  postfleet {self.postfleet.fates[domain]}")
        self.assertEqual(sorted(different - set(KNOWN)), [])
        self.assertEqual(sorted(set(KNOWN) - different), [], "known differences that are none")

    def test_each_have_a_fate_with_postfix(self):
        self.assertEqual([fate for fate in self.postfix.fates.values() if isinstance(fate, str)], [])

    def test_get_the_mail_that_postfix_would_give_them(self):
        theirs, ours = ({recipient: servers for recipient, servers in self.places(side).items()
                         if recipient.partition("@")[2] not in ("equal.dns.example", *KNOWN)} for side in self.sides)
        self.assertGreater(len(theirs), len(CASES) // 3)
        self.assertEqual(theirs, ours)

    def test_of_equal_preference_share_the_mail(self):
        for side in self.sides:
            counts = collections.Counter(servers[0] for recipient, servers in self.places(side).items()
                                         if recipient.startswith("equal"))
            self.assertEqual(sum(counts.values()), EQUAL_MESSAGES)
            # With a fair coin one of them gets nothing once in eight million runs.
            self.assertEqual(set(counts), {"mx1", "mx2"}, side.label)

    def test_are_found_by_srv_records_where_that_is_asked_for(self):
        routes = self.folder / "srv-routes"
        routes.write_text("".join(
            f"{domain} {'maydowithout' if domain.startswith('may.') else 'smtp'}:{domain.removeprefix('may.')}\n"
            for domain in BY_SRV))
        mta = self.enterContext(harness.Instance(self.folder, {
            "use_srv_lookup": "submission, smtp",
            "transport_maps": f"texthash:{routes}",
            "smtp_connection_cache_on_demand": "no",
            "smtpd_peername_lookup": "no",
        }, MASTER_CF + "maydowithout unix - - n - - smtp -o allow_srv_lookup_fallback=yes\n", name="srv", oracle=False))
        domains = list(BY_SRV)
        with smtp_client.Client(mta.port) as client:
            for number, domain in enumerate(domains):
                client.send("", [f"c{number}@{domain}"], b"Subject: where to?\n\nbody\n")
            client.quit()

        def decided():
            found = {domains[int(line.group(1))]: line.groups()[1:] for line in _FATE.finditer(mta.log())}
            return found if len(found) == len(domains) else None
        fates = wait_until("fates", decided, _SECONDS_MAX, mta.why_ended, poll_seconds=0.2)
        for domain, (*expected, text) in BY_SRV.items():
            self.assertEqual(list(fates[domain][:3]), expected, domain)
            self.assertTrue(fates[domain][3].startswith(text), f"{domain}: {fates[domain]}")

    def test_get_each_message_once(self):
        for side in self.sides:
            self.assertEqual({recipient: servers for recipient, servers in self.places(side).items()
                              if len(servers) != 1}, {}, side.label)


if __name__ == "__main__":
    name_servers.enter_namespaces()
    facts.main()
