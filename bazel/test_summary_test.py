"""Tests of test_summary.py."""

import contextlib
import io
import json
import os
import tempfile
import unittest

import test_summary

XML = """<testsuites><testsuite name="S">
<testcase name="A" classname="S" status="run"/>
<testcase name="B" classname="S" status="run">%s</testcase>
<testcase name="C" classname="S" status="notrun"/>
</testsuite></testsuites>"""


class TestSummaryTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def event(self, label, status, xml=None, attempt=1):
        files = []
        if xml is not None:
            path = os.path.join(self.folder, label.strip("/") + str(attempt) + " a.xml")
            with open(path, "w") as file:
                file.write(xml)
            files = [{"name": "test.xml", "uri": "file://" + path.replace(" ", "%20")}]
        return json.dumps({
            "id": {"testResult": {"label": label, "run": 1, "attempt": attempt}},
            "testResult": {"status": status, "testActionOutput": files},
        })

    def summarize(self, lines, bazel_status):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = test_summary.summarize(lines, bazel_status)
        return status, out.getvalue().splitlines()

    def test_cases_are_counted_and_skipped_ones_are_neither(self):
        status, out = self.summarize([self.event("//a", "PASSED", XML % "")], 0)
        self.assertEqual((status, out), (0, ["SKIPPED //a S.C: not run", "1 skipped", "2 passed, 0 failed"]))

    def test_a_skipped_case_says_why(self):
        for reason in ('<skipped message="a/b_test.cc:7&#x0A;needs root&#x0A;"/>', "<skipped>needs root</skipped>"):
            _, out = self.summarize([self.event("//a", "PASSED", XML % reason)], 0)
            self.assertIn("SKIPPED //a S.B: needs root", out)
            self.assertEqual(out[-2:], ["2 skipped", "1 passed, 0 failed"])

    def test_a_failed_case_is_named(self):
        status, out = self.summarize([self.event("//a", "FAILED", XML % "<failure/>")], 3)
        self.assertEqual((status, out[-1]), (1, "1 passed, 1 failed"))
        self.assertIn("  S.B", out)

    def test_a_target_without_cases_counts_as_one(self):
        _, out = self.summarize([self.event("//a", "PASSED"), self.event("//b", "TIMEOUT")], 3)
        self.assertEqual(out[-1], "1 passed, 1 failed")

    def test_a_target_that_fails_after_its_cases_passed_is_a_failure(self):
        status, out = self.summarize([self.event("//a", "FAILED", XML % "")], 3)
        self.assertEqual((status, out[-1]), (1, "2 passed, 1 failed"))

    def test_a_retry_replaces_the_attempt_before_it(self):
        lines = [self.event("//a", "FAILED", XML % "<failure/>", 1),
                 self.event("//a", "PASSED", XML % "", 2)]
        self.assertEqual(self.summarize(lines, 0)[1][-1], "2 passed, 0 failed")

    def test_a_failed_build_is_one_failure_whatever_ran_before_it(self):
        status, out = self.summarize([self.event("//a", "PASSED", XML % "")], 1)
        self.assertEqual((status, out[-1]), (1, "0 passed, 1 failed"))

    def test_a_failure_that_no_result_explains_is_counted(self):
        self.assertEqual(self.summarize([], 3)[1][-1], "0 passed, 1 failed")


if __name__ == "__main__":
    unittest.main()
