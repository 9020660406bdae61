"""What becomes of mail to a server that refuses, breaks off, stalls or talks nonsense: ours beside real Postfix.

Each case of hostile_cases.txt is a server of its own, and a message to it by way of each of the two, all at once.
Compared are the fate of each recipient (relay, status, dsn, text), what the server was told and was sent, what waits
in the queue afterwards, and the notices. KNOWN lists where we are meant to differ; each of them must still be true.
"""

import collections
import email
import re
import threading
import unittest

import facts
import harness
import hostile_server
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

SENDER = "sender@notices.example"
DOMAIN = "hostile.example"
STEP_SECONDS = "3s"
# Postfix cuts a long text in the log at about 2,000.
_LOGGED_BYTES_MAX = 1500
FATE_SECONDS_MAX = 60.0
CASES_MIN = 120

# Case -> why we differ from Postfix 3.7 in the fates of its recipients.
KNOWN = {}
# The same for what the server is told.
KNOWN_COMMANDS = {
    "ehlo-size-small": "even where the mail is too large we leave with QUIT",
}
KNOWN_NOTICES = {
    "rcpt-flood": "a notice quotes less of a reply of 300 lines",
}
KNOWN_CONTENTS = {}

_CONTENTS = {
    "plain": b"Subject: plain\n\nbody\n",
    "8bit": b"Subject: 8bit\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
            b"Content-Transfer-Encoding: 8bit\n\ngr\xc3\xbc\xc3\x9fe = you\n\xe4\n",
    "dots": b"Subject: dots\n\n.\n..\n.x\nend.\n.\n",
    "long": b"Subject: long\n\n" + b"0123456789" * 250 + b"\nend\n",
    "bare": b"no header at all\nsecond line\n",
    "empty": b"",
    "large": b"Subject: large\n\n" + 1000 * (b"x" * 59 + b"\n"),
}
_STEPS = ("connect", "helo", "mail", "rcpt", "data_init", "data_xfer", "data_done", "rset", "quit")
_FATE = re.compile(rf"/smtp\[\d+\]: (\w+): to=<r(\d+)@([\w-]+)\.{re.escape(DOMAIN)}>, (?:orig_to=<[^>]*>, )?relay=(\S+), "
                   r".*?dsn=([\d.]+), status=(\w+) \((.*?)\)?$", re.MULTILINE)

_WAITING = ("deferred", "SOFTBOUNCE")

Fate = collections.namedtuple("Fate", "relay status dsn text")


class Side:
    """One of the two mail systems, with a server for each case and one for notices. declared: behind MAIL, without it
    BODY=8BITMIME for content that is."""

    def __init__(self, stack, cases, oracle, settings=None, declared=None):
        self.cases = cases
        self._declared = declared
        self.label = "postfix" if oracle else "postfleet"
        self.servers = stack(hostile_server.HostileServers(cases))
        self.notices = stack(RecordingServer())
        routes = {f"{case.name}.{DOMAIN}": self.servers.ports[case.name] for case in cases}
        routes["notices.example"] = self.notices.port
        self.mta = stack(harness.Instance(stack(machine.folder()), {
            **{f"smtp_{step}_timeout": STEP_SECONDS for step in _STEPS},
            "transport_maps": "inline:{ " + ", ".join(
                f"{domain}=smtp:[127.0.0.1]:{port}" for domain, port in routes.items()) + " }",
            "default_process_limit": "400",
            "in_flow_delay": "0s",
            "local_header_rewrite_clients": "",
            "smtpd_forbid_bare_newline": None if oracle else "normalize",
            **(settings or {}),
        }, name=self.label, oracle=oracle))

    def run(self):
        """All messages at once, to their first fate; then the queue is listed, and flushed to a second fate."""
        self._send()
        self.first = self._fates(1)
        expected = sum(fate.status in _WAITING for fates in self.first.values() for fate in fates)
        [self.queued] = wait_until(f"{expected} deferred recipients in the queue of {self.label}",
                                   lambda: self._deferred(expected), FATE_SECONDS_MAX, self.mta.why_ended)
        self._wait_for_notices()
        wait_until(f"the end of all connections of {self.label}", lambda: not any(
            session.open for case in self.cases for session in self.servers.sessions(case.name)),
            FATE_SECONDS_MAX, self.mta.why_ended)
        self.sessions = {case.name: self.servers.sessions(case.name) for case in self.cases}
        self.mta.run("postqueue", "-f")
        self.second = self._fates(2)
        self.all_sessions = {case.name: self.servers.sessions(case.name) for case in self.cases}

    def _send(self):
        with smtp_client.Client(self.mta.port) as client:
            for case in self.cases:
                recipients = [f"r{number}@{case.name}.{DOMAIN}" for number in range(1, case.recipients + 1)]
                options = " BODY=8BITMIME" if case.content == "8bit" else ""
                if self._declared is not None:
                    options = self._declared
                reply = client.send(SENDER, recipients, _CONTENTS[case.content], options)
                if reply.code != 250:
                    raise AssertionError(f"{self.label}, {case.name}: {reply}")
            client.quit()

    def _fates(self, attempt):
        """{case: [a fate for each recipient]}; of a second attempt only those that have one."""
        def decided():
            found = collections.defaultdict(list)
            for line in _FATE.finditer(self.mta.log()):
                _, number, name, relay, dsn, status, text = line.groups()
                found[name, int(number)].append(Fate(_plain(relay), status, dsn, _plain(text)))
            wanted = {(case.name, number): 1 for case in self.cases for number in range(1, case.recipients + 1)}
            if attempt == 2:
                wanted = {key: 2 if self.first[key[0]][key[1] - 1].status in _WAITING else 1 for key in wanted}
            self.missing = [key for key, count in wanted.items() if len(found[key]) < count]
            return None if self.missing else found
        try:
            found = wait_until(f"a fate for all recipients of {self.label}", decided, FATE_SECONDS_MAX,
                               self.mta.why_ended, poll_seconds=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; missing: {self.missing[:20]}") from None
        self.counts = {key: [fate.status for fate in fates] for key, fates in found.items()}
        return {case.name: [found[case.name, number][0 if attempt == 1 else -1]
                            for number in range(1, case.recipients + 1)] for case in self.cases}

    def _deferred(self, expected):
        found = collections.defaultdict(list)
        for entry in self.mta.queued():
            for recipient in entry["recipients"]:
                if "delay_reason" in recipient and recipient["address"].endswith(DOMAIN):
                    name, number = recipient["address"].partition("@")[2].partition(".")[0], recipient["address"][1:]
                    found[name].append((int(number.partition("@")[0]), _plain(recipient["delay_reason"])))
        return (found, ) if sum(map(len, found.values())) == expected else None

    def _wait_for_notices(self):
        bounced = sum(any(fate.status == "bounced" for fate in fates) for fates in self.first.values())
        self.notices.wait_for(bounced, FATE_SECONDS_MAX, self.mta.why_ended)

    def told_of(self):
        """{(case, recipient): (status, diagnostic)} of all notices."""
        found = {}
        for message in self.notices.messages:
            report = next(part for part in email.message_from_bytes(message.content).walk()
                          if part.get_content_type() == "message/delivery-status")
            for block in report.get_payload():
                if "Final-Recipient" in block:
                    address = block["Final-Recipient"].partition(";")[2].strip()
                    name = address.partition("@")[2].removesuffix("." + DOMAIN)
                    diagnostic = " ".join(str(block["Diagnostic-Code"] or "").split())
                    found[name, address.partition("@")[0]] = (
                        block["Action"], block["Status"], _plain(diagnostic), block["Remote-MTA"])
        return found


def _plain(text):
    """Without what is chance: ports, and sizes, which Postfix takes from its queue file."""
    text = re.sub(r"(127\.0\.0\.1\]?):\d+", r"\1:PORT", text)
    return re.sub(r"message size \d+", "message size N", text)[:_LOGGED_BYTES_MAX]


def _commands(sessions):
    """What the server was told in the first attempt. Sizes differ as Received fields do; before QUIT nobody needs RSET."""
    return [re.sub(r"RSET\nQUIT$", "QUIT", _told("\n".join(session.commands))).split("\n") for session in sessions]


def _told(commands):
    for name, value in (("IDENT", r"\S+"), ("SIZE", r"\d+"), ("PORT", r"\d+")):
        commands = re.sub(f"{name}={value}", f"{name}=N", commands)
    return commands


def _contents(sessions):
    """What was taken, below the Received field."""
    return [re.sub(rb"\AReceived: .*?\r\n(?![ \t])", b"", content, flags=re.DOTALL)
            for session in sessions for content in session.contents]


def _notes(log):
    """What the client wrote that is about no recipient."""
    lines = re.findall(r"/smtp\[\d+\]: ((?!.* to=<).*)$", log, re.MULTILINE)
    return {re.sub(r"^(warning: )?\w{10,}: ", r"\1ID: ", _plain(line)) for line in lines}


def _run(sides):
    errors = []

    def run(side):
        try:
            side.run()
        except AssertionError as error:
            errors.append(f"{side.label}: {error}")
    threads = [threading.Thread(target=run, args=(side,)) for side in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise AssertionError("; ".join(errors))


class AHostileServer(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Postfix does: run ./dev test as root, as CI does")
        cls.cases = hostile_server.read_cases()
        cls.sides = [Side(cls.enterClassContext, cls.cases, oracle) for oracle in (True, False)]
        _run(cls.sides)
        cls.postfix, cls.postfleet = cls.sides
        fates = [fate.status for case in cls.postfix.first.values() for fate in case]
        print(f"{len(cls.cases)} cases, {len(fates)} recipients: {dict(collections.Counter(fates))}", flush=True)

    def assert_same_but_for(self, known, theirs, ours):
        """theirs, ours: {case: what}. A known difference that is none any more is a failure, too."""
        different = [name for name in theirs if theirs[name] != ours[name]]
        for name in sorted(set(different) - set(known)):
            print(f"{name}:\n  postfix   {theirs[name]}\n  postfleet {ours[name]}")
        self.assertEqual(sorted(set(different) - set(known)), [])
        self.assertEqual(sorted(set(known) - set(different)), [], "known differences that are none")

    def test_comes_in_many_forms(self):
        self.assertGreaterEqual(len(self.cases), CASES_MIN)

    def test_decides_each_recipients_fate_as_with_postfix(self):
        self.assert_same_but_for(KNOWN, self.postfix.first, self.postfleet.first)

    def test_is_told_what_postfix_would_tell_it(self):
        self.assert_same_but_for(KNOWN_COMMANDS, *({name: _commands(sessions) for name, sessions in side.sessions.items()}
                                                   for side in self.sides))

    def test_is_sent_the_content_that_postfix_would_send(self):
        self.assert_same_but_for(KNOWN_CONTENTS, *({name: _contents(sessions) for name, sessions in side.sessions.items()}
                                       for side in self.sides))

    def test_gets_nothing_twice_that_it_took(self):
        for side in self.sides:
            taken = {name: [number for session in sessions for number in session.taken]
                     for name, sessions in side.all_sessions.items()}
            twice = {name: numbers for name, numbers in taken.items() if len(numbers) != len(set(numbers))}
            # Its answer was lost on the way.
            unclear = {name for name, fates in side.first.items() if any(
                "may be sent more than once" in fate.text for fate in fates)}
            self.assertEqual(sorted(set(twice) - unclear), [], side.label)
            again = [key for key, statuses in side.counts.items() if "deferred" not in statuses[:1] and len(statuses) > 1]
            self.assertEqual(again, [], side.label)

    def test_loses_nothing_that_it_did_not_take(self):
        """Who was not sent is in the queue, or named in a notice."""
        for side in self.sides:
            told = side.told_of()
            for name, fates in side.first.items():
                taken = {number for session in side.sessions[name] for number in session.taken}
                for number, fate in enumerate(fates, 1):
                    what = f"{side.label}, {name}, r{number}: {fate}"
                    if fate.status == "sent":
                        self.assertIn(number, taken, what)
                    elif fate.status == "bounced":
                        self.assertIn((name, f"r{number}"), told, what)
                    else:
                        self.assertIn(number, [queued for queued, _ in side.queued[name]], what)

    def test_is_named_in_the_queue_as_postfix_names_it(self):
        self.assert_same_but_for({}, *({name: sorted(side.queued.get(name, [])) for name in side.first
                                        if name not in KNOWN} for side in self.sides))

    def test_is_named_in_notices_as_postfix_names_it(self):
        theirs, ours = ({name: {} for name in self.postfix.first if name not in KNOWN} for _ in self.sides)
        for side, found in zip(self.sides, (theirs, ours)):
            for (name, recipient), told in side.told_of().items():
                if name in found:
                    found[name][recipient] = told
        self.assertGreater(sum(map(len, theirs.values())), CASES_MIN // 3)
        self.assert_same_but_for(KNOWN_NOTICES, theirs, ours)


class AServerSpokenToAsMainCfSays(unittest.TestCase):
    """The parameters that change what the client says, each list of cases beside Postfix with the same ones."""

    def setUp(self):
        super().setUp()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Postfix does: run ./dev test as root, as CI does")

    def assert_spoken_to_alike(self, settings, text, declared=None):
        cases = hostile_server.read_cases(text)
        sides = [Side(self.enterContext, cases, oracle, settings, declared) for oracle in (True, False)]
        _run(sides)
        for what in (lambda side: side.first,
                     lambda side: {name: _commands(sessions) for name, sessions in side.sessions.items()},
                     lambda side: {name: _contents(sessions) for name, sessions in side.sessions.items()},
                     lambda side: {note: 1 for note in _notes(side.mta.log())}):
            theirs, ours = map(what, sides)
            self.assertEqual(sorted(theirs), sorted(ours))
            self.assertEqual({name: ours[name] for name in theirs if ours[name] != theirs[name]},
                             {name: theirs[name] for name in theirs if ours[name] != theirs[name]})
        return sides[0]

    def test_is_told_of_the_client_where_it_asks_for_that(self):
        side = self.assert_spoken_to_alike({
            "smtp_send_xforward_command": "yes",
            "smtp_pix_workaround_threshold_time": "0s",
            "smtp_pix_workaround_delay_time": "1s",
        }, r"""
case all
  once
  on EHLO: say 250-peer\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PROTO HELO IDENT
case port-and-source
  once
  on EHLO: say 250-peer\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE
case one-by-one
  once
  on EHLO: say 250-peer\r\n250-SIZE\r\n250 xforward name addr proto helo ident
case helo
  once
  on EHLO: say 250-peer\r\n250 XFORWARD HELO
case refused
  once
  recipients 2
  on EHLO: say 250-peer\r\n250-PIPELINING\r\n250 XFORWARD ADDR IDENT
  on XFORWARD: say 550 5.7.1 not from you
case nothing
  on EHLO: say 250-peer\r\n250 XFORWARD
case broken-off
  once
  on EHLO: say 250-peer\r\n250 XFORWARD ADDR
  on XFORWARD: close
case junk
  once
  on EHLO: say 250-peer\r\n250 PIPELINING
  on RCPT: say hello\r\n250 2.1.5 Ok
case firewall
  content dots
  greet: say 220 ****************
""")
        told = _commands(side.sessions["all"])[0]
        self.assertEqual([line.partition(" ")[0] for line in told[:4]], ["EHLO", "XFORWARD", "XFORWARD", "MAIL"])

    def test_is_not_believed_what_it_should_not_offer(self):
        side = self.assert_spoken_to_alike({
            "smtp_discard_ehlo_keywords": "8bitmime",
            "smtp_discard_ehlo_keyword_address_maps": "inline:{ { 127.0.0.1 = Pipelining, SIZE, other } }",
        }, """
case plain
case two
  recipients 2
case eight-bit
  content 8bit
case smtputf8
  once
  on EHLO: say 250-peer\\r\\n250 SMTPUTF8
case later
  once
  on RCPT: say 450 4.2.0 later
""")
        self.assertNotIn("SIZE", str(_commands(side.sessions["plain-pipelined"])))

    def test_is_told_the_size_whatever_limit_it_names(self):
        side = self.assert_spoken_to_alike({}, """
case size-alone
  on EHLO: say 250-peer\\r\\n250-8BITMIME\\r\\n250 SIZE
case size-0
  on EHLO: say 250-peer\\r\\n250-8BITMIME\\r\\n250 SIZE 0
case size-words
  once
  on EHLO: say 250-peer\\r\\n250-8BITMIME\\r\\n250 SIZE many
case size-huge
  on EHLO: say 250-peer\\r\\n250-8BITMIME\\r\\n250 SIZE 99999999999999999999999999
case smtputf8-alone
  content 8bit
  on EHLO: say 250-peer\\r\\n250-SIZE\\r\\n250 SMTPUTF8
""")
        for name, sessions in side.sessions.items():
            self.assertIn("SIZE=", str(_commands(sessions)), name)

    def test_is_told_of_a_body_of_seven_bits(self):
        self.assert_spoken_to_alike({}, """
case plain
case taken-as-it-is
  on EHLO: say 250-peer\\r\\n250 SIZE
case 8bit-by-its-header
  content 8bit
case 8bit-by-its-header-converted
  content 8bit
  on EHLO: say 250-peer\\r\\n250 SIZE
""", declared=" BODY=7BIT")

    def test_is_told_of_eight_bits_that_only_the_header_declares(self):
        self.assert_spoken_to_alike({}, """
case eight-bit
  content 8bit
case converted
  content 8bit
  on EHLO: say 250-peer\\r\\n250 SIZE
""", declared="")

    def test_is_told_of_smtputf8_where_the_sender_asked_for_it(self):
        self.assert_spoken_to_alike({}, """
case offered
  on EHLO: say 250-peer\\r\\n250-8BITMIME\\r\\n250 SMTPUTF8
case not-offered
case not-offered-8bit
  content 8bit
""", declared=" SMTPUTF8 BODY=8BITMIME")

    def test_has_its_answers_changed_by_the_status_filter(self):
        side = self.assert_spoken_to_alike({
            "smtp_delivery_status_filter": "regexp:{ {/^4(\\.[0-9.]+ .* later .*)/ 5$1}, {/^5\\.1\\.9 / 4.1.9 not yet},"
                                           " {/^2\\.0\\.0 (.*)/ 2.6.0 filtered $1}, {/^5\\.1\\.8/ 2.0.0 fine} }",
        }, """
case plain
case some
  recipients 2
  on RCPT 2: say 450 4.2.1 later please
case unknown
  once
  on RCPT: say 550 5.1.9 no such user
case misled
  once
  on RCPT: say 550 5.1.8 no such user
case greeting
  once
  greet: say 421 4.3.2 come later please ; close
""")
        self.assertEqual(side.first["plain-lines"][0].dsn, "2.6.0")

    def test_is_asked_again_later_by_soft_bounce(self):
        self.assert_spoken_to_alike({"soft_bounce": "yes"}, """
case unknown
  recipients 2
  on RCPT 1: say 550 5.1.1 no such user
case greeting
  once
  greet: say 554 5.7.1 no
case sender
  on MAIL: say 501 5.5.4 no
case end
  on END: say 554 5.6.0 no
""")

    def test_hears_ehlo_only_where_that_is_allowed(self):
        self.assert_spoken_to_alike({"smtp_never_send_ehlo": "yes"}, """
case plain
case eight-bit
  content 8bit
case helo-550
  on HELO: say 550 5.7.1 no
case later
  once
  on RCPT: say 450 4.2.0 later
""")
        self.assert_spoken_to_alike({"smtp_always_send_ehlo": "no", "smtp_pix_workarounds": ""}, """
case said
  greet: say 220 peer.example esmtp here
case said-first
  greet: say 220 ESMTP
case said-below
  greet: say 220-peer.example\\r\\n220 with ESMTP
case not-said
  greet: say 220 peer.example Sendmail
case stars
  greet: say 220 ***
case later
  once
  on RCPT: say 450 4.2.0 later
""")


if __name__ == "__main__":
    facts.main()
