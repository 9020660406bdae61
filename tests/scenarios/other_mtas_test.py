"""Exim and OpenSMTPD as the next hop, ours beside real Postfix; and as clients in front of ours.

Both senders give the same mail to the same server, which offers what it offers: Exim with PIPELINING and DSN, the same
Exim without both, OpenSMTPD with DSN and no pipelining. Needs root.
"""

import collections
import re
import unittest

import facts
import harness
import machine
import own_root
import postfix_form
import smtp_client
from deadlines import wait_until
from exim_server import EximServer
from opensmtpd_server import SIZE_BYTES_MAX, OpensmtpdServer
from peers_test import below_received
from stock import MASTER_CF

LABELS = ("postfix", "postfleet")
# Of the servers; those with a label get mail of one sender.
USERS = ("bob", "carol", "dave", *(f"{name}-{label}" for name in ("grey", "notice") for label in LABELS))
_HEADER = (b"From: alice@client.example\nTo: bob@peer.example\nDate: Mon, 23 Nov 2026 08:00:00 +0000\nMessage-ID: <%d@client.example>\n"
           b"Subject: gr\xc3\xbc\xc3\x9fe\nX-Mail: ")
_BODY = (b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
         b"gr\xc3\xbc\xc3\x9fe\n.\n..\n.x\n\xff\xfe\n" + b"x" * 998 + b"\n" + b"y" * 2000 + b"\n." + b"z" * 998 + b"\n\nlast line\n")
_LARGE = b"\n" + (SIZE_BYTES_MAX // 60 + 100) * (b"x" * 59 + b"\n")
_OF_A_MAIL = re.compile(rb"^X-Mail: (\S+)$", re.MULTILINE)
# What a notice says; the subject only if it is its own.
_TELLING = re.compile(r"^(Subject(?=: (?:Succ|Undel|Delivery))|Reporting-MTA|Original-Envelope-ID|Original-Recipient|Final-Recipient|"
                      r"Action|Status|Remote-MTA): ?(.*)$", re.MULTILINE | re.IGNORECASE)
_ON_ONE_CONNECTION = 6
_MANY = 50

Mail = collections.namedtuple("Mail", "users body mail_options rcpt_options", defaults=(_BODY, " BODY=8BITMIME", ""))
MAILS = {
    "one": Mail(["bob"]),
    "several": Mail(["bob", "carol", "dave"]),
    "some": Mail(["bob", "unknown", "busy", "listed", "carol"]),
    "nobody": Mail(["unknown", "listed"]),
    "grey": Mail(["bob", "grey-LABEL"]),
    "busy": Mail(["busy"]),
    "large": Mail(["bob"], _LARGE),
    "unwelcome": Mail(["bob", "carol"], b"Subject: unwelcome\n\nbody\n"),
    "notice": Mail(["bob"], _BODY, " BODY=8BITMIME RET=HDRS ENVID=QQ+2B1",
                   " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert+2Bold@old.example"),
    "never": Mail(["unknown"], _BODY, " BODY=8BITMIME", " NOTIFY=NEVER"),
}
Fate = collections.namedtuple("Fate", "relay dsn status text")


class Side:
    """One of the two senders, not up yet."""

    def __init__(self, folder, label):
        self.label = label
        self.ids = {}
        self.mta = harness.Instance(folder, {
            # Less than the servers' listen(2) lets wait (OpenSMTPD: 10): Linux with SYN cookies forgets the others, and a
            # client that was connected waits for its greeting in vain.
            "smtp_destination_concurrency_limit": "4",
            # A connection that Postfix takes from its cache has forgotten the server's size limit.
            "smtp_connection_cache_on_demand": "no",
            "virtual_mailbox_domains": "back.example",
            "virtual_mailbox_maps": "inline:{ bob@back.example=bob/ }",
            "in_flow_delay": "0s",
        }, MASTER_CF + "reuse unix - - n - - smtp -o smtp_connection_cache_destinations=127.0.0.1 "
            "-o smtp_connection_cache_time_limit=30s\n", name=label, oracle=label == "postfix")

    def send_to(self, port):
        """Before the start."""
        self.mta.parameters["relayhost"] = f"[127.0.0.1]:{port}"
        self.mta.parameters["transport_maps"] = f"inline:{{ reuse.example=reuse:[127.0.0.1]:{port} }}"
        self.mta.write_configuration()

    def own(self, user):
        return user.replace("LABEL", self.label)

    def sender(self, name):
        return f"{name}-{self.label}@client.example"

    def content(self, name):
        return _HEADER % list(MAILS).index(name) + f"{name}/{self.label}\n".encode() + MAILS[name].body

    def submit(self, name):
        mail = MAILS[name]
        with smtp_client.Client(self.mta.port) as client:
            replies = [client.command(f"MAIL FROM:<{self.sender(name)}>{mail.mail_options}")]
            replies += [client.command(f"RCPT TO:<{self.own(user)}@peer.example>{mail.rcpt_options}") for user in mail.users]
            replies.append(client.command("DATA"))
            if [reply.code for reply in replies] != [250] * (len(mail.users) + 1) + [354]:
                raise AssertionError(f"{self.label}: {name}: {replies}")
            self.ids[name] = smtp_client.queue_id(client.content(self.content(name)))
            client.quit()

    def fates(self):
        """{(name, user): [its fates, equal ones once]}; what differs by nature is the same."""
        names = {queue_id: name for name, queue_id in self.ids.items()}
        found = collections.defaultdict(list)
        for line in self.mta.find_log(r"/(?:smtp|error)\[\d+\]: (\w+): to=<([^@>]*)@peer\.example>, relay=(\S+), .*?"
                                      r"dsn=([\d.]+), status=(\w+) \((.*)\)$"):
            if line.group(1) in names:
                fates = found[names[line.group(1)], line.group(2).replace(self.label, "LABEL")]
                fate = Fate(*line.groups()[2:5], self.same(line.group(6)))
                if fate not in fates:
                    fates.append(fate)
        return dict(found)

    def same(self, text):
        """Without what differs by nature."""
        text = re.sub(r"id=\w{6}-\w{6}-\w{2}\b", "id=ID", text)
        text = re.sub(r"\b[0-9a-f]{8} Message accepted", "ID Message accepted", text)
        return re.sub(r"message size \d+", "message size N", text.replace(self.label, "LABEL"))

    def wait_for_fates(self):
        wait_until(f"a fate for each recipient of {self.label}", lambda: len(self.fates()) == sum(
            len(mail.users) for mail in MAILS.values()), hopeless=self.mta.why_ended)

    def try_again(self):
        """What was put off is tried, and what was greylisted is taken. It is waited until nothing is under way: mail that
        is still active misses a flush."""
        wait_until(f"only deferred mail at {self.label}", lambda: {mail["queue_name"] for mail in self.mta.queued()} == {"deferred"},
                   hopeless=self.mta.why_ended, poll_seconds=0.05)
        done = self.mta.run("postqueue", "-f")
        if done != (0, "", ""):
            raise AssertionError(f"{self.label}: postqueue -f: {done}")
        self.mta.wait_for_log(rf"to=<grey-{self.label}@peer\.example>, .*status=sent")


class _Server:
    """What all of them do; a class of facts says which server, and what its fates are."""
    maxDiff = None
    KIND = None
    PORT = "port"
    FATES = {}  # (name, user): (dsn, status, text) of the first try
    SENT = ""
    NOTICE = []  # (field, value)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.refusal = own_root.refusal()
        if cls.refusal:
            return
        enter = cls.enterClassContext
        folder = enter(machine.folder())
        cls.sides = [Side(folder, label) for label in LABELS]
        cls.server = enter(cls.KIND(folder / "server", USERS, cls.sides[1].mta.port))
        for side in cls.sides:
            side.send_to(getattr(cls.server, cls.PORT))
            enter(side.mta)
            for name in MAILS:
                side.submit(name)
        for side in cls.sides:
            side.wait_for_fates()
            side.try_again()
        cls.postfix, cls.postfleet = cls.sides

    def setUp(self):
        super().setUp()
        if self.refusal:
            self.skipTest(self.refusal)

    def arrived(self, user, name, label):
        return [content for content in self.server.mail(user)
                if content.startswith(b"Return-") and (found := _OF_A_MAIL.search(content.partition(b"\n\n")[0]))
                and found.group(1) == f"{name}/{label}".encode()]

    def wait_for_arrivals(self, side):
        """{(name, user): contents} once all of what it sent is there."""
        sent = [key for key, fates in side.fates().items() if fates[-1].status == "sent"]

        def all_there():
            found = {(name, user): self.arrived(side.own(user), name, side.label)
                     for name, mail in MAILS.items() for user in mail.users}
            return found if all(found[key] for key in sent) else None
        return sent, wait_until("what was sent", all_there, hopeless=self.server.why_ended)

    def test_decides_fates_that_are_logged_as_by_postfix(self):
        theirs, ours = self.postfix.fates(), self.postfleet.fates()
        for key in sorted(theirs.keys() | ours.keys()):
            with self.subTest(key):
                self.assertEqual(theirs.get(key), ours.get(key))

    def test_takes_and_refuses_as_it_is_set_up_to(self):
        found = {key: fates[0][1:] for key, fates in self.postfleet.fates().items()}
        self.assertEqual({key: found.pop(key) for key in self.FATES}, self.FATES)
        for key, fate in found.items():
            self.assertEqual(fate, ("2.0.0", "sent", self.SENT), key)

    def test_gets_each_message_once_and_byte_for_byte(self):
        for side in self.sides:
            sent, found = self.wait_for_arrivals(side)
            self.assertGreater(len(sent), 8)
            for (name, user), contents in found.items():
                expected = [postfix_form.folded_for_smtp(side.content(name))] if (name, user) in sent else []
                self.assertEqual([below_received(content, 2) for content in contents], expected, (side.label, name, user))

    def test_is_not_offered_what_it_said_is_too_large(self):
        for side in self.sides:
            self.assertEqual(self.server.sessions_of(side.sender("large")), {})
            self.assertNotRegex(self.server.log(), rf"(?:MAIL FROM:|F=)<{side.sender('large')}>")

    def test_gets_greylisted_mail_at_the_second_try(self):
        fates = self.postfleet.fates()["grey", "grey-LABEL"]
        self.assertEqual([(fate.dsn, fate.status) for fate in fates], [("4.7.1", "deferred"), ("2.0.0", "sent")])
        self.assertEqual(len(self.server.sessions_of(self.postfleet.sender("grey"))), 2)

    def test_gets_several_messages_on_one_connection(self):
        uses = []
        for side in self.sides:
            sender = side.sender("reuse")
            for number in range(_ON_ONE_CONNECTION):
                reply = smtp_client.deliver(side.mta.port, sender, ["bob@reuse.example"], b"Subject: %d\n\nbody\n" % number)
                [line] = side.mta.wait_for_log(rf"{smtp_client.queue_id(reply)}: to=<bob@reuse\.example>, relay=\S+ (.*)delay=\S+ "
                                               r".*status=sent")
                uses.append(line.group(1))
            sessions = self.server.sessions_of(sender)
            self.assertEqual((len(sessions), len(set(sessions.values()))), (_ON_ONE_CONNECTION, 1), side.label)
        self.assertEqual(uses, 2 * ([""] + [f"conn_use={number}, " for number in range(2, _ON_ONE_CONNECTION + 1)]))

    def test_gets_each_of_many_messages_once(self):
        with smtp_client.Client(self.postfleet.mta.port) as client:
            for number in range(_MANY):
                reply = client.send("many@client.example", ["carol@peer.example"], b"X-Mail: %d/many\n\nbody\n" % number)
                self.assertEqual(reply.code, 250)
            client.quit()

        def arrived():
            found = [found.group(1) for content in self.server.mail("carol")
                     if (found := re.search(rb"^X-Mail: (\d+)/many$", content, re.MULTILINE))]
            return found if len(found) >= _MANY else None
        found = wait_until("many messages", arrived, hopeless=self.server.why_ended)
        self.assertEqual(sorted(map(int, found)), list(range(_MANY)))
        self.assertEqual(len(self.server.sessions_of("many@client.example")), _MANY)

    def notice(self, side):
        """What the sender of "notice" is told: the fields of its only notice that say it."""
        user = f"notice-{side.label}"
        [content] = wait_until("a notice", lambda: self.server.mail(user), hopeless=self.server.why_ended)
        return [(name.lower(), side.same(value)) for name, value in _TELLING.findall(content.decode("latin-1"))]

    def test_tells_the_sender_what_it_asked_for(self):
        self.assertEqual(self.notice(self.postfix), self.NOTICE)
        self.assertEqual(self.notice(self.postfleet), self.NOTICE)

    def test_sends_mail_to_us(self):
        content = self.postfleet.content("one")
        with smtp_client.Client(self.server.port) as client:
            for line in ("MAIL FROM:<onward@client.example> BODY=8BITMIME", "RCPT TO:<bob@back.example>"):
                self.assertEqual(client.command(line).code, 250)
            client.command("DATA")
            self.assertEqual(client.content(content).code, 250)
            client.quit()
        [arrived] = wait_until("the mail that the server sent on", lambda: self.postfleet.mta.maildir("bob"),
                               hopeless=self.server.why_ended)
        self.assertEqual(below_received(arrived, 2), content)


_REPLY = "host 127.0.0.1[127.0.0.1] said: "
_IN_REPLY = " (in reply to RCPT TO command)"
_BUSY = ("4.2.1", "deferred", f"{_REPLY}450 4.2.1 Mailbox busy{_IN_REPLY}")
_GREY = ("4.7.1", "deferred", f"{_REPLY}451 4.7.1 Greylisted, try again later{_IN_REPLY}")
_LARGE_FATE = ("5.3.4", "bounced", f"message size N exceeds size limit {SIZE_BYTES_MAX} of server 127.0.0.1[127.0.0.1]")


def _fates(unknown, listed):
    return {("some", "unknown"): unknown, ("some", "busy"): _BUSY, ("some", "listed"): listed, ("nobody", "unknown"): unknown,
            ("nobody", "listed"): listed, ("grey", "grey-LABEL"): _GREY, ("busy", "busy"): _BUSY, ("large", "bob"): _LARGE_FATE,
            ("never", "unknown"): unknown}


class AnExim(_Server, unittest.TestCase):
    KIND = EximServer
    _UNWELCOME = ("5.7.1", "bounced", f"{_REPLY}550 5.7.1 Unwelcome content (in reply to end of DATA command)")
    FATES = {**_fates(("5.0.0", "bounced", f"{_REPLY}550 Unrouteable address{_IN_REPLY}"),
                      ("5.0.0", "bounced", f"{_REPLY}550-Not welcome here, 550 nor anywhere else{_IN_REPLY}")),
             ("unwelcome", "bob"): _UNWELCOME, ("unwelcome", "carol"): _UNWELCOME}
    SENT = "250 OK id=ID"
    PIPELINED = True
    # Exim gives the identifier as it came, in xtext.
    NOTICE = [("subject", "Delivery Status Notification"), ("reporting-mta", "dns; exim.example"),
              ("original-envelope-id", "QQ+2B1"), ("original-recipient", "rfc822;robert+2Bold@old.example"),
              ("action", "delivered"), ("final-recipient", "rfc822;bob@peer.example"), ("status", "2.0.0")]

    def test_is_sent_commands_ahead_only_if_it_offers_that(self):
        for side in self.sides:
            found = {name: self.server.pipelined(side.sender(name)) for name in ("one", "several", "some", "notice")}
            self.assertEqual(found, dict.fromkeys(found, self.PIPELINED), side.label)


class AnEximWithoutPipelining(AnExim):
    PORT = "plain_port"
    PIPELINED = False
    # What is handed to a server without DSN is reported by the sender's side.
    NOTICE = [("subject", "Successful Mail Delivery Report"), ("reporting-mta", "dns; mta.example"),
              ("original-envelope-id", "QQ+1"), ("final-recipient", "rfc822; bob@peer.example"),
              ("original-recipient", "rfc822;robert+old@old.example"), ("action", "relayed"), ("status", "2.0.0"),
              ("remote-mta", "dns; 127.0.0.1")]


class AnOpensmtpd(_Server, unittest.TestCase):
    KIND = OpensmtpdServer
    FATES = _fates(("5.2.4", "bounced", f"{_REPLY}524 5.2.4 Mailing list expansion problem: <unknown@peer.example>{_IN_REPLY}"),
                   ("5.7.1", "bounced", f"{_REPLY}554 5.7.1 Not welcome here{_IN_REPLY}"))
    SENT = "250 2.0.0 ID Message accepted for delivery"
    NOTICE = [("subject", "Delivery status notification: delivered"), ("reporting-mta", "dns; opensmtpd.example"),
              ("final-recipient", "rfc822; bob@peer.example"), ("action", "delivered"), ("status", "2.0.0")]

    def test_is_sent_a_command_at_a_time(self):
        self.assertNotIn("Pipelining not supported", self.server.log())

    def test_is_asked_what_the_sender_asked_for(self):
        # Its notices leave out the identifier and the recipient that the sender named.
        for side in self.sides:
            [(connection, options)] = re.findall(rf"^smtp: (\w+): <<< MAIL FROM:<{side.sender('notice')}> (.*)$", self.server.log(),
                                                 re.MULTILINE)
            self.assertRegex(options, r"^SIZE=\d+ BODY=8BITMIME ENVID=QQ\+2B1 RET=HDRS$")
            self.assertRegex(self.server.log(), rf"\nsmtp: {connection}: <<< RCPT TO:<bob@peer\.example> "
                             r"ORCPT=rfc822;robert\+2Bold@old\.example NOTIFY=SUCCESS,FAILURE\n")


if __name__ == "__main__":
    facts.main()
