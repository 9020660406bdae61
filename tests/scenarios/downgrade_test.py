"""Mail to servers without 8BITMIME goes as real Postfix sends it, byte for byte: mail by hand, at random, the corpus."""

import collections
import unittest

import corpus
import facts
import harness
import machine
import mime_mail
import postfix_form
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

RANDOM_MAILS = 600
_ARRIVAL_SECONDS_MAX = 120.0
_SHOWN_MAX = 3
_EHLO = "250-peer.example\r\n250-PIPELINING\r\n250-SIZE\r\n250 ENHANCEDSTATUSCODES"
_EHLO_8BIT = _EHLO.replace("250-SIZE", "250-SIZE\r\n250-8BITMIME")

Arrived = collections.namedtuple("Arrived", "content parameters")


class Side:
    """One of the two mail systems and the server that it sends to."""

    def __init__(self, stack, oracle, parameters, ehlo):
        self.label = "postfix" if oracle else "postfleet"
        self.peer = stack(RecordingServer())
        self.peer.answer("EHLO", ehlo)
        self.mta = stack(harness.Instance(stack(machine.folder()), {
            "relayhost": f"[127.0.0.1]:{self.peer.port}",
            "local_header_rewrite_clients": "",
            "smtpd_forbid_bare_newline": None if oracle else "normalize",
            "smtpd_forbid_bare_newline_exclusions": None if oracle else "",
            "in_flow_delay": "0s",
            **parameters,
        }, name=self.label, oracle=oracle))

    def send(self, messages, options):
        with smtp_client.Client(self.mta.port) as client:
            for number, message in enumerate(messages):
                reply = client.send("", [f"m{number}@peer.example"], message, options)
                assert reply.code == 250, (number, reply)
            client.quit()

    def arrived(self, count):
        """[Arrived] in the order in which they were sent; each came once."""
        wait_until("an empty queue", lambda: "Mail queue is empty" in self.mta.run("postqueue", "-p")[1],
                   _ARRIVAL_SECONDS_MAX, self.mta.why_ended)
        found = collections.defaultdict(list)
        for message in self.peer.messages:
            _, rest = postfix_form.split_added(message.content.replace(b"\r\n", b"\n"), [b"Received"])
            found[message.recipients[0]].append(Arrived(rest, message.parameters))
        expected = [f"m{number}@peer.example" for number in range(count)]
        assert sorted(found) == sorted(expected), self.label
        assert all(len(copies) == 1 for copies in found.values()), self.label
        return [found[address][0] for address in expected]


class BesidePostfix(unittest.TestCase):
    def setUp(self):
        if not machine.IS_ROOT:
            self.skipTest("needs root, as Postfix does: run ./dev test as root, as CI does")

    def results(self, messages, options="", ehlo=_EHLO, **parameters):
        """What arrived of each of the two."""
        arrived = []
        for oracle in (True, False):
            side = Side(self.enterContext, oracle, parameters, ehlo)
            side.send(messages, options)
            arrived.append(side.arrived(len(messages)))
        return arrived

    def assert_the_same(self, names, postfix, ours):
        different = [number for number, pair in enumerate(zip(postfix, ours)) if pair[0].content != pair[1].content]
        for number in different[:_SHOWN_MAX]:
            lines = zip(postfix[number].content.split(b"\n") + [None], ours[number].content.split(b"\n") + [None])
            at, pair = next((at, pair) for at, pair in enumerate(lines) if pair[0] != pair[1])
            print(f"{names[number]}: line {at}: Postfix {str(pair[0])[:200]}, ours {str(pair[1])[:200]}")
        self.assertEqual([names[number] for number in different], [])
        self.assertEqual([item.parameters for item in ours], [item.parameters for item in postfix])

    def converted(self, messages, arrived):
        return sum(item.content != _unconverted(message) for message, item in zip(messages, arrived))

    def test_mail_by_hand(self):
        messages = list(mime_mail.BY_HAND.values())
        for options in ("", " BODY=8BITMIME"):
            with self.subTest(options):
                postfix, ours = self.results(messages, options)
                self.assert_the_same(list(mime_mail.BY_HAND), postfix, ours)
                self.assertGreaterEqual(self.converted(messages, ours), len(messages) // 2)

    def test_mail_at_random(self):
        messages = [mime_mail.random_mail(seed) for seed in range(RANDOM_MAILS)]
        postfix, ours = self.results(messages, " BODY=8BITMIME")
        self.assert_the_same([f"seed {seed}" for seed in range(RANDOM_MAILS)], postfix, ours)
        self.assertGreater(self.converted(messages, ours), RANDOM_MAILS // 2)

    def test_servers_with_8bitmime_get_it_as_it_is(self):
        messages = list(mime_mail.BY_HAND.values())
        postfix, ours = self.results(messages, " BODY=8BITMIME", _EHLO_8BIT)
        self.assertEqual([item.content for item in ours], [item.content for item in postfix])
        self.assertEqual(ours[0].content, _unconverted(messages[0]))

    def test_no_mail_is_converted_where_that_is_disabled(self):
        messages = list(mime_mail.BY_HAND.values())
        postfix, ours = self.results(messages, " BODY=8BITMIME", disable_mime_output_conversion="yes")
        self.assertEqual([item.content for item in ours], [item.content for item in postfix])
        self.assertTrue(any(max(item.content) > 127 for item in ours))

    def test_mail_that_is_nested_too_deep_comes_back(self):
        fates = []
        for oracle in (True, False):
            side = Side(self.enterContext, oracle, {}, _EHLO)
            smtp_client.deliver(side.mta.port, "", ["m0@peer.example"], mime_mail.TOO_DEEP)
            found = side.mta.wait_for_log(r"to=<m0@peer\.example>, relay=(\S+):\d+, .*dsn=([\d.]+), status=(\w+) \((.*)\)$")
            fates.append(found[0].groups())
            self.assertEqual(side.arrived(0), [])
        self.assertEqual(fates[1], fates[0])
        self.assertEqual(fates[1][1:], ("5.6.0", "bounced", "MIME nesting exceeds safety limit"))

    def test_the_corpus(self):
        """Postfix sends what may be converted; of the rest is known what it does."""
        messages = corpus.read()
        chosen = [number for number, message in enumerate(messages) if _may_change(message)]
        postfix = Side(self.enterContext, True, {}, _EHLO)
        postfix.send([messages[number] for number in chosen], " BODY=8BITMIME")
        ours = Side(self.enterContext, False, {}, _EHLO)
        ours.send(messages, " BODY=8BITMIME")
        expected = [Arrived(_unconverted(message), "") for message in messages]
        for number, item in zip(chosen, postfix.arrived(len(chosen))):
            expected[number] = item
        arrived = ours.arrived(len(messages))
        self.assertEqual(len(arrived), corpus.MESSAGES)
        self.assert_the_same([f"message {number}" for number in range(len(messages))], expected, arrived)
        print(f"{len(arrived)} messages, {self.converted(messages, arrived)} converted as by Postfix", flush=True)
        self.assertGreater(self.converted(messages, arrived), 500)


def _unconverted(message):
    return postfix_form.folded_for_smtp(postfix_form.as_postfix_would(message))


def _may_change(message):
    lower = message.lower()
    return b"8bit" in lower or b"binary" in lower


if __name__ == "__main__":
    facts.main()
