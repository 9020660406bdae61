"""A next server that says "later": what the administrator sees, and what postqueue and postsuper do."""

import contextlib
import time
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import DROP, RecordingServer

CONTENT = b"Subject: later\n\nbody\n"
BUSY = "450 4.2.0 busy <now>"
# Postfix's first retry comes after this; no fact waits for it.
MINIMAL_BACKOFF_SECONDS = 300


class ADeferredMessage(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.peer = stack.enter_context(RecordingServer())
        self.mta = stack.enter_context(harness.Instance(
            stack.enter_context(machine.folder()), {"relayhost": f"[127.0.0.1]:{self.peer.port}"}))
        self.reason = (f"host 127.0.0.1[127.0.0.1] said: {BUSY} (in reply to RCPT TO command)")

    def defer(self, recipients=("bob@peer.example",), refused=None):
        self.peer.answer("RCPT", BUSY, to=refused)
        reply = smtp_client.deliver(self.mta.port, "alice@client.example", list(recipients), CONTENT)
        self.mta.wait_for_log("status=deferred")
        return smtp_client.queue_id(reply)

    def wait_for_deferred(self, count=1):
        return wait_until(f"{count} deferred messages in postqueue -j", lambda: self.deferred(count))

    def deferred(self, count):
        queued = [entry for entry in self.mta.queued() if entry["queue_name"] == "deferred"]
        return queued if len(queued) == count else None

    def test_is_listed_by_postqueue_j_with_its_reason(self):
        before = int(time.time())
        queue_id = self.defer()
        [entry] = self.wait_for_deferred()
        self.assertEqual(entry["queue_id"], queue_id)
        self.assertEqual(entry["sender"], "alice@client.example")
        self.assertEqual(entry["recipients"], [{"address": "bob@peer.example", "delay_reason": self.reason}])
        self.assertIn(entry["arrival_time"], range(before, int(time.time()) + 1))
        self.assertIs(entry["forced_expire"], False)
        self.assertGreater(entry["message_size"], len(CONTENT))
        self.assertEqual(set(entry), {"queue_name", "queue_id", "arrival_time", "message_size", "forced_expire",
                                      "sender", "recipients"})

    def test_is_listed_by_postqueue_p_in_postfixs_form(self):
        queue_id = self.defer()
        self.wait_for_deferred()
        status, output, _ = self.mta.run("postqueue", "-p")
        self.assertEqual(status, 0)
        lines = output.splitlines()
        self.assertEqual(lines[0], "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------")
        self.assertRegex(lines[1], rf"^{queue_id} +\d+ (Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z][a-z] [ \d]\d "
                                   r"\d\d:\d\d:\d\d alice@client\.example$")
        self.assertEqual(lines[2].strip(), f"({self.reason})")
        self.assertEqual(lines[3].strip(), "bob@peer.example")
        self.assertRegex(lines[-1], r"^-- 0 Kbytes in 1 Request\.$")

    def test_is_logged_with_its_reason(self):
        queue_id = self.defer()
        [line] = self.mta.find_log(rf"postfix/smtp\[\d+\]: {queue_id}: to=<bob@peer\.example>, .*$")
        self.assertRegex(line.group(0), rf"relay=127\.0\.0\.1\[127\.0\.0\.1\]:{self.peer.port}, delay=[\d.]+, "
                                        r"delays=[\d./]+, dsn=4\.2\.0, status=deferred \(host ")
        self.assertTrue(line.group(0).endswith(f"status=deferred ({self.reason})"), line.group(0))

    def test_is_not_tried_again_before_its_time(self):
        self.defer()
        self.wait_for_deferred()
        tried = self.peer.count("RCPT")
        self.peer.forget_answers()
        # Another message's whole way is time enough for a retry that should not be.
        smtp_client.deliver(self.mta.port, "alice@client.example", ["carol@other.example"], CONTENT)
        self.peer.wait_for(1, hopeless=self.mta.why_ended)
        self.assertEqual(self.peer.count("RCPT"), tried + 1)
        self.assertEqual(len(self.wait_for_deferred()), 1)

    def test_is_delivered_at_once_by_postqueue_f(self):
        queue_id = self.defer()
        self.wait_for_deferred()
        self.peer.forget_answers()
        began = time.monotonic()
        self.assertEqual(self.mta.run("postqueue", "-f")[0], 0)
        self.peer.wait_for(1, hopeless=self.mta.why_ended)
        self.assertLess(time.monotonic() - began, MINIMAL_BACKOFF_SECONDS / 10)
        self.mta.wait_for_log(f"{queue_id}: removed$")
        self.mta.wait_until_empty()
        self.assertEqual(len(self.peer.messages), 1)

    def test_stays_with_a_new_reason_when_the_flush_fails_too(self):
        self.defer()
        self.wait_for_deferred()
        self.peer.forget_answers()
        self.peer.answer("MAIL", "451 4.3.0 not now")
        self.assertEqual(self.mta.run("postqueue", "-f")[0], 0)
        reason = "host 127.0.0.1[127.0.0.1] said: 451 4.3.0 not now (in reply to MAIL FROM command)"
        wait_until("the new reason", lambda: [
            entry for entry in self.mta.queued()
            if entry["queue_name"] == "deferred" and entry["recipients"][0].get("delay_reason") == reason])

    def test_is_removed_by_postsuper_d(self):
        queue_id = self.defer()
        self.wait_for_deferred()
        status, _, error = self.mta.run("postsuper", "-d", queue_id)
        self.assertEqual(status, 0, error)
        self.assertIn(f"postsuper: {queue_id}: removed", error)
        self.assertIn("postsuper: Deleted: 1 message", error)
        self.mta.wait_until_empty()
        self.peer.forget_answers()
        self.mta.run("postqueue", "-f")
        smtp_client.deliver(self.mta.port, "alice@client.example", ["carol@other.example"], CONTENT)
        self.peer.wait_for(1, hopeless=self.mta.why_ended)
        self.mta.wait_until_empty()
        self.assertEqual([message.recipients for message in self.peer.messages], [["carol@other.example"]])

    def test_keeps_only_the_recipients_that_were_refused(self):
        queue_id = self.defer(["bob@peer.example", "carol@peer.example"], refused="bob@peer.example")
        self.mta.wait_for_log("status=sent")
        [entry] = self.wait_for_deferred()
        self.assertEqual(entry["queue_id"], queue_id)
        self.assertEqual([to["address"] for to in entry["recipients"]], ["bob@peer.example"])
        self.assertEqual([message.recipients for message in self.peer.messages], [["carol@peer.example"]])
        self.peer.forget_answers()
        self.mta.run("postqueue", "-f")
        self.peer.wait_for(2, hopeless=self.mta.why_ended)
        self.mta.wait_until_empty()
        self.assertEqual([message.recipients for message in self.peer.messages],
                         [["carol@peer.example"], ["bob@peer.example"]])

    def test_survives_a_restart_with_its_reason(self):
        self.defer()
        [before] = self.wait_for_deferred()
        self.assertEqual(self.mta.stop(), 0)
        self.mta.start()
        [after] = self.wait_for_deferred()
        self.assertEqual(after, before)


class AServerInTrouble(unittest.TestCase):
    """The words of Postfix for each way in which a session can fail."""

    def reason_for(self, verb, reply, **rule):
        with RecordingServer() as peer, machine.folder() as folder, \
                harness.Instance(folder, {"relayhost": f"[127.0.0.1]:{peer.port}"}) as mta:
            peer.answer(verb, reply, **rule)
            smtp_client.deliver(mta.port, "alice@client.example", ["bob@peer.example"], CONTENT)
            found = mta.wait_for_log(r"dsn=([\d.]+), status=deferred \((.*)\)$")
            self.assertEqual(peer.messages, [])
            return found[0].group(1), found[0].group(2)

    def test_that_refuses_the_connection_defers(self):
        self.assertEqual(self.reason_for("CONNECT", "421 4.3.2 full"), (
            "4.3.2", "host 127.0.0.1[127.0.0.1] refused to talk to me: 421 4.3.2 full"))

    def test_that_hangs_up_after_mail_defers(self):
        dsn, reason = self.reason_for("MAIL", DROP)
        self.assertEqual(dsn, "4.4.2")
        self.assertEqual(reason, "lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM")

    def test_that_hangs_up_after_the_content_defers(self):
        dsn, reason = self.reason_for("END", DROP)
        self.assertEqual(dsn, "4.4.2")
        self.assertEqual(reason, "lost connection with 127.0.0.1[127.0.0.1] while sending end of data "
                                 "-- message may be sent more than once")

    def test_that_refuses_the_content_for_now_defers(self):
        self.assertEqual(self.reason_for("END", "452 4.3.1 disk full"), (
            "4.3.1", "host 127.0.0.1[127.0.0.1] said: 452 4.3.1 disk full (in reply to end of DATA command)"))

    def test_that_does_not_listen_defers(self):
        port = machine.Port()
        self.addCleanup(port.close)
        with machine.folder() as folder, \
                harness.Instance(folder, {"relayhost": f"[127.0.0.1]:{port.number}"}) as mta:
            smtp_client.deliver(mta.port, "alice@client.example", ["bob@peer.example"], CONTENT)
            [line] = mta.wait_for_log(r"relay=none, .*dsn=4\.4\.1, status=deferred \((.*)\)$")
            self.assertEqual(line.group(1), f"connect to 127.0.0.1[127.0.0.1]:{port.number}: Connection refused")


if __name__ == "__main__":
    facts.main()
