#!/usr/bin/env python3
"""Waits end with their event, and say so when there is none."""

import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

import deadlines

# Far beyond what any of these take; a wait that overlooks its event fails by it.
_LONG_SECONDS = 60.0


class WaitUntilTest(unittest.TestCase):
    def test_the_first_true_result_is_returned(self):
        results = iter([None, 0, "x", "y"])
        self.assertEqual(deadlines.wait_until("x", lambda: next(results), _LONG_SECONDS), "x")

    def test_time_that_is_up_is_missed(self):
        with self.assertRaisesRegex(deadlines.Missed, "^the event: not within 0 s$"):
            deadlines.wait_until("the event", lambda: False, 0)

    def test_a_reason_against_all_hope_ends_it(self):
        with self.assertRaisesRegex(deadlines.Missed, "^the event: it died$"):
            deadlines.wait_until("the event", lambda: False, _LONG_SECONDS, lambda: "it died")

    def test_it_looks_again_only_when_told(self):
        looks = []
        with deadlines.Signal() as signal:
            def happened():
                looks.append(1)
                if len(looks) < 4:
                    signal.set()
                return len(looks) == 4
            deadlines.wait_until("the fourth look", happened, _LONG_SECONDS, changes=signal)
        self.assertEqual(len(looks), 4)


class ChangesTest(unittest.TestCase):
    def test_a_signal_before_the_wait_is_not_missed_and_counts_once(self):
        with deadlines.Signal() as signal:
            signal.set()
            signal.set()
            self.assertTrue(signal.wait(_LONG_SECONDS))
            self.assertFalse(signal.wait(0))

    def test_a_signal_of_another_thread_ends_the_wait(self):
        with deadlines.Signal() as signal:
            thread = threading.Thread(target=signal.set)
            thread.start()
            self.assertTrue(signal.wait(_LONG_SECONDS))
            thread.join()

    def test_what_is_written_in_a_folder_ends_the_wait(self):
        with tempfile.TemporaryDirectory() as folder, deadlines.FolderChanges(folder) as changes:
            self.assertFalse(changes.wait(0))
            log = Path(folder, "log")
            log.touch()
            self.assertTrue(changes.wait(_LONG_SECONDS))
            with open(log, "a", encoding="ascii") as opened:
                self.assertFalse(changes.wait(0))
                opened.write("line\n")
                opened.flush()
                self.assertTrue(changes.wait(_LONG_SECONDS))

    def test_a_folder_that_is_not_there_is_an_error(self):
        with self.assertRaises(FileNotFoundError):
            deadlines.FolderChanges("/nonexistent")


class WaitForExitTest(unittest.TestCase):
    def test_a_process_that_lives_on_is_not_waited_for_longer(self):
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
            self.assertFalse(deadlines.wait_for_exit(child.pid, 0))
            child.stdin.close()
            self.assertTrue(deadlines.wait_for_exit(child.pid, _LONG_SECONDS))
        self.assertTrue(deadlines.wait_for_exit(child.pid, 0))


if __name__ == "__main__":
    unittest.main()
