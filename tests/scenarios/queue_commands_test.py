"""The administrator's commands on the queue, word by word as Postfix has them (SCENARIO_MTA=postfix asks it).

Ids, times and sizes differ; everything else is the same text, the same exit status.
"""

import contextlib
import re
import subprocess
import time
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

BUSY = "450 4.2.0 busy"
REASON = f"host 127.0.0.1[127.0.0.1] said: {BUSY} (in reply to RCPT TO command)"
SENDER = "alice@client.example"
CONTENT = b"Subject: later\n folded\nTo: bob@peer.example\n\nbody\n\n.dot\n"


class Case(unittest.TestCase):
    """One instance whose next server says "later"."""

    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.peer = stack.enter_context(RecordingServer())
        self.peer.answer("RCPT", BUSY)
        self.mta = stack.enter_context(harness.Instance(stack.enter_context(machine.folder()), {
            "relayhost": f"[127.0.0.1]:{self.peer.port}", "fast_flush_domains": "peer.example"}))
        self.names = {}

    def send(self, name, *recipients, sender=SENDER, content=CONTENT):
        """Deferred, and called `name` in what said() returns."""
        reply = smtp_client.deliver(self.mta.port, sender, list(recipients) or ["bob@peer.example"], content)
        queue_id = smtp_client.queue_id(reply)
        self.names[queue_id] = name
        self.wait_for_queue(queue_id, "deferred")
        return queue_id

    def wait_for_queue(self, queue_id, name):
        """name None: it is gone."""
        def is_there():
            queues = [entry["queue_name"] for entry in self.mta.queued() if entry["queue_id"] == queue_id]
            return queues == ([name] if name else [])
        wait_until(f"{queue_id} in {name}", is_there)

    def run_with(self, text, *command):
        done = subprocess.run(self.mta.command_line(*command), input=text, capture_output=True, text=True,
                              timeout=harness.COMMAND_SECONDS_MAX, check=False)
        return done.returncode, self.named(done.stdout), self.named(done.stderr)

    def said(self, *command, status=0):
        """What a command says on standard error, ids by their names.

        But for how much of the disk is free again: Postfix does not say that."""
        got, output, error = self.run_with("", *command)
        self.assertEqual((got, output), (status, ""), error)
        return [line for line in error.splitlines() if not line.startswith("postsuper: Freed: ")]

    def named(self, text):
        for queue_id, name in self.names.items():
            text = text.replace(queue_id, name)
        return text

    def queue_names(self):
        return {self.names.get(entry["queue_id"], "?"): entry["queue_name"] for entry in self.mta.queued()}


class Postsuper(Case):
    def test_holds_releases_and_deletes_by_id(self):
        a, b = self.send("A"), self.send("B")
        self.assertEqual(self.said("postsuper", "-h", a, "-h", "nosuch1"), [
            "postsuper: A: placed on hold", "postsuper: Placed on hold: 1 message"])
        self.assertEqual(self.queue_names(), {"A": "hold", "B": "deferred"})
        self.assertEqual(self.said("postsuper", "-h", a), ["postsuper: Placed on hold: 0 messages"])
        self.assertEqual(self.said("postsuper", "-H", a, "-H", a, "-H", b), [
            "postsuper: A: released from hold", "postsuper: Released from hold: 1 message"])
        self.wait_for_queue(a, "deferred")
        self.assertEqual(self.said("postsuper", "-d", a, "-d", b, "-d", a), [
            "postsuper: A: removed", "postsuper: B: removed", "postsuper: Deleted: 2 messages"])
        self.assertEqual(self.queue_names(), {})

    def test_does_several_options_in_their_order_and_sums_up_in_its_own(self):
        a, b, c, d = (self.send(name) for name in "ABCD")
        lines = self.said("postsuper", "-h", a, "-d", b, "-e", c, "-r", d, "-H", a)
        self.assertEqual(lines, [
            "postsuper: A: placed on hold", "postsuper: B: removed", "postsuper: C: expired",
            "postsuper: D: requeued", "postsuper: A: released from hold", "postsuper: Requeued: 1 message",
            "postsuper: Deleted: 1 message", "postsuper: Force-expired: 1 message",
            "postsuper: Placed on hold: 1 message", "postsuper: Released from hold: 1 message"])

    def test_all_works_on_the_queues_that_are_named(self):
        a = self.send("A")
        self.send("B")
        self.said("postsuper", "-h", a)
        self.assertEqual(self.said("postsuper", "-d", "ALL", "incoming", "active"),
                         ["postsuper: Deleted: 0 messages"])
        self.assertEqual(self.said("postsuper", "-d", "ALL", "hold"), ["postsuper: Deleted: 1 message"])
        self.assertEqual(self.queue_names(), {"B": "deferred"})
        self.assertEqual(self.said("postsuper", "-h", "ALL"), ["postsuper: Placed on hold: 1 message"])
        self.assertEqual(self.said("postsuper", "-e", "ALL"), ["postsuper: Force-expired: 1 message"])
        self.assertEqual(self.said("postsuper", "-f", "ALL"), [
            "postsuper: Force-expired: 0 messages", "postsuper: Released from hold: 1 message"])
        self.assertEqual(self.said("postsuper", "-d", "ALL"), ["postsuper: Deleted: 1 message"])
        self.assertEqual(self.queue_names(), {})

    def test_reads_ids_from_standard_input(self):
        a = self.send("A")
        self.send("B")
        status, output, error = self.run_with(f"{a}\n\nbad id\nnosuch1\n", "postsuper", "-h", "-")
        self.assertEqual((status, output), (0, ""))
        self.assertEqual(error.splitlines(), [
            "postsuper: A: placed on hold", "postsuper: warning: invalid mail queue id: ",
            "postsuper: warning: invalid mail queue id: bad id", "postsuper: Placed on hold: 1 message"])
        self.assertEqual(self.queue_names(), {"A": "hold", "B": "deferred"})

    def test_requeues_with_a_new_id_and_the_arrival_time_that_it_had(self):
        a = self.send("A")
        [before] = self.mta.queued()
        # Another second, so that a new arrival time would be another one.
        wait_until("another second", lambda: int(time.time()) > before["arrival_time"])
        self.peer.forget_answers()
        self.peer.answer("RCPT", BUSY)
        self.assertEqual(self.said("postsuper", "-r", a), [
            "postsuper: A: requeued", "postsuper: Requeued: 1 message"])
        if machine.ORACLE:
            subprocess.run(["/usr/sbin/postkick", "-c", str(self.mta.config), "public", "pickup", "W"], check=True)

        def again():
            entries = [entry for entry in self.mta.queued() if entry["queue_id"] != a]
            return entries if entries and entries[0]["queue_name"] == "deferred" else None
        [after] = wait_until("the message under another id", again)
        self.assertEqual(after["arrival_time"], before["arrival_time"])
        self.assertEqual(after["recipients"][0]["address"], "bob@peer.example")
        self.peer.forget_answers()
        self.mta.run("postqueue", "-f")
        self.assertEqual(len(self.peer.wait_for(1, hopeless=self.mta.why_ended)), 1)
        self.mta.wait_until_empty()
        self.assertEqual(len(self.peer.messages), 1)

    def test_returns_expired_mail_at_its_next_attempt(self):
        a = self.send("A")
        self.said("postsuper", "-e", a)
        [entry] = self.mta.queued()
        self.assertIs(entry["forced_expire"], True)
        self.assertRegex(self.named(self.mta.run("postqueue", "-p")[1]), r"(?m)^A# ")
        self.peer.forget_answers()
        self.peer.answer("RCPT", BUSY, to="bob@peer.example")
        self.mta.run("postqueue", "-f")
        [notice] = self.peer.wait_for(1, hopeless=self.mta.why_ended)
        self.assertEqual((notice.sender, notice.recipients), ("", [SENDER]))
        self.mta.wait_until_empty()

    def test_keeps_held_mail_from_a_flush(self):
        a, b = self.send("A"), self.send("B")
        self.said("postsuper", "-h", a)
        self.peer.forget_answers()
        self.mta.run("postqueue", "-f")
        self.wait_for_queue(b, None)
        self.assertEqual(self.queue_names(), {"A": "hold"})
        self.assertEqual(len(self.peer.messages), 1)
        self.said("postsuper", "-H", a)
        self.mta.run("postqueue", "-f")
        self.wait_for_queue(a, None)
        self.assertEqual(len(self.peer.messages), 2)

    def test_refuses_other_queues_and_options(self):
        self.send("A")
        self.assertEqual(self.said("postsuper", "-d", "ALL", "nosuch", status=1),
                         ["postsuper: fatal: invalid directory name: nosuch"])
        self.assertEqual(self.said("postsuper", "-d", status=1)[0],
                         "postsuper: option requires an argument -- 'd'")
        self.assertEqual(self.said("postsuper", "-x", status=1)[0], "postsuper: invalid option -- 'x'")
        self.assertEqual(self.said("postsuper", "-d", "ALL", "maildrop", "defer"), ["postsuper: Deleted: 0 messages"])
        self.assertEqual(self.said("postsuper", "-d", "all"), ["postsuper: Deleted: 0 messages"])
        self.assertEqual(self.queue_names(), {"A": "deferred"})

    def test_is_in_the_mail_log(self):
        a = self.send("A")
        self.said("postsuper", "-d", a)
        self.mta.wait_for_log(rf"postfix/postsuper\[\d+\]: {a}: removed$")
        self.mta.wait_for_log(r"postfix/postsuper\[\d+\]: Deleted: 1 message$")


class Postqueue(Case):
    def listing(self):
        status, output, error = self.run_with("", "postqueue", "-p")
        self.assertEqual((status, error), (0, ""))
        output = re.sub(r"(?m)^([A-Z][*!#]*) +\d+ ... ... [ \d]\d \d\d:\d\d:\d\d ", r"\1 SIZE TIME ", output)
        return output.splitlines()

    def test_marks_mail_and_groups_recipients_by_reason(self):
        a = self.send("A", "bob@peer.example", "carol@other.example", '"d e"@peer.example')
        self.send("B", sender="")
        self.said("postsuper", "-h", a)
        lines = self.listing()
        self.assertEqual(lines[0], "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------")
        self.assertEqual(lines[-1], "-- 0 Kbytes in 2 Requests.")
        blocks = sorted("\n".join(lines[1:-1]).strip("\n").split("\n\n"))
        head, *recipients = blocks[0].splitlines()
        self.assertEqual(head, "A! SIZE TIME alice@client.example")
        self.assertEqual(sorted(recipients), sorted([
            f"({REASON})".rjust(78), " " * 47 + "bob@peer.example", " " * 47 + "carol@other.example",
            " " * 47 + '"d e"@peer.example']))
        self.assertEqual(recipients[0], f"({REASON})".rjust(78))
        self.assertEqual(blocks[1].splitlines()[0], "B SIZE TIME MAILER-DAEMON")

    def test_says_that_the_queue_is_empty(self):
        self.assertEqual(self.run_with("", "postqueue", "-p"), (0, "Mail queue is empty\n", ""))
        self.assertEqual(self.run_with("", "postqueue", "-j"), (0, "", ""))

    def test_flushes_one_message(self):
        a = self.send("A")
        b = self.send("B")
        self.peer.forget_answers()
        self.assertEqual(self.said("postqueue", "-i", a), [])
        self.wait_for_queue(a, None)
        self.wait_for_queue(b, "deferred")
        self.assertEqual(self.said("postqueue", "-i", "nosuch1"), [])

    def test_flushes_one_site(self):
        a = self.send("A", "bob@peer.example")
        b = self.send("B", "bob@other.example")
        self.peer.forget_answers()
        self.assertEqual(self.said("postqueue", "-s", "peer.example"), [])
        self.wait_for_queue(a, None)
        self.wait_for_queue(b, "deferred")

    def test_refuses_sites_and_ids_in_postfixs_words(self):
        for command, words in (
                (("-s", "other.example"), 'Flush service is not configured for destination "other.example"'),
                (("-s", "a..b"), 'Cannot flush mail queue - invalid destination: "a..b"'),
                (("-i", "a.b"), 'Cannot flush queue ID - invalid name: "a.b"')):
            self.assertEqual(self.said("postqueue", *command, status=69)[-1], "postqueue: fatal: " + words)


class Postcat(Case):
    def shown(self, *command, status=0):
        got, output, error = self.run_with("", "postcat", *command)
        self.assertEqual((got, error), (status, ""))
        return output

    def test_shows_header_and_body(self):
        a = self.send("A")
        header, body = self.shown("-hq", a), self.shown("-bq", a)
        self.assertEqual(body, "\nbody\n\n.dot\n")
        self.assertIn("\nSubject: later\n folded\nTo: bob@peer.example\n", header)
        self.assertEqual(self.shown("-bhq", a), header + body)

    def test_shows_the_envelope(self):
        a = self.send("A", "bob@peer.example", "carol@other.example")
        lines = self.shown("-eq", a).splitlines()
        path = re.sub(r"^\*\*\* ENVELOPE RECORDS (.*) \*\*\*$", r"\1", lines[0])
        self.assertRegex(path, r"^deferred/[0-9A-F]/A$")
        self.assertRegex(lines[1], r"^message_size: ( +\d+){6}$")
        self.assertEqual([number for number in lines[1].split()[3:5]], ["2", "0"])
        rest = [re.sub(r"\d\d:\d\d:\d\d \d{4}$", "TIME", line) for line in lines[2:]]
        self.assertRegex(rest[0], r"^message_arrival_time: ... ... [ \d]\d TIME$")
        self.assertRegex(rest[1], r"^create_time: ... ... [ \d]\d TIME$")
        # What is not kept here is not shown.
        kept = [line for line in rest[2:] if not re.match(
            r"named_attribute: (rewrite_context|\w*client_port|reverse_client_name|server_\w+)=", line)]
        self.assertEqual(kept, [
            "named_attribute: log_ident=A", "sender: alice@client.example",
            "named_attribute: log_client_name=localhost", "named_attribute: log_client_address=127.0.0.1",
            "named_attribute: log_message_origin=localhost[127.0.0.1]",
            "named_attribute: log_helo_name=client.example", "named_attribute: log_protocol_name=ESMTP",
            "named_attribute: client_name=localhost", "named_attribute: client_address=127.0.0.1",
            "named_attribute: helo_name=client.example", "named_attribute: protocol_name=ESMTP",
            "named_attribute: client_address_type=2",
            "named_attribute: dsn_orig_rcpt=rfc822;bob@peer.example",
            "original_recipient: bob@peer.example", "recipient: bob@peer.example",
            "named_attribute: dsn_orig_rcpt=rfc822;carol@other.example",
            "original_recipient: carol@other.example", "recipient: carol@other.example",
            f"*** MESSAGE CONTENTS {path} ***", f"*** HEADER EXTRACTED {path} ***",
            f"*** MESSAGE FILE END {path} ***"])

    def test_shows_offsets_and_types_of_records(self):
        a = self.send("A")
        lines = self.shown("-bdoq", a).splitlines()
        self.assertTrue(all(re.match(r"[ \d]{9} [ \d]{3} ", line) for line in lines), lines)
        self.assertEqual([line[10:] for line in lines], [" 78 ", " 78 body", " 78 ", " 78 .dot"])
        offsets = [int(line[:9]) for line in lines]
        self.assertEqual([after - before for before, after in zip(offsets, offsets[1:])], [2, 6, 2])

    def test_refuses_in_postfixs_words(self):
        self.assertEqual(self.said("postcat", "-q", "nosuch1", status=1),
                         ["postcat: fatal: open queue file nosuch1: No such file or directory"])
        self.assertEqual(self.said("postcat", "-q", "a/b", status=1), ["postcat: fatal: bad mail queue ID: a/b"])


class Qshape(Case):
    def shape(self, *options):
        status, output, error = self.run_with("", "qshape", *options)
        self.assertEqual((status, error), (0, ""))
        return output

    def test_counts_recipients_by_domain_and_age(self):
        self.send("A", "a@peer.example", "b@peer.example", "c@other.example")
        self.send("B", "a@one.sub.example", "b@two.sub.example", sender="bob@client.example")
        head = " " * 41 + "T  5 10 20 40 80 160 320 640 1280 1280+\n"
        zeros = "  0  0  0  0   0   0   0    0     0\n"

        def row(name, count):
            return f"{name:>39}  {count}  {count}{zeros}"
        self.assertEqual(self.shape("deferred").splitlines(True)[:3],
                         [head, row("TOTAL", 5), row("peer.example", 2)])
        self.assertEqual(sorted(self.shape("deferred").splitlines(True)[3:]), sorted(
            [row("other.example", 1), row("one.sub.example", 1), row("two.sub.example", 1)]))
        self.assertIn(row(".sub.example", 2), self.shape("-p", "-m", "2", "deferred"))
        self.assertNotIn(" .sub", self.shape("-p", "deferred"))
        self.assertEqual(self.shape("-s", "deferred"), head + row("TOTAL", 2) + row("client.example", 2))
        self.assertEqual(self.shape(), head + row("TOTAL", 0))
        self.assertEqual(self.shape("-l", "-b", "3", "-t", "1", "deferred", "hold").splitlines()[:2],
                         [" " * 70 + "T  1  2 2+", " " * 63 + "TOTAL  5  5  0  0"])
        self.assertEqual(len(self.shape("-w", "120", "deferred").splitlines()[0]), 120)


class Verify(Case):
    """Postfix has no such command."""

    def setUp(self):
        if machine.ORACLE:
            self.skipTest("not a command of Postfix")
        super().setUp()

    def verify(self, *options):
        return self.run_with("", "queue", "verify", *options)

    def test_finds_a_sound_queue_sound(self):
        a = self.send("A", "bob@peer.example", "carol@other.example")
        self.send("B")
        self.said("postsuper", "-h", a)
        status, output, error = self.verify()
        self.assertEqual((status, error), (0, ""), output)
        self.assertRegex(output, r"^checked: 2 messages, 3 recipients, \d+ chunks, \d+ bytes; faults: 0\n$")

    def test_reads_the_folder_of_a_queue_that_does_not_run(self):
        self.send("A")
        folder = str(self.mta.queue)
        status, output, error = self.verify("--offline", folder)
        self.assertEqual((status, output), (1, ""))
        self.assertIn("postfleet: fatal: Cannot verify the queue - ", error)
        self.assertEqual(self.mta.stop(), 0)
        status, output, error = self.verify("--offline", folder)
        self.assertEqual((status, error), (0, ""), output)
        self.assertIn("; faults: 0\n", output)
        # It left nothing behind that keeps the server from starting.
        self.mta.start()
        self.assertEqual(self.queue_names(), {"A": "deferred"})


class Damage(Case):
    """Of the queue's files, by a flipped bit. Postfix has no checksums."""

    MARK = b"the only line of its kind"

    def setUp(self):
        if machine.ORACLE:
            self.skipTest("Postfix has no checksums")
        super().setUp()

    def places(self, folder):
        """(file, offset) of MARK in the files of one of the queue's folders."""
        found = []
        for path in (self.mta.queue / "postfleet" / folder).iterdir():
            with contextlib.suppress(FileNotFoundError):  # a compaction is done with it
                found += [(path, match.start()) for match in re.finditer(re.escape(self.MARK), path.read_bytes())]
        return found

    @staticmethod
    def flip(path, offset):
        with open(path, "r+b") as file:
            file.seek(offset)
            [byte] = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1]))

    def list_corrupt(self):
        return self.run_with("", "queue", "list", "-j", "corrupt")[1]


class CorruptMail(Damage):
    """In the store's files: Postfix moves what it cannot read to corrupt, and so do we."""

    # As long as bodies in files of their own are: another one's in the same block would be damaged, too.
    CONTENT = b"Subject: damaged\n\n" + 40 * (Damage.MARK + b"\n" + 60 * b"x" + b"\n")
    FILLER = b"Subject: filler\n\n" + 60_000 * (76 * b"f" + b"\n")

    def fill_store(self):
        """Until its buffers of 32 MiB are full, and what is in them is written to its files."""
        sent = []
        def is_written():
            if not self.places("state") and len(sent) < 12:
                sent.append(self.send("F", content=self.FILLER))
            return self.places("state")
        wait_until("the message in the store's files", is_written, hopeless=self.mta.why_ended, poll_seconds=0.2)
        for queue_id in sent:
            self.said("postsuper", "-d", queue_id)
        return len(sent)

    def test_is_never_delivered_and_can_be_seen_and_deleted(self):
        a = self.send("A", content=self.CONTENT)
        b = self.send("B")
        self.fill_store()
        self.assertEqual(self.mta.stop(), 0)
        for place in self.places("state"):
            self.flip(*place)
        self.peer.forget_answers()
        self.mta.start()
        self.mta.run("postqueue", "-f")

        wait_until("the message in corrupt", lambda: '"queue_id": "A"' in self.list_corrupt(),
                   hopeless=self.mta.why_ended)
        [reason] = re.findall(r'"corrupt_reason": "([^"]+)"', self.list_corrupt())
        self.assertIn("chunk 0", reason)
        self.wait_for_queue(b, None)
        self.assertEqual(self.run_with("", "postqueue", "-p"), (0, "Mail queue is empty\n", ""))
        self.assertIn(f"postcat: warning: A: message is corrupt: {reason}\n", self.run_with("", "postcat", "-q", a)[2])
        status, output, _ = self.run_with("", "queue", "verify")
        self.assertEqual(status, 1)
        self.assertIn("message A", output)
        self.assertEqual(self.said("postsuper", "-d", "ALL"), ["postsuper: Deleted: 0 messages"])
        self.assertEqual(self.said("postsuper", "-d", a), ["postsuper: A: removed", "postsuper: Deleted: 1 message"])
        self.assertEqual(self.list_corrupt(), "")

        # Other mail was delivered, and goes on being.
        smtp_client.deliver(self.mta.port, SENDER, ["bob@peer.example"], CONTENT)
        self.peer.wait_for(2, hopeless=self.mta.why_ended)
        self.mta.wait_until_empty()
        self.assertEqual([message.content.endswith(b"\r\n\r\nbody\r\n\r\n.dot\r\n") for message in self.peer.messages],
                         [True, True])


class CorruptLog(Damage):
    """The log has what the store's files do not have yet."""

    def test_is_refused_with_file_and_offset_and_nothing_is_changed(self):
        a = self.send("A", content=b"Subject: damaged\n\n" + self.MARK + b"\n")
        self.assertEqual(self.mta.stop(), 0)
        [(path, offset)] = self.places("log")
        self.flip(path, offset)
        before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        self.peer.forget_answers()
        self.mta.launch()
        self.assertNotEqual(self.mta.wait_for_end(), 0)
        said = self.mta.log() + self.mta.output()
        refused = re.search(rf"fatal: .*{re.escape(path.name)}: damaged at offset (\d+):", said)
        self.assertTrue(refused, said)
        self.assertLess(int(refused[1]), offset)
        self.assertEqual({file.name: file.read_bytes() for file in path.parent.iterdir()}, before)

        # Taken back, nothing is lost.
        self.flip(path, offset)
        self.mta.start()
        self.mta.run("postqueue", "-f")
        self.wait_for_queue(a, None)
        [message] = self.peer.wait_for(1, hopeless=self.mta.why_ended)
        self.assertTrue(message.content.endswith(b"\r\n" + self.MARK + b"\r\n"))


if __name__ == "__main__":
    facts.main()
