"""Counts what `bazel test` ran, from its build event file.

usage: test_summary.py <build events, JSON lines> <exit status of bazel>

Prints each failed test with the end of its log, then one last line,
"N passed, N failed". Exits with 1 when something failed.

The unit is a test case of a target's test.xml. A target without one counts as
one case; so does a target that failed although no case of it did (it crashed,
ran out of time, or leaked). A case that was skipped is neither passed nor
failed. When nothing could be built, the build is the one failure.
"""

import json
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

LOG_LINES_MAX = 60
BAZEL_BUILD_FAILED = 1
BAZEL_TESTS_FAILED = 3


def read_results(lines):
    """{label: [(status, {file name: path})]}, one entry for each shard and run."""
    results = {}
    for line in lines:
        event = json.loads(line)
        if "testResult" not in event:
            continue
        result = event["testResult"]
        files = {
            file["name"]: urllib.parse.unquote(urllib.parse.urlparse(file.get("uri", "")).path)
            for file in result.get("testActionOutput", [])
        }
        entry = (result.get("status", "NO_STATUS"), files)
        attempts = results.setdefault(event["id"]["testResult"]["label"], {})
        # A retry of a flaky test replaces the attempt before it.
        attempts[(event["id"]["testResult"].get("shard"), event["id"]["testResult"].get("run"))] = entry
    return {label: list(attempts.values()) for label, attempts in results.items()}


def reason_of(skipped):
    """GoogleTest says it behind "<file>:<line>\\n", in an attribute; the scenarios in the text."""
    if skipped is None:
        return "not run"
    text = skipped.get("message") or skipped.text or "no reason given"
    return " ".join(re.sub(r"^\S+:\d+\s+", "", text).split())


def count_cases(xml_path):
    """(passed, failed names, {skipped name: reason}) of one test.xml, or None if there is none."""
    try:
        root = ElementTree.parse(xml_path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    passed, failed, skipped = 0, [], {}
    for case in root.iter("testcase"):
        name = ("%s.%s" % (case.get("classname", ""), case.get("name", ""))).lstrip(".")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped[name] = reason_of(case.find("skipped"))
        else:
            passed += 1
    return passed, failed, skipped


def count_target(status, files):
    """(passed, failed names, {skipped name: reason}) of one target's run."""
    counts = count_cases(files.get("test.xml", ""))
    if counts is None:
        counts = (1, [], {}) if status == "PASSED" else (0, [], {})
    passed, failed, skipped = counts
    if status != "PASSED" and not failed:
        failed = ["the program itself: " + status]
    return passed, failed, skipped


def print_failure(label, names, log_path):
    print("FAILED %s" % label)
    for name in names:
        print("  %s" % name)
    try:
        with open(log_path, errors="replace") as log:
            lines = log.readlines()
            # Bazel's own preamble ends with a rule of dashes.
            if len(lines) > 2 and lines[2].startswith("-----"):
                del lines[:3]
            for line in lines[-LOG_LINES_MAX:]:
                print("  | " + line.rstrip())
    except OSError:
        print("  | no log")


def summarize(lines, bazel_status):
    """Prints the summary; returns the exit status."""
    if bazel_status not in (0, BAZEL_TESTS_FAILED):
        print("FAILED: bazel ended with status %d" % bazel_status)
        print("0 passed, 1 failed")
        return 1
    passed, failed, skipped = 0, 0, 0
    for label, runs in sorted(read_results(lines).items()):
        for status, files in runs:
            run_passed, names, run_skipped = count_target(status, files)
            passed, failed, skipped = passed + run_passed, failed + len(names), skipped + len(run_skipped)
            for name, reason in run_skipped.items():
                print("SKIPPED %s %s: %s" % (label, name, reason))
            if names:
                print_failure(label, names, files.get("test.log", ""))
    if bazel_status != 0 and failed == 0:
        failed = 1
    if skipped:
        print("%d skipped" % skipped)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


def main():
    try:
        with open(sys.argv[1]) as events:
            lines = [line for line in events if line.strip()]
    except OSError:
        lines = []
    return summarize(lines, int(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
