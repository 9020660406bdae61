"""Mail that other servers pass on to this server and to Postfix: facts that clients_test.py runs."""

import concurrent.futures
import re
import unittest

import own_root
import smtp_client
from clients_mails import MAILS
from clients_servers import EximClient, OpensmtpdClient, PostfixClient
from clients_sides import Both, relayed
from deadlines import wait_until

_COUNT = r"Ok: (\d+) bytes"  # of BDAT


class _Relayed:
    """A class of facts says which server it is."""
    KIND = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if reason := own_root.refusal():
            raise unittest.SkipTest(reason)
        cls.clients = {side.label: cls.enterClassContext(cls.KIND(side.mta.folder / cls.KIND.NAME, side.mta.port))
                       for side in cls.sides}
        lanes = [(client, way) for client in cls.clients.values() for way in cls.KIND.WAYS]
        with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
            list(pool.map(lambda lane: cls.submit_all(*lane), lanes))
        mails = cls.mails().values()
        copies = sum(mail.times * len(mail.takers()) for mail in mails) * len(cls.KIND.WAYS)
        cls.arrived = {side.label: side.wait_for_arrivals(copies) for side in cls.sides}
        fates = sum(mail.times * len(mail.users) for mail in mails) * len(cls.KIND.WAYS)
        for client in cls.clients.values():
            wait_until(f"{fates} fates", lambda client=client: len(client.fates()) >= fates, poll_seconds=0.1)

    @classmethod
    def sender(cls, way, name):
        return MAILS[name].sender_of(name, f"{cls.KIND.NAME}-{way}")

    @classmethod
    def mails(cls):
        """{name: mail} that it can pass on."""
        return {name: mail for name, mail in MAILS.items() if name not in cls.KIND.CANNOT}

    @classmethod
    def submit_all(cls, client, way):
        for name, mail in cls.mails().items():
            cls.submit(client, way, name, mail)

    @classmethod
    def submit(cls, client, way, name, mail):
        sender = cls.sender(way, name)
        content = mail.content(name, f"{cls.KIND.NAME}-{way}")
        options = "" if content.isascii() else " BODY=8BITMIME"
        options += "" if sender.isascii() else " SMTPUTF8"
        with smtp_client.Client(client.port_of(way)) as connection:
            for _ in range(mail.times):
                # A command at a time: OpenSMTPD hangs up otherwise.
                replies = [connection.command(line) for line in (
                    f"MAIL FROM:<{_as_bytes(sender)}>{options}", *(f"RCPT TO:<{_as_bytes(to)}>" for to in mail.recipients()), "DATA")]
                replies.append(connection.content(content))
                if [reply.code for reply in replies[-2:]] != [354, 250]:
                    raise AssertionError(f"{way} {name}: {replies}")
            connection.quit()

    def test_logs_of_us_what_it_logs_of_postfix(self):
        theirs, ours = ([tuple(side.masked(_without_times(word)) for word in fate) for fate in self.clients[side.label].fates()]
                        for side in self.sides)
        self.assertEqual(sorted(ours), sorted(theirs))

    def test_passes_on_what_arrives_at_postfix(self):
        self.assertEqual(self.arrived["postfleet"].keys(), self.arrived["postfix"].keys())
        for sender in self.arrived["postfix"]:
            with self.subTest(sender):
                theirs, ours = (sorted(map(relayed, self.arrived[side.label][sender])) for side in self.sides)
                self.assertEqual(ours, theirs)

    def test_passes_on_each_copy_once(self):
        for way in self.KIND.WAYS:
            for name, mail in self.mails().items():
                with self.subTest(way=way, mail=name):
                    found = self.arrived["postfleet"].get(self.sender(way, name), [])
                    self.assertEqual(len(found), mail.times * len(mail.takers()))


def _as_bytes(address):
    """For a connection that speaks Latin-1: each byte of UTF-8 is a letter."""
    return address.encode().decode("latin-1")


def _without_times(text):
    return re.sub(_COUNT, "Ok: N bytes", re.sub(r"delays?=[\d./]+, ?", "", text))


class FromPostfix(_Relayed, Both):
    KIND = PostfixClient


class FromExim(_Relayed, Both):
    KIND = EximClient

    def test_sends_chunks_where_it_may(self):
        counted = self.postfleet.disconnections()
        self.assertTrue(any(" bdat=" in line for line in counted), counted)
        self.assertTrue(any(" data=" in line for line in counted), counted)

    def test_is_told_how_many_bytes_of_chunks_came(self):
        theirs, ours = ([int(count) for fate in self.clients[side.label].fates() for count in re.findall(_COUNT, fate[2])]
                        for side in self.sides)
        self.assertEqual(sorted(ours), sorted(theirs))
        self.assertGreater(len(ours), len(MAILS))


class FromOpensmtpd(_Relayed, Both):
    KIND = OpensmtpdClient
