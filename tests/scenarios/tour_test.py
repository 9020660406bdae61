"""The tour of README.md: its commands, in their order, print what it says they print.

A command is a line "    $ ..." of an indented block, what is below it is its output. Times, ids, process ids, sizes of
delays and the folder may differ; a line "..." stands for any others. Of what a pipe through tail prints, every line of
the README has to be there somewhere: what was logged in between is nobody's promise. The ports are the test's own.
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

import facts
import machine
import stock
from deadlines import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TOUR = re.compile(r"^## A tour in ten minutes$(.*?)^### ", re.MULTILINE | re.DOTALL)
README_PORT, README_METRICS, README_FOLDER = "127.0.0.1:2525", "127.0.0.1:9154", "/var/tmp/postfleet-1000"
MASKS = (
    (r"\b[0-9A-Za-z]{10}[0-9A-Za-z]*z[0-9A-Za-z]{2,}\b", "ID"),
    (r"\b(?:Sun|Mon|Tue|Wed|Thu|Fri|Sat) ", "DAY "),
    (r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d", "TIME"),
    (r"\[\d+\]: ", "[PID]: "),
    (r"delay=[\d.]+, delays=[\d./]+", "delay=D, delays=D"),
    (r"^ID[ *!]? +\d+", "ID SIZE"),
    (r"from=<\w+@mail\.example\.test>, size=\d+", "from=<USER@mail.example.test>, size=SIZE"),
)
COMMAND_SECONDS_MAX = 30.0


def commands(text):
    """(command, lines of output), in their order."""
    found = []
    for line in TOUR.search(text).group(1).splitlines():
        if line.startswith("    $ "):
            found.append((line[6:], []))
        elif found and line.startswith("    "):
            found[-1][1].append(line[4:])
        elif found and not line:
            found[-1][1].append("")  # within an output, or behind it
        elif found:
            found.append(("", []))  # text ends an output
    return [(command, output) for command, output in found if command]


def masked(line):
    for pattern, mask in MASKS:
        line = re.sub(pattern, mask, line)
    return line.rstrip()


def is_over(recipient, log):
    """Deferred, or delivered and gone from the queue."""
    found = re.search(rf": (\w+): to=<{recipient}>.* status=(\w+)", log)
    return found and (found.group(2) == "deferred" or f": {found.group(1)}: removed" in log)


class Shell:
    """One bash for all commands: what one sets, the next ones see."""

    def __init__(self, folder):
        self._process = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True, cwd=folder)

    def run(self, command):
        self._process.stdin.write(f"{command}\nprintf 'end of output\\n'\n")
        self._process.stdin.flush()
        return list(iter(self._process.stdout.readline, "end of output\n"))

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(COMMAND_SECONDS_MAX)


class Tour(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = self.enterContext(machine.folder()) / "instance"
        self.port, self.metrics = machine.Port(), stock.free_port()
        self.addCleanup(self.port.close)

    def start(self):
        """As ./dev run does, which would build first."""
        sys.path.insert(0, str(ROOT / "deploy" / "run"))
        import run  # pylint: disable=import-outside-toplevel
        run.prepare(self.folder, self.port.number, run.EXTRA.replace(README_METRICS, f"127.0.0.1:{self.metrics}"))
        server = subprocess.Popen([machine.bin_folder() / "postfleet", "-c", self.folder, "postfix", "start-fg"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(server.wait, COMMAND_SECONDS_MAX)
        self.addCleanup(subprocess.run, [machine.bin_folder() / "postfleet", "-c", self.folder, "postfix", "stop"],
                        capture_output=True)
        stock.wait_for_greeting(self.port.number)

    def here(self, text):
        """What the README says, for this test's folder and ports."""
        text = text.replace("/var/tmp/postfleet-$(id -u)", str(self.folder)).replace(README_FOLDER, str(self.folder))
        text = text.replace(README_PORT, f"127.0.0.1:{self.port.number}").replace(README_METRICS, f"127.0.0.1:{self.metrics}")
        return text.replace("dist/bin/", f"{machine.bin_folder()}/").replace("/tmp/message", f"{self.folder}/../message")

    def wait_for_what_was_sent(self, command):
        """The reader of the tour takes longer than a delivery."""
        log = self.folder / "mail.log"
        for recipient in re.findall(r"--mail-rcpt (\S+)|sendmail (\S+@\S+)", command):
            wait_until("an attempt", lambda name="".join(recipient): is_over(name, log.read_text()))

    def assert_prints(self, command, expected, output):
        want = [masked(line) for line in self.here("\n".join(expected)).rstrip().splitlines()]
        have = [masked(line) for line in output]
        if "..." in want:
            self.assertLessEqual(set(want) - {"..."}, set(have), command + "\n" + "\n".join(have))
        elif want:
            self.assertEqual(have, want, command)

    def test_prints_what_it_says(self):
        script = commands(README.read_text())
        self.assertGreater(len(script), 10)
        self.assertEqual(script.pop(0)[0], "./dev run")
        self.start()
        shell = Shell(self.folder)
        self.addCleanup(shell.close)
        shell.run('ls() { command ls -C -T 0 "$@"; }')  # as on a terminal
        for command, expected in script:
            output = shell.run(self.here(command))
            self.wait_for_what_was_sent(command)
            self.assert_prints(command, expected, output)
        self.assertFalse(stock.greets(self.port.number))


if __name__ == "__main__":
    facts.main()
