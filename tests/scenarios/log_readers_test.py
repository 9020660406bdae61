"""Programs that read Postfix's log read ours: pflogsumm, logwatch, fail2ban's filter, the Prometheus exporter.

The scenes of log_scenes.txt are played at real Postfix and at ours; each reader is given both logs, and says the same
of both. Before that the logs are made alike in what cannot be: times, delays, queue ids, and size=, which in Postfix
counts the framing of lines in its queue file. Scenes that are meant to differ are not played.
"""

import contextlib
import os
import pathlib
import re
import subprocess
import threading
import unittest
import urllib.request

import facts
import log_oracle_test
import log_scenes
import machine
import own_root
from deadlines import Missed, wait_until

_SECONDS_MAX = 60.0
_ID = re.compile(r"\b[0-9A-Za-z]{10}z[0-9A-Za-z]+\b")
# Postfix's own words for what the line before it says; a process that only we have.
_SKIPPED = re.compile(r"^.*(?:warning: mail_stream_cleanup: close error| postfix/queue\[\d+\]: .*)\n", re.MULTILINE)


def alike(log):
    log = _SKIPPED.sub("", log)
    log = re.sub(r"^\w{3} .\d \d\d:\d\d:\d\d", "Nov 23 12:00:00", log, flags=re.MULTILINE)
    log = re.sub(r"-- version \S+, configuration \S+", "-- version 3.9.0, configuration /etc/postfix", log)
    log = re.sub(r"delay=[\d.]+, delays=[\d./]+", "delay=1, delays=0/0/0/1", log)
    # Also a next server's port is the machine's choice.
    return re.sub(r"size=\d+, nrcpt", "size=1000, nrcpt", re.sub(r"\]:\d{4,5}\b", "]:25", log))


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=_SECONDS_MAX,
                          check=False, **options)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"{command[0]}: status {done.returncode}: {done.stderr}")
    return done.stdout


def lines_of(report):
    """In an order of their own: readers print what is equally frequent in any."""
    return sorted(re.sub(r"\[\d+\]", "[N]", _ID.sub("ID", line)).rstrip() for line in report.splitlines())


class LogReaders(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Postfix does: run ./dev test as root, as CI does")
        scenes = log_scenes.read(pathlib.Path(__file__).with_name("log_scenes.txt"))
        scenes = [scene for scene in scenes if scene.name not in log_oracle_test.KNOWN]
        sides = [log_oracle_test.Side(cls.enterClassContext, oracle) for oracle in (True, False)]
        threads = [threading.Thread(target=side.play, args=(scenes,)) for side in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if any(len(side.lines) != len(scenes) for side in sides):
            raise AssertionError("scenes were not played to their end")
        cls.folder = cls.enterClassContext(machine.folder())
        cls.logs = []
        for side in sides:
            path = cls.folder / f"{side.mta.folder.name}.log"
            path.write_text(alike(side.mta.log()))
            cls.logs.append(path)

    def assert_same(self, read):
        """The reports on Postfix's log and ours; returns ours."""
        theirs, ours = (read(path) for path in self.logs)
        self.assertEqual(lines_of(ours), lines_of(theirs))
        return ours

    def test_pflogsumm_sums_up_the_same(self):
        libraries = ":".join(str(own_root.unpacked(package) / folder) for package, folder in (
            ("libdate-calc-perl", "usr/share/perl5"), ("libcarp-clan-perl", "usr/share/perl5"),
            ("libbit-vector-perl", "usr/lib/x86_64-linux-gnu/perl5/5.36")))
        report = self.assert_same(lambda path: run(
            "perl", own_root.unpacked("pflogsumm") / "usr/sbin/pflogsumm", "--verbose-msg-detail", path,
            env={**os.environ, "PERL5LIB": libraries, "LC_ALL": "C"}))
        self.assertGreater(int(re.search(r"(\d+) +delivered", report)[1]), 20)
        self.assertGreater(int(re.search(r"(\d+) +bounced", report)[1]), 5)

    def test_logwatch_sums_up_the_same(self):
        share = own_root.unpacked("logwatch") / "usr/share/logwatch"

        def read(path):
            with open(path, encoding="utf-8") as log:
                return run("perl", share / "scripts/services/postfix", "--detail", "10", "--enable_long_queue_ids=1",
                           "-f", share / "default.conf/services/postfix.conf", stdin=log,
                           env={**os.environ, "PERL5LIB": str(share / "lib"), "LC_ALL": "C"})
        report = self.assert_same(read)
        self.assertIn("Reject relay denied", report)
        # It is older than postsuper -e.
        unmatched = report.partition("**Unmatched Entries**")[2].splitlines()
        self.assertEqual([line for line in unmatched if line and "xpired" not in line], [])

    def test_fail2ban_finds_the_same_offenders(self):
        fail2ban = own_root.unpacked("fail2ban")
        filter_file = fail2ban / "etc/fail2ban/filter.d/postfix.conf"
        found = 0
        for mode in ("normal", "auth", "rbl", "ddos", "extra", "more", "aggressive", "errors"):
            for form in ("ip", "row"):
                report = self.assert_same(lambda path, mode=mode, form=form: run(
                    "/usr/bin/python3", fail2ban / "usr/bin/fail2ban-regex", "-c", fail2ban / "etc/fail2ban", "-o", form,
                    path, f"{filter_file}[mode={mode}]",
                    env={**os.environ, "PYTHONPATH": str(fail2ban / "usr/lib/python3/dist-packages")}))
                found += report.count("127.0.0.")
        self.assertGreater(found, 40)

    def test_the_prometheus_exporter_counts_the_same(self):
        report = self.assert_same(self._exported)
        self.assertGreater(float(re.search(r"^postfix_smtpd_connects_total (\d+)", report, re.MULTILINE)[1]), 50)

    def _exported(self, path):
        log = self.folder / "followed.log"
        log.write_text("")
        port = machine.Port()
        program = own_root.unpacked("prometheus-postfix-exporter") / "usr/bin/prometheus-postfix-exporter"
        url = f"http://127.0.0.1:{port.number}/metrics"
        with contextlib.closing(port), subprocess.Popen(
                [program, f"--web.listen-address=127.0.0.1:{port.number}", f"--postfix.logfile_path={log}",
                 "--postfix.showq_path=/does/not/exist"], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL) as exporter:
            try:
                self._scrape(url, lambda text: "postfix_up" in text)
                # It reads from the end of the file, whenever it gets to it: a process that it knows of says that it has.
                self._scrape(url, lambda text: self._has_seen(text, "begin") or self._say(log, "begin"))
                with open(log, "a", encoding="utf-8") as output:
                    output.write(path.read_text())
                self._say(log, "end")
                return self._counters(self._scrape(url, lambda text: self._has_seen(text, "end")))
            finally:
                exporter.kill()

    @staticmethod
    def _get(url):
        with urllib.request.urlopen(url, timeout=_SECONDS_MAX) as answer:
            return answer.read().decode()

    def _scrape(self, url, enough):
        last = []

        def scraped():
            try:
                last[:] = [self._get(url)]
            except OSError:
                return None
            return last[0] if enough(last[0]) else None
        try:
            return wait_until("the exporter", scraped, _SECONDS_MAX, poll_seconds=0.1)
        except Missed:
            raise AssertionError(f"the exporter says only {last}") from None

    @staticmethod
    def _say(log, process):
        """A line of a process that Postfix has not: counted as unsupported, by name."""
        with open(log, "a", encoding="utf-8") as output:
            output.write(f"Nov 23 12:00:00 mta postfix/{process}[1]: x\n")

    @staticmethod
    def _has_seen(text, process):
        return f'postfix_unsupported_log_entries_total{{service="{process}"}}' in text

    @staticmethod
    def _counters(text):
        lines = (line for line in text.splitlines() if line.startswith("postfix_"))
        return "\n".join(line for line in lines if not re.search(r'_seconds|service="(begin|end)"', line))


if __name__ == "__main__":
    facts.main()
