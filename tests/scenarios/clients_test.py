"""Clients that others wrote, against this server and against Postfix: what they say at the end, and what arrives."""

import concurrent.futures
import pathlib
import re
import tempfile
import unittest

import facts
import postfix_form
from clients_mails import DOMAIN, MAILS, ON_ONE_CONNECTION
from clients_programs import Snail, all_clients, run
from clients_sides import Both, below_trace, trace
from clients_relayed import FromExim, FromOpensmtpd, FromPostfix
from clients_source import AnswersOfRequests, SmtpSource

# They wait for one another's answers more than they work.
_AT_ONCE = 6
_BY_IPV6 = b" [IPv6:::1])"
_REFUSED = ("nobody", "large")


class _Client(Both):
    @staticmethod
    def send(side, client, name, host="127.0.0.1", port=None):
        """(status, what it said)."""
        with tempfile.TemporaryDirectory() as folder:
            command = client.command(host, port or side.mta.port, MAILS[name], name, pathlib.Path(folder))
            status, text = run(command, client.input(MAILS[name], name))
        return status, side.masked(text)


def _takers(client, name):
    mail = MAILS[name]
    return [] if client.all_or_nothing and mail.refused else mail.times * mail.takers()


class EachClientWithEachMail(_Client):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.clients = all_clients()
        cls.sent = [(client, name) for client in cls.clients for name in MAILS if name not in client.cannot]
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            said = {side.label: pool.map(lambda what, side=side: cls.send(side, *what), cls.sent) for side in cls.sides}
            cls.said = {label: list(ends) for label, ends in said.items()}
        count = sum(len(_takers(*what)) for what in cls.sent)
        cls.arrived = {side.label: side.wait_for_arrivals(count) for side in cls.sides}

    def with_each(self, check):
        """check(client, name of a mail, its envelope's sender)."""
        for client, name in self.sent:
            with self.subTest(client=client.name, mail=name):
                check(client, name, MAILS[name].sender_of(name, client.name))

    def test_ends_and_reports_as_at_postfix(self):
        for (client, name), theirs, ours in zip(self.sent, self.said["postfix"], self.said["postfleet"]):
            with self.subTest(client=client.name, mail=name):
                self.assertEqual(ours, theirs)

    def test_ends_well_where_all_was_taken(self):
        for (client, name), (status, text) in zip(self.sent, self.said["postfleet"]):
            with self.subTest(client=client.name, mail=name):
                refused = name in _REFUSED or (client.all_or_nothing and name == "some")
                self.assertEqual(status != 0, refused, text)

    def test_is_told_the_reason_of_a_refusal(self):
        for (client, name), (_, text) in zip(self.sent, self.said["postfleet"]):
            if client.name.startswith("curl"):  # it prints the code alone
                continue
            with self.subTest(client=client.name, mail=name):
                if name == "large":
                    self.assertRegex(text, "Message size exceeds fixed limit|Error: message file too big")
                elif name == "nobody":
                    self.assertRegex(text, f"<unknown@{DOMAIN}>: Recipient address rejected: User unknown in virtual mailbox table")

    def test_has_its_mail_delivered_once_to_each_who_was_taken(self):
        def check(client, name, sender):
            found = [re.search(r"^Delivered-To: (.*)@", content.decode("utf-8", "replace"), re.MULTILINE).group(1)
                     for content in self.arrived["postfleet"].get(sender, [])]
            self.assertEqual(sorted(found), sorted(_takers(client, name)))
        self.with_each(check)

    def test_has_its_content_delivered_as_it_was_sent(self):
        def check(client, name, sender):
            if isinstance(client, Snail):  # makes it itself
                return
            expected = postfix_form.as_postfix_would(MAILS[name].content(name, client.name))
            for content in self.arrived["postfleet"].get(sender, []):
                self.assertEqual(below_trace(content), expected)
        self.with_each(check)

    def test_has_delivered_what_postfix_delivers(self):
        def check(_client, _name, sender):
            theirs, ours = ([(trace(content), side.mask(below_trace(content))) for content in self.arrived[side.label].get(sender, [])]
                            for side in self.sides)
            self.assertEqual(ours, theirs)
        self.assertEqual(self.arrived["postfleet"].keys(), self.arrived["postfix"].keys())
        self.with_each(check)

    def test_is_counted_in_the_log_as_by_postfix(self):
        self.assertEqual(self.postfleet.disconnections(), self.postfix.disconnections())

    def test_sends_several_messages_on_one_connection(self):
        repeated = [found for found in self.postfleet.disconnections() if f" mail={ON_ONE_CONNECTION} " in found]
        self.assertEqual(len(repeated), sum(name == "again" for _, name in self.sent))


class EachClientOnAnotherPort(_Client):
    """IPv6, submission, and a port that is closed to everybody."""

    def said(self, name, port=None, host="127.0.0.1"):
        """{client: (status, what it said)} at this server, which is as at Postfix."""
        clients = [client for client in all_clients() if client.ipv6 or host != "::1"]
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            theirs, ours = (pool.map(lambda client, side=side: self.send(side, client, name, host, getattr(side, port) if port else None),
                                     clients) for side in self.sides)
            found = {client.name: end for client, end in zip(clients, ours)}
            expected = {client.name: end for client, end in zip(clients, theirs)}
        for client, end in found.items():
            with self.subTest(client=client):
                self.assertEqual(end, expected[client])
        return found

    def test_sends_over_ipv6(self):
        said = self.said("text", host="::1")
        self.assertEqual({status for status, _ in said.values()}, {0})
        theirs, ours = ({sender: [trace(content) for content in contents] for sender, contents in
                         side.wait_for_arrivals(len(said), _BY_IPV6).items()} for side in self.sides)
        self.assertEqual(ours, theirs)
        self.assertEqual({sender: len(texts) for sender, texts in ours.items()},
                         {MAILS["text"].sender_of("text", client): 1 for client in said})

    def test_meets_the_limits_of_the_submission_service_there_alone(self):
        said = self.said("large", "submission")
        self.assertNotIn(0, {status for status, _ in said.values()})
        said = self.said("many", "submission")
        for name in ("swaks", "msmtp", "smtplib", "ruby"):
            self.assertIn("Error: too many recipients", said[name][1], name)
        self.assertEqual(len(re.findall("many..@", said["net-smtp"][1])), 5)

    def test_is_greeted_by_the_submission_service(self):
        status, text = self.said("empty", "submission")["swaks"]
        self.assertIn("<-  220 mta.example,submission\n", text)
        self.assertEqual(status, 0)
        for side in self.sides:
            side.mta.wait_for_log(r" postfix/submission/smtpd\[\d+\]: \w+: client=localhost\[127\.0\.0\.1\]$")

    def test_is_turned_away_at_the_port_that_rejects_all(self):
        said = self.said("text", "closed")
        self.assertNotIn(0, {status for status, _ in said.values()})
        self.assertIn("554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied", said["swaks"][1])


# Facts of other files, run here.
__all__ = ["AnswersOfRequests", "FromExim", "FromOpensmtpd", "FromPostfix", "SmtpSource"]

if __name__ == "__main__":
    facts.main()
