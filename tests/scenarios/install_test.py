"""An installation into a folder: what lies where, that it works from there, and what stays of an administrator's files."""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import facts
import machine
import smtp_client
import stock
from deadlines import wait_until

INSTALL = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "install" / "install.py"
if not INSTALL.exists():
    INSTALL = pathlib.Path("deploy/install/install.py").resolve()


class Install(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(machine.folder())
        self.prefix = self.folder / "local"
        self.config = self.prefix / "etc" / "postfix"

    def install(self, *arguments, prefix=None):
        """What it said."""
        done = subprocess.run([sys.executable, "-B", INSTALL, machine.bin_folder(), "--prefix", prefix or self.prefix,
                               *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr

    def run_installed(self, name, *arguments):
        done = subprocess.run([self.prefix / "sbin" / name, "-c", self.config, *arguments], capture_output=True, text=True,
                              timeout=60, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def files(self):
        return {str(path.relative_to(self.prefix)) for path in self.prefix.rglob("*") if not path.is_dir()}

    def set_up_for_this_machine(self, port):
        """The stock configuration, with ports and folders of the test's own."""
        log = self.folder / "log"
        log.mkdir(mode=0o755)
        stock.give_to(log, machine.MAIL_OWNER)
        self.run_installed(
            "postconf", "inet_interfaces = 127.0.0.1", "inet_protocols = ipv4", "myhostname = mx.example",
            f"mail_owner = {machine.MAIL_OWNER}", f"maillog_file = {log}/mail.log", f"maillog_file_prefixes = {self.folder}",
            "mydestination =", "alias_maps =", "transport_maps = inline:{example.org=discard:}")
        if not machine.IS_ROOT:
            self.run_installed("postconf", f"setgid_group = {machine.MAIL_OWNER}")
        self.run_installed("postconf", "-F", f"smtp/inet/service={port}")
        return log / "mail.log"

    def test_runs_from_where_it_is_with_the_stock_configuration(self):
        self.assertIn(f"MAIL_CONFIG={self.config}", self.install())
        port = machine.Port()
        self.addCleanup(port.close)
        log = self.set_up_for_this_machine(port.number)
        self.run_installed("postfix", "start")
        self.addCleanup(subprocess.run, [self.prefix / "sbin/postfix", "-c", self.config, "stop"], capture_output=True)
        reply = smtp_client.deliver(port.number, "a@client.example", ["b@example.org"], b"Subject: x\n\nbody\n")
        self.assertEqual(reply.code, 250, reply)
        wait_until("the delivery", lambda: "relay=none, " in log.read_text() and "status=sent" in log.read_text())
        self.run_installed("postfix", "reload")
        self.assertEqual(self.run_installed("postqueue", "-p"), "Mail queue is empty\n")
        self.run_installed("postfix", "stop")
        self.assertFalse(stock.greets(port.number))

    def test_the_stock_configuration_is_without_a_warning(self):
        self.install()
        self.run_installed("postconf", "mydestination =", "alias_maps =", f"mail_owner = {machine.MAIL_OWNER}")
        self.assertNotIn("warning", self.run_installed("postconf", "-n"))
        names = {line.split()[0] for line in self.run_installed("postconf", "-M").splitlines()}
        for name in ("smtp", "pickup", "cleanup", "qmgr", "bounce", "local", "virtual", "lmtp", "relay", "error", "retry"):
            self.assertIn(name, names)

    def test_puts_programs_links_and_manual_where_they_are_looked_for(self):
        self.install()
        self.assertLessEqual({"libexec/postfleet/postfleetd", "libexec/postfleet/postfleet-launcher", "sbin/postfix",
                              "sbin/postconf", "bin/mailq", "sbin/sendmail", "share/man/man1/postqueue.1", "share/man/man5/postfleet.cf.5",
                              "share/man/man8/postfleetd.8", "lib/systemd/system/postfleet.service",
                              "share/postfleet/installed", "etc/postfix/main.cf", "etc/postfix/master.cf"}, self.files())
        self.assertEqual(os.readlink(self.prefix / "sbin/postfix"), "../libexec/postfleet/postfleet")

    def test_never_overwrites_a_configuration(self):
        self.install()
        for name in ("main.cf", "master.cf"):
            with open(self.config / name, "a") as file:
                file.write("# mine\n")
        said = self.install()
        for name in ("main.cf", "master.cf"):
            self.assertTrue((self.config / name).read_text().endswith("# mine\n"))
            self.assertEqual((self.config / f"{name}.new").read_text(), (self.prefix / "share/postfleet" / name).read_text())
            self.assertIn(f"{self.config}/{name} stays as it is; the shipped one is {self.config}/{name}.new", said)

    def test_says_nothing_of_a_configuration_that_nobody_changed(self):
        self.install()
        self.assertNotIn("stays as it is", self.install())
        self.assertFalse(list(self.config.glob("*.new")))

    def test_removes_what_it_installed_but_for_the_configuration(self):
        self.install()
        (self.prefix / "share" / "mine").write_text("x")
        self.install("--uninstall")
        self.assertEqual(self.files(), {"etc/postfix/main.cf", "etc/postfix/master.cf", "share/mine"})

    def test_a_package_is_made_below_its_own_root(self):
        root = self.folder / "root"
        self.install("--destdir", root, prefix="/usr")
        self.assertTrue((root / "usr/sbin/postfix").is_symlink())
        self.assertTrue((root / "etc/postfix/main.cf").exists())
        unit = (root / "usr/lib/systemd/system/postfleet.service").read_text()
        self.assertIn("ExecStart=/usr/sbin/postfix -c /etc/postfix start-fg\n", unit)
        self.assertNotIn(str(root), (root / "usr/share/postfleet/installed").read_text())

    def test_every_user_may_submit_by_postdrop(self):
        machine.require_root(self)
        self.install()
        postdrop = self.prefix / "libexec/postfleet/postdrop"
        self.assertEqual(postdrop.stat().st_mode & 0o7777, 0o2755)
        self.assertEqual(postdrop.group(), "postdrop")

    def test_the_unit_is_one_that_systemd_takes(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("needs systemd-analyze: apt-get install systemd")
        self.install()
        unit = self.prefix / "lib/systemd/system/postfleet.service"
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
        # It also reads the machine's own units.
        self.assertEqual([line for line in done.stderr.splitlines() if "postfleet.service" in line], [])


if __name__ == "__main__":
    facts.main()
