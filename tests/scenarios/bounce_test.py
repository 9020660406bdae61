"""Mail that cannot be delivered: one notice (RFC 3464) to the sender, and none to the null sender."""

import contextlib
import email
import email.policy
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

SENDER = "alice@box.example"
REFUSAL = "550 5.1.1 <%s>: no such user here"
CONTENT = (b"From: Alice <alice@box.example>\nTo: team@peer.example\nSubject: will not arrive\n"
           b"Message-Id: <lost@box.example>\n\nThe text of the lost message\n")


class ABouncedMessage(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.peer = stack.enter_context(RecordingServer())
        self.mta = stack.enter_context(harness.Instance(stack.enter_context(machine.folder()), {
            "relayhost": f"[127.0.0.1]:{self.peer.port}",
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "inline:{ alice@box.example=alice/ }",
        }))

    def send(self, *refused, sender=SENDER, accepted=()):
        for address in refused:
            self.peer.answer("RCPT", REFUSAL % address, to=address)
        reply = smtp_client.deliver(self.mta.port, sender, [*refused, *accepted], CONTENT)
        return smtp_client.queue_id(reply)

    def wait_for_notice(self):
        """The only one, once the queue is empty."""
        self.mta.wait_for_log(r"postfix/virtual\[\d+\]: .*status=sent")
        self.mta.wait_until_empty()
        [content] = self.mta.maildir("alice")
        return email.message_from_bytes(content, policy=email.policy.default)

    def test_gives_one_notice_with_the_three_parts_of_rfc_3464(self):
        self.send("bob@peer.example")
        notice = self.wait_for_notice()
        self.assertEqual(notice.get_content_type(), "multipart/report")
        self.assertEqual(notice["Content-Type"].params["report-type"], "delivery-status")
        self.assertEqual([part.get_content_type() for part in notice.iter_parts()],
                         ["text/plain", "message/delivery-status", "message/rfc822"])
        self.assertEqual(notice.defects, [])
        self.assertEqual([part.defects for part in notice.walk()], [[] for _ in notice.walk()])

    def test_gives_a_notice_with_postfixs_header(self):
        queue_id = self.send("bob@peer.example")
        notice = self.wait_for_notice()
        self.assertEqual(notice["Return-Path"], "<>")
        self.assertEqual(notice["From"], "Mail Delivery System <MAILER-DAEMON@mta.example>")
        self.assertEqual(notice["To"], SENDER)
        self.assertEqual(notice["Subject"], "Undelivered Mail Returned to Sender")
        self.assertEqual(notice["Auto-Submitted"], "auto-replied")
        self.assertEqual(notice["MIME-Version"], "1.0")
        self.assertIsNotNone(notice["Date"].datetime)
        self.assertRegex(notice["Message-Id"], r"^<\S+@mta\.example>$")
        self.assertEqual(len(notice.get_all("Received")), 1)
        self.assertRegex(notice["Received"], r"^by mta\.example \(Postfix\)")
        self.assertNotIn(queue_id, notice["Message-Id"])

    def test_gives_a_notice_with_the_status_fields_of_the_recipient(self):
        queue_id = self.send("bob@peer.example")
        _, status, _ = self.wait_for_notice().iter_parts()
        message, recipient = status.get_payload()
        self.assertEqual(message["Reporting-MTA"], "dns; mta.example")
        self.assertEqual(message["X-Postfix-Queue-ID"], queue_id)
        self.assertEqual(message["X-Postfix-Sender"], f"rfc822; {SENDER}")
        self.assertIsNotNone(email.utils.parsedate_to_datetime(message["Arrival-Date"]))
        self.assertEqual(recipient["Final-Recipient"], "rfc822; bob@peer.example")
        self.assertEqual(recipient["Original-Recipient"], "rfc822;bob@peer.example")
        self.assertEqual(recipient["Action"], "failed")
        self.assertEqual(recipient["Status"], "5.1.1")
        self.assertEqual(recipient["Remote-MTA"], "dns; 127.0.0.1")
        self.assertEqual(" ".join(recipient["Diagnostic-Code"].split()),
                         "smtp; " + REFUSAL % "bob@peer.example")

    def test_gives_a_notice_that_says_in_words_what_happened(self):
        self.send("bob@peer.example")
        text, _, _ = self.wait_for_notice().iter_parts()
        self.assertEqual(text["Content-Description"], "Notification")
        words = " ".join(text.get_content().split())
        self.assertIn("This is the mail system at host mta.example.", words)
        self.assertIn("<bob@peer.example>: host 127.0.0.1[127.0.0.1] said: 550 5.1.1 <bob@peer.example>: no such "
                      "user here (in reply to RCPT TO command)", words)

    def test_gives_a_notice_that_carries_the_message(self):
        self.send("bob@peer.example")
        _, _, original = self.wait_for_notice().iter_parts()
        self.assertEqual(original["Content-Description"], "Undelivered Message")
        [lost] = original.get_payload()
        self.assertEqual(lost["Message-Id"], "<lost@box.example>")
        self.assertEqual(lost["Return-Path"], f"<{SENDER}>")
        self.assertEqual(lost.get_payload(), "The text of the lost message\n")

    def test_gives_one_notice_for_two_recipients(self):
        self.send("bob@peer.example", "carol@peer.example")
        _, status, _ = self.wait_for_notice().iter_parts()
        recipients = status.get_payload()[1:]
        self.assertEqual(sorted(recipient["Final-Recipient"] for recipient in recipients),
                         ["rfc822; bob@peer.example", "rfc822; carol@peer.example"])
        self.assertEqual([recipient["Status"] for recipient in recipients], ["5.1.1", "5.1.1"])

    def test_reaches_those_who_were_not_refused(self):
        self.send("bob@peer.example", accepted=["dora@peer.example"])
        _, status, _ = self.wait_for_notice().iter_parts()
        self.assertEqual([part["Final-Recipient"] for part in status.get_payload()[1:]], ["rfc822; bob@peer.example"])
        self.assertEqual([message.recipients for message in self.peer.messages], [["dora@peer.example"]])

    def test_is_logged_with_its_notice(self):
        queue_id = self.send("bob@peer.example")
        self.wait_for_notice()
        [_] = self.mta.wait_for_log(rf"postfix/smtp\[\d+\]: {queue_id}: to=<bob@peer\.example>, .*dsn=5\.1\.1, "
                                    r"status=bounced \(host 127\.0\.0\.1\[127\.0\.0\.1\] said: 550 5\.1\.1 ")
        [line] = self.mta.wait_for_log(rf"postfix/bounce\[\d+\]: {queue_id}: sender non-delivery notification: (\S+)$")
        notice_id = line.group(1)
        self.mta.wait_for_log(rf"postfix/cleanup\[\d+\]: {notice_id}: message-id=<")
        self.mta.wait_for_log(rf"postfix/qmgr\[\d+\]: {notice_id}: from=<>, ")
        self.mta.wait_for_log(rf"{queue_id}: removed$")
        self.mta.wait_for_log(rf"{notice_id}: removed$")

    def test_of_the_null_sender_gives_no_notice(self):
        queue_id = self.send("bob@peer.example", sender="")
        self.mta.wait_for_log(f"{queue_id}: removed$")
        self.mta.wait_until_empty()
        self.assertEqual(self.mta.find_log("sender non-delivery notification"), [])
        self.assertEqual(self.mta.maildir("alice"), [])
        self.assertEqual(self.peer.messages, [])


if __name__ == "__main__":
    facts.main()
