"""smtp-source in its modes, and curl's requests without mail: facts that clients_test.py runs."""

import concurrent.futures
import dataclasses

from clients_mails import DOMAIN, UNKNOWN
from clients_programs import run
from clients_sides import Both, below_trace, trace

_FILE = b"Subject: of a file\nMessage-ID: <file@client.example>\n\n.\n..\n.dots\n" + "grüße\n".encode() + b"z" * 3000 + b"\n\nend\n"


@dataclasses.dataclass(frozen=True)
class Mode:
    """options: words; taken: how many copies arrive."""
    options: str = ""
    taken: int = 1
    to: str = f"bob@{DOMAIN}"
    host: str = "127.0.0.1"
    ends_well: bool = True


MODES = {
    "plain": Mode(),
    "sessions": Mode("-s 5 -m 20", 20),
    "one-connection": Mode("-d -m 5", 5),
    "connections": Mode("-s 3 -d -m 9", 9),
    "counter": Mode("-c -m 4", 4),
    "length": Mode("-l 5000"),
    "too-large": Mode("-l 200000", 0, ends_well=False),
    "too-large-and-on": Mode("-A -l 200000 -m 2", 0),
    "old": Mode("-o"),
    "old-on-one-connection": Mode("-o -d -m 3", 3),
    "recipients": Mode("-r 5", 5),
    "recipients-on-one-connection": Mode("-r 7 -d -m 2", 14),
    "numbered": Mode("-N -m 3 -d", 3),
    "pauses": Mode("-R 1 -m 2", 2),
    "fixed-pauses": Mode("-w 1 -m 2 -d", 2),
    "refused": Mode("", 0, f"{UNKNOWN}@{DOMAIN}", ends_well=False),
    "refused-and-on": Mode("-A -m 2", 0, f"{UNKNOWN}@{DOMAIN}"),
    "file": Mode("-F FILE -m 2 -d", 2),
    "name": Mode("-M name.example"),
    "literal": Mode("-M [127.0.0.1]"),
    "subject": Mode("-S what-it-is-about"),
    "window": Mode("-T 4096 -l 20000"),
    "ipv4": Mode("-4"),
    "ipv6": Mode("-6", host="[::1]"),
    "retries": Mode("-C 3"),
    "verbose": Mode("-v"),
}


def _sender(name):
    return f"{name}.source@client.example"


class SmtpSource(Both):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.file = cls.sides[0].mta.folder / "file"
        cls.file.write_bytes(_FILE)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            said = {side.label: pool.map(lambda name, side=side: cls.send(side, name), MODES) for side in cls.sides}
            cls.said = {label: dict(zip(MODES, ends)) for label, ends in said.items()}
        count = sum(mode.taken for mode in MODES.values())
        cls.arrived = {side.label: side.wait_for_arrivals(count) for side in cls.sides}

    @classmethod
    def send(cls, side, name):
        """(status, what it said) of one run."""
        mode = MODES[name]
        options = mode.options.replace("FILE", str(cls.file)).split()
        if "-M" not in options:
            options += ["-M", "client.example"]
        status, text = run(["smtp-source", *options, "-f", _sender(name), "-t", mode.to, f"{mode.host}:{side.mta.port}"], b"")
        return status, side.masked(text)

    def test_ends_and_reports_as_at_postfix(self):
        for name in MODES:
            with self.subTest(name):
                self.assertEqual(self.said["postfleet"][name], self.said["postfix"][name])

    def test_ends_well_unless_it_was_refused(self):
        for name, mode in MODES.items():
            with self.subTest(name):
                status, text = self.said["postfleet"][name]
                self.assertEqual(status == 0, mode.ends_well, text)

    def test_has_all_of_its_mail_delivered(self):
        found = {name: len(self.arrived["postfleet"].get(_sender(name), [])) for name in MODES}
        self.assertEqual(found, {name: mode.taken for name, mode in MODES.items()})

    def test_has_delivered_what_postfix_delivers(self):
        for name in MODES:
            with self.subTest(name):
                theirs, ours = (sorted((trace(content), side.mask(below_trace(content)))
                                       for content in self.arrived[side.label].get(_sender(name), [])) for side in self.sides)
                self.assertEqual(ours, theirs)

    def test_has_its_file_delivered_as_it_is(self):
        # What stands behind the last end of a line is a line for it, too.
        self.assertEqual({below_trace(content) for content in self.arrived["postfleet"][_sender("file")]}, {_FILE + b"\n"})

    def test_is_counted_in_the_log_as_by_postfix(self):
        # Which of its connections takes the next message is chance.
        self.assertEqual(self.postfleet.commands(), self.postfix.commands())
        self.assertGreater(self.postfleet.commands()["data", "good"], len(MODES))


class AnswersOfRequests(Both):
    """curl says a request and prints the answer."""

    def said(self, *options):
        theirs, ours = ((status, side.masked(text)) for side in self.sides for status, text in [run(
            ["curl", "-q", "-sS", *options, f"smtp://127.0.0.1:{side.mta.port}/client.example"], b"")])
        self.assertEqual(ours, theirs)
        return ours

    def test_vrfy_tells_who_is_known(self):
        self.assertEqual(self.said("--mail-rcpt", f"bob@{DOMAIN}"), (0, f"252 2.0.0 bob@{DOMAIN}\r\n"))
        self.assertNotEqual(self.said("--mail-rcpt", f"{UNKNOWN}@{DOMAIN}")[0], 0)

    def test_expn_is_not_known(self):
        self.assertNotEqual(self.said("--mail-rcpt", "friends", "-X", "EXPN")[0], 0)

    def test_help_names_the_commands(self):
        # HELP is 3.9's; the Postfix here may be older.
        status, text = run(["curl", "-q", "-sS", "-X", "HELP", f"smtp://127.0.0.1:{self.postfleet.mta.port}/client.example"], b"")
        self.assertEqual((status, text[:20]), (0, "214 2.0.0 Commands: "))

    def test_noop_and_rset_are(self):
        self.assertEqual(self.said("-X", "NOOP")[0], 0)
        self.assertEqual(self.said("-X", "RSET")[0], 0)
