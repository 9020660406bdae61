"""What `sendmail -v` and `sendmail -bv` report by mail and what `sendmail -XV` makes of senders, beside real Postfix."""

import contextlib
import re
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from sendmail_test import Side, has_group, masked

PARAMETERS = {
    "myorigin": "box.test",
    "virtual_mailbox_domains": "box.test",
    "virtual_mailbox_maps": "inline:{box@box.test=box/,two@box.test=two/,s@box.test=s/}",
    "default_transport": "discard",
    "transport_maps": "inline:{y.test=discard:,d.test=retry:4.0.0_try_later,e.test=error:5.1.1_go_away}",
}
# Clients that may say XVERP.
VERP_CLIENTS = {"smtpd_authorized_verp_clients": "127.0.0.0/8"}
DIALOGUE = (b"EHLO x\r\nMAIL FROM:<s@box.test> XVERP=ab\r\nMAIL FROM:<> XVERP\r\nMAIL FROM:<s@box.test> XVERP=+=\r\n"
            b"MAIL FROM:<s@box.test> XVERP\r\nRSET\r\nMAIL FROM:<s@box.test> XVERP SIZE=5\r\nRCPT TO:<box@box.test>\r\n"
            b"DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nMAIL FROM:<s@box.test> SIZE=5 XVERP=-+\r\nRCPT TO:<two@box.test>\r\n"
            b"DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n")
TEXT = b"Subject: x\n\nbody\n"
VERP_FORMS = (
    ["-XV", "-f", "s@box.test"], ["-XV=+", "-f", "s@box.test"], ["-V", "-f", "s@box.test"], ["-V-=", "-f", "s@box.test"],
    ["-XV="], ["-XVab"], ["-XV", "-f", ""], ["-Vab", "-f", "s@box.test"],
)


def paragraphs(mail):
    """What it says, whatever order its recipients come in."""
    text = masked(mail.decode())
    text = re.sub(r"ID\.\d+/", "BOUNDARY/", text)
    text = re.sub(r"\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}(?: \(\w+\))?", "DATE", text)
    return sorted(text.split("\n\n"))


@unittest.skipUnless(machine.IS_ROOT and has_group() is not None, "needs root and the group postdrop, for real Postfix")
class Reports(unittest.TestCase):
    def setUp(self):
        self.maxDiff = None
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        folder = self.stack.enter_context(machine.folder())
        self.sides = [
            Side(self.stack.enter_context(harness.Instance(folder, {**PARAMETERS, **VERP_CLIENTS}, name=name, oracle=oracle)))
            for name, oracle in (("real", True), ("ours", False))]

    def read(self, side, box, count):
        """The mails of a box, which are then gone from it."""
        new = side.mta.mail / box / "new"
        wait_until(f"{count} mails in {new}", lambda: len(list(new.glob("*"))) >= count, 30, side.mta.why_ended)
        mails = sorted(paragraphs(path.read_bytes()) for path in new.glob("*"))
        for path in new.glob("*"):
            path.unlink()
        return mails

    def compare(self, arguments, text, boxes):
        """boxes: how many mails come into each."""
        said = [side.send(arguments, text) for side in self.sides]
        self.assertEqual(said[1], said[0])
        for box, count in boxes.items():
            real, ours = (self.read(side, box, count) for side in self.sides)
            self.assertEqual(ours, real, box)
        return said[0]

    def test_report_tells_of_every_recipient(self):
        _, output, _ = self.compare(["-v", "-f", "s@box.test", "box@box.test", "a@y.test", "b@d.test"], TEXT, {"s": 1})
        self.assertEqual(output, "Mail Delivery Status Report will be mailed to <s@box.test>.\n")

    def test_failures_are_returned_and_reported(self):
        self.compare(["-v", "-f", "s@box.test", "box@box.test", "c@e.test", "nosuch@box.test"], TEXT, {"s": 2})

    def test_report_of_what_only_waits_comes_at_once(self):
        self.compare(["-v", "-f", "s@box.test", "b@d.test"], TEXT, {"s": 1})

    def test_null_sender_gets_no_report(self):
        self.compare(["-v", "-f", "", "box@box.test"], TEXT, {"box": 1})
        for side in self.sides:
            side.mta.wait_for_log("removed")

    def test_probe_is_delivered_nowhere_and_reported(self):
        _, output, _ = self.compare(
            ["-bv", "-f", "s@box.test", "box@box.test", "nosuch@box.test", "a@y.test", "b@d.test", "c@e.test"], TEXT, {"s": 1})
        self.assertEqual(output, "Mail Delivery Status Report will be mailed to <s@box.test>.\n")
        for side in self.sides:
            self.assertEqual(list((side.mta.mail / "box").glob("new/*")), [])
            self.assertEqual(len(re.findall(r"status=deliverable", side.mta.log())), 2)
            self.assertEqual(len(re.findall(r"status=undeliverable", side.mta.log())), 3)

    def test_probe_names_its_recipients_as_they_were_given(self):
        self.compare(["-bv", "-f", "s@box.test", "two", "Box Name <box@box.test>", "two,box@box.test"], TEXT, {"s": 1})

    def test_probe_goes_with_no_report_of_delivery(self):
        self.compare(["-bv", "-v", "-f", "s@box.test", "box@box.test"], TEXT, {})

    def test_probe_of_nobody_is_told_to_nobody(self):
        self.compare(["-bv", "-f", "", "box@box.test"], TEXT, {})
        for side in self.sides:
            side.mta.wait_for_log("removed")
            self.assertEqual(list((side.mta.mail / "box").glob("new/*")), [])

    def test_verp_sender_names_the_recipient(self):
        for arguments in VERP_FORMS:
            said = [side.send([*arguments, "box@box.test", "two@box.test"], TEXT) for side in self.sides]
            self.assertEqual(said[1], said[0], arguments)
            if said[0][0] != 0:
                continue
            for box in ("box", "two"):
                real, ours = (self.read(side, box, 1) for side in self.sides)
                self.assertEqual(ours, real, arguments)
                self.assertRegex(ours[0][0], rf"Return-Path: <s[-=+]{box}[-=+]box\.test@box\.test>")

    def test_dialogue_offers_verp_to_its_clients(self):
        said = [side.send(["-bs"], DIALOGUE) for side in self.sides]
        real, ours = ((status, masked(output), error) for status, output, error in said)
        self.assertEqual(ours, real)
        for box in ("box", "two"):
            real, ours = (self.read(side, box, 1) for side in self.sides)
            self.assertEqual(ours, real)

    def test_smtp_clients_may_ask_for_verp(self):
        for side in self.sides:
            with smtp_client.Client(side.mta.port) as client:
                for line in ("MAIL FROM:<s@box.test> XVERP=-=", "RCPT TO:<box@box.test>", "RCPT TO:<two@box.test>", "DATA"):
                    self.assertLess(client.command(line).code, 400, line)
                self.assertEqual(client.content(TEXT).code, 250)
                client.quit()
        for box in ("box", "two"):
            senders = [re.findall(r"Return-Path: (\S+)", self.read(side, box, 1)[0][0]) for side in self.sides]
            self.assertEqual(senders, [[f"<s-{box}=box.test@box.test>"]] * 2)

    def test_failure_of_verp_mail_returns_to_that_sender(self):
        words = r"to=<s\+nosuch=box\.test@box\.test>.*status=bounced"
        for side in self.sides:
            side.send(["-XV", "-f", "s@box.test", "nosuch@box.test", "absent@box.test"], TEXT)
            side.mta.wait_for_log(words)
            side.mta.wait_for_log(words.replace("nosuch", "absent"))


if __name__ == "__main__":
    facts.main()
