"""What does not let it start, or not wholly: one clear line that says what, where and what to do."""

import contextlib
import os
import pathlib
import re
import socket
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

CONTENT = b"Subject: start\n\nbody\n"
_SEGMENT_HEADER_BYTES = 40
_RECORD_HEADER_BYTES = 40


class StartUp(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(machine.folder())

    def instance(self, main_cf=None, master_cf=harness.MASTER_CF, name="mta"):
        """Not started; ended with the fact."""
        mta = harness.Instance(self.folder, main_cf, master_cf, name)
        self.stack.callback(mta.kill)
        return mta

    def started(self, *arguments, **options):
        return self.stack.enter_context(self.instance(*arguments, **options))

    def assert_refuses(self, mta, pattern, seconds_max=harness.START_SECONDS_MAX):
        """It ends by itself, not with 0, and one line of standard error or the log says why."""
        mta.launch()
        status = mta.wait_for_end(seconds_max)
        said = mta.output() + mta.log()
        self.assertRegex(said, re.compile(pattern, re.MULTILINE))
        self.assertGreater(status, 0, said)

    def test_is_up_though_the_disk_is_full(self):
        mta = self.instance({"queue_minfree": str(1 << 60)})
        status, _, error = mta.run("postfix", "start")
        self.assertEqual(status, 0, error)
        self.stack.callback(mta.run, "postfix", "stop")
        with smtp_client.Client(mta.port) as client:
            self.assertEqual(client.command("MAIL FROM:<a@b.example>").code, 452)

    # Configuration

    def test_names_file_line_and_parameter_of_a_bad_value(self):
        mta = self.instance({"smtpd_timeout": "soon"})
        line = (mta.config / "main.cf").read_text().splitlines().index("smtpd_timeout = soon") + 1
        self.assert_refuses(mta, rf"fatal: .*smtpd_timeout.*soon.*(main\.cf.*\b{line}\b)")

    def test_names_file_and_line_of_a_broken_main_cf(self):
        mta = self.instance()
        path = mta.config / "main.cf"
        text = path.read_text()
        path.write_text(text + "this line has no equals sign\n")
        line = len(text.splitlines()) + 1
        self.assert_refuses(mta, rf"fatal: .*{path}, line {line}: missing '=' after attribute name: "
                                 r"\"this line has no equals sign\"")

    def test_names_file_and_line_of_a_broken_master_cf(self):
        mta = self.instance(master_cf=harness.MASTER_CF + "smtps inet n\n")
        self.assert_refuses(mta, rf"fatal: .*{mta.config}/master\.cf.*line {len(harness.MASTER_CF.splitlines()) + 1}\b")

    def test_names_a_missing_main_cf(self):
        mta = self.instance()
        (mta.config / "main.cf").unlink()
        self.assert_refuses(mta, rf"fatal: open {mta.config}/main\.cf: No such file or directory")

    def test_refuses_to_relay_for_everybody(self):
        mta = self.instance({"smtpd_relay_restrictions": "permit_mynetworks",
                             "smtpd_recipient_restrictions": ""})
        self.assert_refuses(mta, r"fatal: in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, "
                                 r"specify at least one working instance of: reject_unauth_destination")

    def test_names_an_unknown_user_in_mail_owner(self):
        machine.require_root(self)
        mta = self.instance({"mail_owner": "nosuchuser"})
        self.assert_refuses(mta, r"fatal: .*mail_owner.*nosuchuser")

    def test_warns_of_an_unknown_parameter_and_suggests_the_right_one(self):
        mta = self.started({"relayhots": "[127.0.0.1]:1"})
        mta.wait_for_log(r"warning: .*main\.cf: unused parameter: relayhots=\[127\.0\.0\.1\]:1 "
                         r"\(did you mean \"relayhost\"\?\)")

    def test_warns_of_a_parameter_that_it_does_not_support(self):
        mta = self.started({"qmqpd_error_delay": "2s"})
        mta.wait_for_log(r"warning: main\.cf line \d+: parameter \"qmqpd_error_delay\" is not supported yet; "
                         r"its value is ignored")

    def test_refuses_to_leave_out_a_protection_that_is_asked_for(self):
        self.assert_refuses(self.instance({"smtpd_milters": "inet:127.0.0.1:1"}),
                            r"fatal: parameter smtpd_milters = inet:127\.0\.0\.1:1 asks .*main\.cf, line \d+")

    # Tables

    def test_defers_by_name_when_the_table_of_recipients_is_missing(self):
        mta = self.started({"virtual_mailbox_domains": "box.example",
                            "virtual_mailbox_maps": f"texthash:{self.folder}/missing"})
        reply = smtp_client.deliver(mta.port, "a@client.example", ["bob@box.example"], CONTENT)
        self.assertRegex(reply.text, r"^451 4\.3\.0 <bob@box\.example>: Temporary lookup failure$")
        mta.wait_for_log(rf"(warning|error): .*texthash:?.*{self.folder}/missing.*No such file or directory")

    def test_never_loses_mail_to_a_missing_transport_table(self):
        """Postfix defers it; 451 to the client is as good."""
        mta = self.started({"transport_maps": f"hash:{self.folder}/missing", "relayhost": "[127.0.0.1]:1"})
        reply = smtp_client.deliver(mta.port, "a@client.example", ["bob@peer.example"], CONTENT)
        mta.wait_for_log(rf"(warning|error): .*hash:?.*{self.folder}/missing.*No such file or directory")
        if reply.code == 250:
            wait_until("the deferred message", lambda: [
                entry for entry in mta.queued() if entry["queue_name"] == "deferred"])
        else:
            self.assertRegex(reply.text, r"^451 4\.3\.0 ")
        self.assertEqual(mta.find_log("status=bounced"), [])

    # What is taken

    def test_names_a_port_in_use(self):
        mta = self.instance()
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", mta.port))
        taken.listen()
        self.assert_refuses(mta, rf"fatal: bind 127\.0\.0\.1 port {mta.port}.*Address already in use.*(stop|change)")

    def test_refuses_a_second_instance_on_one_queue(self):
        first = self.started()
        second = self.instance({"queue_directory": first.queue}, name="second")
        self.assert_refuses(second, r"fatal: the (Postfix )?mail system is already running")
        self.assertTrue(harness.greets(first.port))

    # Folders

    def test_names_a_queue_directory_that_it_may_not_use(self):
        mta = self.instance()
        own = mta.queue / "postfleet"
        if machine.IS_ROOT:
            # Root makes and gives away what it may enter: what is below belongs to somebody else.
            own.mkdir()
            state = own / "state"
            state.mkdir(mode=0o700)
            pattern = rf"fatal: .*{state}.*([Pp]ermission denied)"
        else:
            mta.queue.chmod(0)
            self.addCleanup(mta.queue.chmod, 0o755)
            pattern = rf"fatal: .*{mta.queue}.*([Pp]ermission denied)"
        self.assert_refuses(mta, pattern)

    def test_names_a_queue_directory_below_a_folder_that_is_missing(self):
        mta = self.instance({"queue_directory": self.folder / "no" / "such" / "folder"})
        self.assert_refuses(mta, rf"fatal: .*queue_directory.*{self.folder}/no/such/folder.*No such file or directory")

    # The log

    def queue_with_mail(self, messages=3):
        """Killed with deferred mail in its log; (instance, peer, the newest segment)."""
        peer = self.stack.enter_context(RecordingServer())
        peer.answer("CONNECT", "421 4.3.2 not today")
        mta = self.started({"relayhost": f"[127.0.0.1]:{peer.port}"})
        for number in range(messages):
            reply = smtp_client.deliver(mta.port, "a@client.example", [f"r{number}@peer.example"], CONTENT)
            self.assertEqual(reply.code, 250, reply)
        mta.kill()
        segments = sorted((mta.queue / "postfleet" / "log").glob("*.seg"))
        self.assertTrue(segments)
        return mta, peer, segments[-1]

    def test_starts_with_garbage_at_the_end_of_the_log_and_says_so_once(self):
        mta, peer, segment = self.queue_with_mail()
        end = _end_of_records(segment)
        with open(segment, "r+b") as log:
            log.seek(end)
            log.write(os.urandom(3000))
        peer.forget_answers()
        mta.start()
        lines = mta.wait_for_log(rf"warning: .*{re.escape(segment.name)}: torn tail at offset {end}\b")
        self.assertEqual(len(lines), 1)
        mta.run("postqueue", "-f")
        peer.wait_for(3, hopeless=mta.why_ended)
        self.assertEqual(sorted(message.recipients[0] for message in peer.messages),
                         [f"r{number}@peer.example" for number in range(3)])

    def test_refuses_a_log_that_is_damaged_in_the_middle(self):
        mta, _, segment = self.queue_with_mail()
        offset = _SEGMENT_HEADER_BYTES + _RECORD_HEADER_BYTES + 1
        with open(segment, "r+b") as log:
            log.seek(offset)
            byte = log.read(1)
            log.seek(offset)
            log.write(bytes([byte[0] ^ 0xff]))
        self.assert_refuses(mta, rf"fatal: .*{re.escape(str(segment))}: damaged at offset {_SEGMENT_HEADER_BYTES}\b")


def _end_of_records(segment):
    """Behind the last byte that is not zero, padded to 8: where the next record would go."""
    size = len(pathlib.Path(segment).read_bytes().rstrip(b"\0"))
    return (size + 7) // 8 * 8


if __name__ == "__main__":
    facts.main()
