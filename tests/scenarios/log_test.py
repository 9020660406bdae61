"""The log's forms and places: JSON, rotation, standard output that nobody reads, lines of an administrator's own."""

import gzip
import json
import os
import re
import subprocess
import unittest

import facts
import machine
import smtp_client
from deadlines import wait_until
from harness import Instance
from smtp_peer import RecordingServer
from stock import MASTER_CF

_CONTENT = b"Message-Id: <one@sender.example>\nSubject: x\n\nbody\n"


class Log(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = self.enterContext(machine.folder())

    def instance(self, master_cf=MASTER_CF, **parameters):
        return self.enterContext(Instance(self.folder, {
            "virtual_mailbox_domains": "box.example", "virtual_mailbox_maps": "inline:{ r@box.example=r/ }",
            **parameters}, master_cf, oracle=False))

    def test_json_has_the_facts_of_postfixs_lines(self):
        with RecordingServer() as peer:
            mta = self.instance(postfleet_log_format="json", relayhost=f"[127.0.0.1]:{peer.port}")
            self.assertEqual(smtp_client.deliver(mta.port, "s@sender.example", ["r@peer.example"], _CONTENT).code, 250)
            self.assertEqual(smtp_client.deliver(mta.port, "s@sender.example", ["no@box.example"], _CONTENT).code, 550)
            mta.wait_for_log(r'"event":"removed"')
            mta.wait_for_log(r'"event":"disconnect"', 3)
        lines = [json.loads(line) for line in mta.log().splitlines()]
        for line in lines:
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
            self.assertEqual(line["host"], "mta")
            self.assertIsInstance(line["pid"], int)
            self.assertTrue("event" in line or "message" in line, line)
        delivery = next(line for line in lines if line.get("event") == "delivery")
        self.assertEqual([delivery["process"], delivery["to"], delivery["dsn"], delivery["status"], delivery["relay"]],
                         ["postfix/smtp", "r@peer.example", "2.0.0", "sent", f"127.0.0.1[127.0.0.1]:{peer.port}"])
        self.assertIsInstance(delivery["delay"], (int, float))
        active = next(line for line in lines if line.get("event") == "queue_active")
        self.assertEqual([active["queue_id"], active["from"], active["nrcpt"]],
                         [delivery["queue_id"], "s@sender.example", 1])
        message_id = next(line for line in lines if line.get("event") == "message_id")
        self.assertEqual(message_id["message_id"], "<one@sender.example>")
        reject = next(line for line in lines if line.get("event") == "reject")
        self.assertEqual([reject["stage"], reject["client"], reject["to"], reject["helo"], reject["proto"]],
                         ["RCPT", "localhost[127.0.0.1]", "no@box.example", "client.example", "ESMTP"])
        self.assertEqual([reject["code"], reject["text"][:7]], [550, "5.1.1 <"])

    def test_json_has_the_facts_of_local_mail_pipes_and_the_queue_manager(self):
        mta = self.instance(postfleet_log_format="json", transport_maps="inline:{ p.example=prog: }",
                            master_cf=MASTER_CF + "prog unix - n n - - pipe user=daemon argv=/nonexistent/command\n")
        done = subprocess.run([machine.bin_folder() / "sendmail", "-f", "s@sender.example", "x@p.example"],
                              input=_CONTENT, env={"MAIL_CONFIG": str(mta.config), "PATH": "/usr/bin"}, check=False, timeout=30)
        self.assertEqual(done.returncode, 0)
        mta.wait_for_log(r'"event":"delivery"')
        found = {}
        for line in map(json.loads, mta.log().splitlines()):
            found.setdefault(line.get("event"), line)
        self.assertEqual([found["pickup"]["uid"], found["pickup"]["from"]], [os.getuid(), "s@sender.example"])
        self.assertEqual(found["message_id"]["queue_id"], found["pickup"]["queue_id"])
        self.assertEqual([found["command_not_run"]["command"], found["command_not_run"]["text"]],
                         ["/nonexistent/command", "No such file or directory"])
        self.assertEqual(found["delivery"]["process"], "postfix/pipe")

    def test_json_is_valid_whatever_a_client_says(self):
        mta = self.instance(postfleet_log_format="json", mynetworks="127.0.0.9")
        with smtp_client.Client(mta.port, ehlo=None) as client:
            client.socket.sendall(b'EHLO a"b\\c\x01\xff\xc3\xa9\r\n')
            client.read_reply()
            client.command('MAIL FROM:<"x\\"y"@sender.example>')
            client.command("RCPT TO:<r@elsewhere.example>")
            client.quit()
        mta.wait_for_log(r'"event":"reject"')
        mta.wait_for_log(r'"event":"disconnect"', 2)
        for line in mta.log_path.read_bytes().splitlines():
            json.loads(line.decode("utf-8"))

    def test_rotation_keeps_every_line(self):
        mta = self.instance(maillog_file_rotate_suffix="old%Y")
        smtp_client.deliver(mta.port, "s@sender.example", ["r@box.example"], _CONTENT)
        mta.wait_for_log(": removed")
        status, _, error = mta.run("postfix", "logrotate")
        self.assertEqual((status, error), (0, ""))
        (old,) = self.folder.glob("mta/log/mail.log.old*.gz")
        smtp_client.deliver(mta.port, "s@sender.example", ["r@box.example"], _CONTENT)
        mta.wait_for_log(": removed")
        with gzip.open(old, "rt") as text:
            before = text.read()
        self.assertEqual(len(re.findall(": removed", before)), 1)
        self.assertEqual(len(re.findall(": removed", before + mta.log())), 2)

    def test_what_cannot_be_rotated_is_named(self):
        mta = self.instance(maillog_file_compressor="/does/not/exist")
        status, _, error = mta.run("postfix", "logrotate")
        self.assertEqual(status, 1)
        self.assertIn(f"logfile '{mta.log_path}' rotation failed: /does/not/exist: No such file or directory", error)

    def test_postlog_writes_as_the_mail_system_does(self):
        mta = self.instance()
        self.assertEqual(mta.run("postlog", "-p", "warn", "two", "words"),
                         (0, "", "postfix/postlog: warning: two words\n"))
        mta.run("postlog", "-t", "mine/own", "x\ty")
        log = mta.log()
        self.assertRegex(log, r"(?m)^\w{3} \d\d [\d:]{8} mta postfix/postlog\[\d+\]: warning: two words$")
        self.assertRegex(log, r"(?m) mta mine/own\[\d+\]: x\?y$")

    def test_mail_goes_on_while_nobody_reads_the_log(self):
        mta = Instance(self.folder, {
            "virtual_mailbox_domains": "box.example", "virtual_mailbox_maps": "inline:{ r@box.example=r/ }",
            "smtpd_hard_error_limit": "5000", "smtpd_soft_error_limit": "5000",
            "maillog_file": "/dev/stdout", "maillog_file_prefixes": "/dev/stdout"}, oracle=False)
        reading, writing = os.pipe()
        try:
            server = subprocess.Popen(mta.command_line("postfix", "start-fg"), stdin=subprocess.DEVNULL, stdout=writing,
                                      stderr=subprocess.DEVNULL, start_new_session=True)
            os.close(writing)
            mta.wait_for_greeting()
            with smtp_client.Client(mta.port) as client:
                # Some 100 KB of lines; the pipe takes 64.
                client.command("MAIL FROM:<s@sender.example>")
                for _ in range(500):
                    self.assertEqual(client.command("RCPT TO:<no@box.example>").code, 550)
                client.command("RSET")
                for _ in range(20):
                    self.assertEqual(client.send("", ["r@box.example"], _CONTENT).code, 250)
            wait_until("mail in the mailbox", lambda: len(mta.maildir("r")) == 20, 30, poll_seconds=0.1)
        finally:
            os.killpg(server.pid, 9)
            server.wait()
            mta.wait_for_group_end(server.pid)
            os.close(reading)


if __name__ == "__main__":
    facts.main()
