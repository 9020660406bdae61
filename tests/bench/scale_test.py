"""The reading and judging of ./dev bench scale, without any MTA."""

import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import scale
import scale_node
import target_table

_DEFERRED = b"Nov 22 18:20:10 mta postfix/qmgr[1]: 4XyZ: to=<user@sink.example>, dsn=4.3.2, status=deferred (x)\n"


class DeferralsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "mail.log")

    def count(self, before, *after):
        """What is counted of `after`, written part by part behind `before`."""
        if before is not None:
            self.path.write_bytes(before)
        deferrals = scale_node._Deferrals(self.path)
        self.addCleanup(deferrals.close)
        for part in after:
            with open(self.path, "ab") as log:
                log.write(part)
            deferrals.poll()
        return deferrals.poll()

    def test_what_was_logged_before_does_not_count(self):
        self.assertEqual(self.count(_DEFERRED * 3, _DEFERRED, _DEFERRED * 2), 3)

    def test_a_log_that_comes_later_counts_from_its_beginning(self):
        self.assertEqual(self.count(None, _DEFERRED), 1)

    def test_a_line_counts_once_it_is_whole(self):
        self.assertEqual(self.count(b"", _DEFERRED[:-20]), 0)
        self.assertEqual(self.count(b"", _DEFERRED[:40], _DEFERRED[40:-1], b"\n"), 1)


class TableTest(unittest.TestCase):
    def test_a_missed_target_and_a_failure_are_counted(self):
        table = target_table.Table(scale.say)
        table.add("a", "1", "< 2", True)
        table.add("b", "3", "< 2", False)
        table.add("c", "4", "", None)
        table.failed("d", scale.ScaleError("why\nand more"))
        self.assertEqual(table.missed, 2)
        self.assertIn("| b | 3 | < 2 | NO |", table.markdown())
        self.assertIn("| d | failed: why |  | NO |", table.markdown())


if __name__ == "__main__":
    unittest.main()
