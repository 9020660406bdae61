"""Tests of style_check.py."""

import unittest

import style_check


def errors(path, text="// Manual.\n"):
    return [line for _, line, _ in style_check.errors_of(path, text.splitlines())]


class StyleCheckTest(unittest.TestCase):
    def test_nameless_files_and_folders_are_refused(self):
        for path in ("libs/common/a.cc", "libs/net/utils.cc", "libs/net/socket_util.cc",
                     "services/queue/helper.cc", "services/queue/lease_manager.cc"):
            self.assertEqual(errors(path), [1], path)

    def test_a_word_inside_another_is_no_nameless_file(self):
        for path in ("libs/net/utility_bill.cc", "libs/smtp/commonmark.cc",
                     "services/delivery/privileged/helper_main.cc"):
            self.assertEqual(errors(path), [], path)

    def test_nameless_types_are_refused(self):
        self.assertEqual(errors("libs/a/b.cc", "// M.\nclass QueueManager {\n"), [2])
        self.assertEqual(errors("libs/a/b.cc", "// M.\nclass Queue {  // no Manager\n"), [])

    def test_sleeps_are_refused_in_tests_only(self):
        text = "// M.\nstd::this_thread::sleep_for(1s);\nusleep(5);\nsleep(1);\nabsl::SleepFor(d);\n"
        self.assertEqual(errors("libs/a/b_test.cc", text), [2, 3, 4, 5])
        self.assertEqual(errors("libs/a/b.cc", text), [])
        self.assertEqual(errors("libs/a/b_test.cc", "// sleep(1)\nclock.sleep(1);\n"), [])

    def test_a_header_without_a_manual_is_refused(self):
        self.assertEqual(errors("libs/a/b.h", "#pragma once\n"), [1])
        self.assertEqual(errors("libs/a/b.h", "// What it does.\n#pragma once\n"), [])

    def test_long_functions_are_advised_by_their_first_line(self):
        lines = ["int F() {"] + ["  x();"] * 80 + ["}", "int G() {", "  x();", "}"]
        self.assertEqual([line for _, line, _ in style_check.advice_of("a.cc", lines)], [1])


if __name__ == "__main__":
    unittest.main()
