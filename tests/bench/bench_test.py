"""The bench's own arithmetic and reading, without any MTA."""

import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
_FOLDER = Path(__file__).parent
sys.path[:0] = [str(_FOLDER), str(_FOLDER.parent / "node")]

import accounting
import comparison
import load
import log_tail
import measure
import report
import rows
from deadlines import wait_until

_LINE = (b"Nov 22 18:20:10 mta postfix/smtp[1]: %s: to=<user@sink.example>, relay=127.0.0.1[127.0.0.1]:9, "
         b"delay=0.3, delays=%s, dsn=2.0.0, status=%s (250 2.0.0 Ok)\n")


def _line(qid=b"4XyZ", delays=b"0.1/0.2/0/0", status=b"sent"):
    return _LINE % (qid, delays, status)


class LogTailTest(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.path = Path(self._folder.name, "mail.log")

    def tail(self, **options):
        tail = log_tail.LogTail(self.path, **options)
        self.addCleanup(tail.close)
        return tail

    def append(self, text):
        with open(self.path, "ab") as log:
            log.write(text)

    def test_a_log_that_does_not_exist_yet_has_no_outcomes(self):
        tail = self.tail()
        tail.poll()
        self.assertEqual(tail.outcomes(), 0)

    def test_a_line_written_in_two_parts_counts_once(self):
        tail = self.tail()
        for cut in range(1, len(_line())):
            self.append(_line()[:cut])
            tail.poll()
            self.append(_line()[cut:])
            tail.poll()
            self.assertEqual(tail.sent, cut)

    def test_outcomes_are_told_apart(self):
        self.append(_line() + 2 * _line(status=b"deferred") + 3 * _line(status=b"bounced"))
        tail = self.tail()
        tail.poll()
        self.assertEqual((tail.sent, tail.deferred, tail.bounced), (1, 2, 3))

    def test_the_delay_is_that_of_the_first_attempt(self):
        self.append(_line(delays=b"0.1/0.25/9/9") + _line(delays=b"300/1/0/0"))
        tail = self.tail(delays=True)
        tail.poll()
        self.assertEqual(tail.first_attempt_delays(), [0.35])


def _result(rate, cpu=1.0, delays=()):
    result = measure.Result(
        node="x", row="relay_4k", messages=1000, seconds=1000 / rate, drained_seconds=1000 / rate,
        cpu_seconds=cpu, peak_memory_bytes=10**6, memory_samples=1, cgroup_peak_bytes=None,
        source_cpu_seconds=0.1, sink_cpu_seconds=0.1, harness_cpu_seconds=0.1)
    measure.read_first_attempts(result, sorted(delays))
    return result


class FiguresTest(unittest.TestCase):
    def test_the_ratio_is_the_median_of_pairs_not_the_ratio_of_medians(self):
        outcome = comparison.Outcome(rows.row_named("relay_4k"), [
            {"ours": _result(300), "theirs": _result(100)},
            {"ours": _result(200), "theirs": _result(40)},
            {"ours": _result(100), "theirs": _result(50)}])
        self.assertAlmostEqual(
            outcome.median_ratio("ours", "theirs", lambda result: result.rate), 3.0)

    def test_a_first_attempt_after_a_second_is_not_in_time(self):
        result = _result(100, delays=[0.1] * 94 + [1.5] * 6)
        self.assertAlmostEqual(result.first_attempts_in_time, 0.94)
        self.assertEqual(result.first_attempt_p95_seconds, 1.5)

    def test_the_table_has_a_cell_for_each_title(self):
        table = report.Report(["ours", "theirs"], "a test")
        table.add(comparison.Outcome(rows.row_named("relay_4k"),
                                     [{"ours": _result(300, 0.5), "theirs": _result(100, 2.0)}]))
        title, _, line = table.markdown().splitlines()[:3]
        self.assertEqual(title.count("|"), line.count("|"))
        self.assertEqual(line, "| relay_4k | 300 | 100 | 3.00 | 0.50 | 2.00 | 0.25 | 1 | 1 |")


class CheckTest(unittest.TestCase):
    """What makes a run's figures worthless."""

    def check(self, row, received=None, messages=0, **counts):
        tail = types.SimpleNamespace(**{"sent": 0, "deferred": 0, "bounced": 0} | counts)
        node = types.SimpleNamespace(
            name="x", mailbox_messages=lambda: messages, last_words=lambda: "")
        sink = None if received is None else types.SimpleNamespace(messages=lambda: received)
        return measure.check(rows.row_named(row), node, sink, tail, 10)

    def test_all_messages_at_the_sink_pass(self):
        self.assertEqual(self.check("relay_4k", received=10, sent=10), [])

    def test_a_big_mail_may_arrive_in_any_number_of_messages(self):
        self.assertEqual(self.check("big_and_small", received=4, sent=10), [])

    def test_a_recipient_without_its_line_fails(self):
        with self.assertRaises(measure.RunError):
            self.check("big_and_small", received=10, sent=9)

    def test_a_duplicate_or_lost_message_fails(self):
        for received in (9, 11):
            with self.assertRaises(measure.RunError):
                self.check("relay_4k", received=received, sent=10)

    def test_a_message_that_is_not_in_its_mailbox_fails(self):
        for row in ("maildir_4k", "mbox_4k"):
            with self.assertRaises(measure.RunError):
                self.check(row, messages=9, sent=10)

    def test_accepted_mail_that_was_sent_fails(self):
        with self.assertRaises(measure.RunError):
            self.check("accept_4k", deferred=9, sent=1)

    def test_a_bounce_fails(self):
        with self.assertRaises(measure.RunError):
            self.check("relay_4k", received=10, sent=9, bounced=1)


class TreeAccountTest(unittest.TestCase):
    def test_time_of_ended_grandchildren_counts(self):
        burn = "import time\nwhile time.process_time() < 0.3: pass"
        script = f"{sys.executable} -c '{burn}'; echo done; read wait"
        with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as child:
            account = accounting.TreeAccount()
            account.add_root(child.pid)
            self.assertEqual(child.stdout.readline(), b"done\n")
            self.assertEqual(account.pids(), [child.pid])
            self.assertGreaterEqual(account.cpu_seconds(), 0.25)
            account.close()
            self.assertEqual(child.wait(), -9)


class CounterTest(unittest.TestCase):
    def tool(self, output):
        script = "printf %s \"$1\"; read wait"
        tool = load.Tool(["/bin/sh", "-c", script, "sh", output], lambda: None)
        self.addCleanup(tool.close)
        return tool

    def test_only_a_whole_counter_is_read(self):
        tool = self.tool("7\r8\r9")
        wait_until("the counter 8", lambda: tool.read_counter() == b"8")


if __name__ == "__main__":
    unittest.main()
