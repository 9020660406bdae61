"""Who runs as whom, seen in /proc: root is the delivery helper's alone, and a command is its user for good."""

import os
import pathlib
import pwd
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from stock import MASTER_CF

USER = "daemon"
_HELPER = "postfleet-delivery-helper"
_SCRIPT = """\
#!/bin/sh
cat > /dev/null
echo $$ > {folder}/pid
read line < {folder}/end
"""


def status(pid):
    """/proc/PID/status as {name: value}."""
    lines = pathlib.Path("/proc", str(pid), "status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def program(pid):
    return os.path.basename(os.readlink(f"/proc/{pid}/exe"))


class Rights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root: run ./dev test as root, as CI does")
        cls.user = pwd.getpwnam(USER)
        cls.folder = cls.enterClassContext(machine.folder())
        own = cls.folder / "own"
        own.mkdir()
        os.chown(own, cls.user.pw_uid, cls.user.pw_gid)
        os.mkfifo(own / "end", 0o666)
        os.chmod(own / "end", 0o666)
        script = own / "program"
        script.write_text(_SCRIPT.format(folder=own))
        script.chmod(0o755)
        cls.own = own
        cls.mta = cls.enterClassContext(harness.Instance(cls.folder, {
            "relay_domains": "command.example",
            "transport_maps": "inline:{ {command.example = command:} }",
            "relay_recipient_maps": "",
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "static:box/",
        }, MASTER_CF + f"command unix - n n - - pipe user={USER} argv={script}\n"))

    def test_only_the_helper_has_root(self):
        smtp_client.deliver(self.mta.port, "a@client.example", ["b@box.example"], b"Subject: x\n\nx\n")
        self.mta.wait_for_log(r"status=sent \(delivered to maildir\)")
        found = {}
        for pid in self.mta.processes():
            ids = set(status(pid)["Uid"].split()) | set(status(pid)["Gid"].split())
            found.setdefault(program(pid), set()).update(ids)
        self.assertIn("0", found.pop(_HELPER))
        self.assertIn("postfleetd", found)
        self.assertEqual({name for name, ids in found.items() if "0" in ids}, set())

    def test_the_server_has_no_privilege_left(self):
        [server] = [pid for pid in self.mta.processes() if program(pid) == "postfleetd"]
        found = status(server)
        owner = pwd.getpwnam(machine.MAIL_OWNER)
        self.assertEqual(found["Uid"].split(), [str(owner.pw_uid)] * 4)
        self.assertEqual(found["Gid"].split(), [str(owner.pw_gid)] * 4)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(found[name], 16), 0, name)
        self.assertNotIn("0", found["Groups"].split())

    def test_a_command_is_its_user_and_nobody_else(self):
        smtp_client.deliver(self.mta.port, "a@client.example", ["b@command.example"], b"Subject: x\n\nx\n")
        mark = self.own / "pid"
        wait_until("the command", lambda: mark.exists() and mark.read_text().endswith("\n"), hopeless=self.mta.why_ended)
        found = status(int(mark.read_text()))
        (self.own / "end").write_text("\n")
        self.assertEqual(found["Uid"].split(), [str(self.user.pw_uid)] * 4)
        self.assertEqual(found["Gid"].split(), [str(self.user.pw_gid)] * 4)
        self.assertEqual(found["Groups"].split(), [str(self.user.pw_gid)])
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(found[name], 16), 0, name)
        self.mta.wait_for_log(r"to=<b@command\.example>, .*status=sent")


if __name__ == "__main__":
    facts.main()
