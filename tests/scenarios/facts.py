"""Runs the facts of one file: unittest, with a result for each fact on standard output and as JUnit XML.

Bazel names the XML file in XML_OUTPUT_FILE; bazel/test_summary.py counts its cases. A fact that is
skipped is neither passed nor failed. Arguments name facts or classes to run, as unittest takes them.
"""

import faulthandler
import os
import pathlib
import signal
import sys
import time
import traceback
import unittest
from xml.etree import ElementTree

# Shared with other folders of tests; every file of facts imports this one before what needs it.
sys.path.insert(1, str(pathlib.Path(__file__).parent.parent / "node"))

import harness
import machine

FACT_SECONDS_MAX = 150


class TooSlow(AssertionError):
    """A fact ran into its limit; raised in the test, so that it cleans up."""


class _Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.suite = ElementTree.Element("testsuite")

    def startTest(self, test):
        super().startTest(test)
        self._began = time.monotonic()
        self._bad = None
        print(f"[ RUN  ] {test.id()}", flush=True)
        signal.alarm(FACT_SECONDS_MAX)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        seconds = time.monotonic() - self._began
        module, name = test.id().rsplit(".", 1)
        case = ElementTree.SubElement(
            self.suite, "testcase", classname=module.removeprefix("__main__."), name=name, time=f"{seconds:.3f}")
        if self._bad:
            kind, text = self._bad
            ElementTree.SubElement(case, kind).text = _printable(text)
        word = {"failure": "FAILED", "skipped": " SKIP "}[self._bad[0]] if self._bad else "  OK  "
        print(f"[{word}] {name} ({seconds:.1f} s)", flush=True)

    def _fail(self, test, error):
        text = "".join(traceback.format_exception(*error))
        print(text, flush=True)
        harness.print_last_words()
        self._bad = ("failure", text)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._fail(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._fail(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            print(subtest.id())
            self._fail(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(reason, flush=True)
        self._bad = ("skipped", reason)
        if not isinstance(test, unittest.TestCase):  # a whole class, before any of its facts
            case = ElementTree.SubElement(self.suite, "testcase", classname="class", name=test.id(), time="0")
            ElementTree.SubElement(case, "skipped").text = _printable(reason)


def _printable(text):
    """XML 1.0 knows no control characters."""
    return "".join(c if c in "\n\t" or c >= " " else "?" for c in text)


def _too_slow(_signal, _frame):
    raise TooSlow(f"the fact took more than {FACT_SECONDS_MAX} s")


def main():
    faulthandler.enable()
    signal.signal(signal.SIGALRM, _too_slow)
    # Bazel ends a test that is too slow with SIGTERM: clean up then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    loader = unittest.TestLoader()
    module = sys.modules["__main__"]
    names = sys.argv[1:]
    tests = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = _Result()
    try:
        tests.run(result)
    finally:
        machine.close()
    if "XML_OUTPUT_FILE" in os.environ:
        ElementTree.ElementTree(result.suite).write(os.environ["XML_OUTPUT_FILE"], "utf-8", True)
    print(f"{result.testsRun} facts, {len(result.failures) + len(result.errors)} failed")
    sys.exit(0 if result.wasSuccessful() and (result.testsRun or result.skipped) else 1)
