"""The unit under a systemd that runs: start, mail, reload, a crash, stop. On a copy of this machine's root."""

import contextlib
import os
import pathlib
import signal
import subprocess
import unittest

import facts
import machine
from deadlines import Missed, wait_until

HERE = pathlib.Path(__file__).resolve().parent
SYSTEMD = pathlib.Path("/lib/systemd/systemd")
BOOT_SECONDS_MAX = 60.0
COMMAND_SECONDS_MAX = 60.0


class Booted:
    """A machine of its own: processes, network, folders. It is gone with its first process."""

    def __init__(self, folder):
        self._log = folder / "boot.log"
        with open(self._log, "wb") as log:
            self._unshare = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "--kill-child",
                 HERE / "systemd_machine.sh", folder, machine.bin_folder(), HERE.parent.parent / "deploy" / "install"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._first = None

    def __enter__(self):
        try:
            self._first = wait_until("the first process", self._find_first, BOOT_SECONDS_MAX, self._why_ended)
            wait_until("the end of the boot", self._is_up, BOOT_SECONDS_MAX, self._why_ended)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._unshare.pid, signal.SIGKILL)
        if self._first:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._first, signal.SIGKILL)
        self._unshare.wait()

    def _why_ended(self):
        return None if self._unshare.poll() is None else f"it ended: {self._log.read_text()}"

    def _find_first(self):
        children = pathlib.Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        return None

    def _is_up(self):
        return self.ask("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def ask(self, script):
        return subprocess.run(["nsenter", "-t", str(self._first), "-m", "-p", "-n", "-u", "-i", "-r", "-w", "bash", "-c", script],
                              capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, stdin=subprocess.DEVNULL, check=False)

    def run(self, script):
        """What it printed."""
        done = self.ask(script)
        if done.returncode != 0:
            raise AssertionError(f"{script}: {done.returncode}\n{done.stdout}{done.stderr}{self.journal()}")
        return done.stdout

    def journal(self):
        return self.ask("journalctl -u postfleet --no-pager -o cat").stdout

    def wait_for_journal(self, text, count=1):
        try:
            wait_until(f"{count} x {text!r} in the journal", lambda: self.journal().count(text) >= count)
        except Missed as missed:
            raise AssertionError(f"{missed}\n{self.journal()}") from missed


def require_systemd(case):
    machine.require_root(case)
    if not SYSTEMD.exists():
        case.skipTest("no systemd on this machine")
    if not pathlib.Path("/sys/fs/cgroup/cpu").is_dir():
        case.skipTest("its first process needs control groups of version 1 here")


class Unit(unittest.TestCase):
    def setUp(self):
        require_systemd(self)
        folder = self.enterContext(machine.folder())
        self.booted = self.enterContext(Booted(folder))
        self.booted.run("ip link set lo up && hostname mx.example && "
                        "python3 -B /opt/postfleet/install/install.py /opt/postfleet/programs && systemctl daemon-reload")

    def greeting(self):
        return self.booted.ask("exec 3<>/dev/tcp/127.0.0.1/25 && head -1 <&3").stdout.strip()

    def wait_for_greeting(self, text):
        wait_until(f"the greeting {text}", lambda: self.greeting() == text)

    def test_starts_delivers_reloads_recovers_and_stops(self):
        self.booted.run("systemctl start postfleet")
        self.wait_for_greeting("220 mx.example ESMTP Postfix")
        self.assertEqual(self.booted.run("systemctl show -p NRestarts --value postfleet").strip(), "0")

        # Through its confinement: sendmail, the helper, a mailbox of root's.
        self.booted.run("printf 'Subject: x\\n\\nhello\\n' | /usr/local/sbin/sendmail root")
        self.booted.wait_for_journal("status=sent (delivered to mailbox)")
        self.assertIn("hello", self.booted.run("cat /var/mail/root"))

        self.booted.run("/usr/local/sbin/postconf 'smtpd_banner = reloaded' && systemctl reload postfleet")
        self.wait_for_greeting("220 reloaded")

        self.booted.run("kill -KILL $(systemctl show -p MainPID --value postfleet)")
        wait_until("a restart", lambda: self.booted.ask(
            "systemctl show -p NRestarts --value postfleet").stdout.strip() == "1")
        self.wait_for_greeting("220 reloaded")

        self.booted.run("systemctl stop postfleet")
        self.assertEqual(self.booted.ask("systemctl is-active postfleet").stdout.strip(), "inactive")
        self.assertEqual(self.booted.ask("pgrep -f /usr/local/libexec/postfleet/").stdout, "")


if __name__ == "__main__":
    facts.main()
