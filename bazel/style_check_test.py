"""Tests of style_check.py."""

import unittest

import parameters_read
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


TABLE = """// Rows.
{"a_timeout", kTime, "1s", 1, "ingress", kHonoured, "Text."},
{"level", kString, "0", 0, "config", kHonoured, "Text."},
{"soft", kBool, "${{$level} <level {1} ? {yes} : {no}}", 0, "ingress", kPartly, "Text.", "", "hint"},
{"default_destination_recipient_limit", kInt, "50", 0, "scheduler", kHonoured, "Text."},
{"old", kBool, "no", 0, "ingress", kNotYet, "Text."},
{"other", kString, ""},
{.name = "guard", .type = kString, .default_value = "", .status = kProtective, .doc = "x"},
"""
READERS = {
    "services/a/options.cc": 'Time(config, "a_timeout"); config.GetBool("soft"); '
                             'config.GetInt(prefix + "recipient_limit");',
}


def parameter_errors(sources, table=TABLE):
    tables = {"libs/config/parameters.inc": table}
    return [line for _, line, _ in parameters_read.errors_of(tables, sources)]


class ParametersReadTest(unittest.TestCase):
    def test_parameters_that_are_read_pass(self):
        self.assertEqual(parameter_errors(READERS), [])

    def test_honoured_parameters_that_no_source_names_are_refused(self):
        self.assertEqual(parameter_errors({}), [2, 4, 5])

    def test_a_name_in_a_comment_a_test_or_the_checks_is_no_reader(self):
        text = READERS["services/a/options.cc"]
        for sources in ({"services/a/options.cc": "// " + text}, {"services/a/options_test.cc": text},
                        {"libs/config/config_check.cc": text}):
            self.assertEqual(parameter_errors(sources), [2, 4, 5])

    def test_a_parameter_of_config_alone_needs_a_default_that_refers_to_it(self):
        self.assertEqual(parameter_errors(READERS, TABLE.replace("$level", "$nosuch")), [3])

    def test_parameters_that_are_read_and_marked_as_unsupported_are_refused(self):
        more = {"services/b/b.cc": 'c.GetString("other"); c.GetString("guard"); c.GetBool("old");'}
        self.assertEqual(parameter_errors({**READERS, **more}), [7, 8])

    def test_rows_of_every_transport_are_read_by_their_ending(self):
        table = {"libs/config/parameters.cc":
                 '{"", "_destination_rate_delay", "default_destination_rate_delay", "", kTime,\n'
                 '     kHonoured},\n{"", "_recipient_limit", "d", "", kInt, kUnsupported},\n'}
        errors = [text for _, _, text in parameters_read.errors_of(table, {})]
        self.assertEqual(len(errors), 1)
        self.assertEqual(list(parameters_read.errors_of(
            table, {"services/s.cc": 'GetTime(prefix + "rate_delay")'})), [])

    def test_a_row_of_another_form_is_not_passed_over(self):
        with self.assertRaises(ValueError):
            parameter_errors({}, '{"x" , kBool},\n')


if __name__ == "__main__":
    unittest.main()
