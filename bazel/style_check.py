"""The rules of the house that a machine can see.

usage: style_check.py [root]

Errors (exit status 1):
  - a file, folder or type named after no concept: utils, helper, manager, common, processor
  - a sleep in a *_test.cc
  - a header of libs, services or commands that does not open with a comment
  - a parameter of main.cf that is marked as honoured and that no source reads (parameters_read.py)
Advice (printed only): files over 500 lines, functions over 70.
"""

import os
import re
import sys

import parameters_read

FILE_LINES_ADVISED_MAX = 500
FUNCTION_LINES_ADVISED_MAX = 70

SKIPPED_FOLDERS = {".git", "dist", "node_modules", "__pycache__"}
CXX = (".cc", ".h")

NAMELESS = ("util", "utils", "helpers", "manager", "common", "processor")
NAMELESS_PATH = re.compile(r"(^|[/_])(%s|helper)([/_.]|$)" % "|".join(NAMELESS))
NAMELESS_TYPE = re.compile(
    r"^\s*(?:class|struct|namespace)\s+(\w*(?:Util|Utils|Helper|Manager|Processor)|utils?|common)\b")
# The privileged delivery helper is a program with this name, not a bag of functions.
NAMED_HELPER = re.compile(r"services/delivery/privileged/helper[_.]|services/delivery/privileged/\w*helper")

SLEEP = re.compile(
    r"\b(?:sleep_for|sleep_until|SleepFor|usleep|nanosleep|clock_nanosleep)\s*\(|(?<![\w.:>])sleep\s*\(")
DOCUMENTED = re.compile(r"^(libs|services|commands)/.*\.h$")


def check_path(path):
    if NAMELESS_PATH.search(path) and not NAMED_HELPER.search(path):
        yield path, 1, "name it after what it does, not utils, helper, manager, common or processor"


def check_lines(path, lines):
    for number, line in enumerate(lines, 1):
        code = line.split("//")[0]
        if NAMELESS_TYPE.search(code):
            yield path, number, "name it after what it does: " + code.strip()
        if path.endswith("_test.cc") and SLEEP.search(code):
            yield path, number, "a test waits for an event or moves a fake clock; it does not sleep"


def check_manual(path, lines):
    if DOCUMENTED.search(path) and not (lines and lines[0].startswith(("//", "/*"))):
        yield path, 1, "a header opens with its manual: what, inputs, promises, errors"


def errors_of(path, lines):
    yield from check_path(path)
    yield from check_lines(path, lines)
    yield from check_manual(path, lines)


def advice_of(path, lines):
    if len(lines) > FILE_LINES_ADVISED_MAX:
        yield path, 1, "%d lines: do two things live in one room?" % len(lines)
    start = None
    for number, line in enumerate(lines, 1):
        # clang-format puts a function's closing brace where its first line began: in column 0.
        if re.match(r"[\w:~].*\{\s*$", line) and not line.startswith(("namespace", "class", "struct", "enum")):
            start = number
        elif line.startswith("}"):
            if start and number - start + 1 > FUNCTION_LINES_ADVISED_MAX:
                yield path, start, "a function of %d lines" % (number - start + 1)
            start = None


def sources(root):
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("bazel-"))
        for name in sorted(files):
            if name.endswith(CXX):
                yield os.path.relpath(os.path.join(folder, name), root)


def text_of(root, path):
    with open(os.path.join(root, path), errors="replace") as file:
        return file.read()


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(
        os.path.dirname(os.path.realpath(__file__)))
    errors, advice = [], []
    texts = {}
    for path in sources(root):
        texts[path] = text_of(root, path)
        lines = texts[path].splitlines()
        errors.extend(errors_of(path, lines))
        advice.extend(advice_of(path, lines))
    tables = {path: text_of(root, path) for path in parameters_read.TABLES}
    errors.extend(parameters_read.errors_of(tables, texts))
    for kind, findings in (("advice", advice), ("error", errors)):
        for path, line, text in findings:
            print("%s:%d: %s: %s" % (path, line, kind, text))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
