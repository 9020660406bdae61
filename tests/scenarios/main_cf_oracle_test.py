"""How main.cf is read, beside real Postfix: `postconf -n` and `postconf -nx` of the texts in main_cf_variants.txt.

What Postfix's postconf ends with, ours warns of and goes on: it is the command with which one looks for what is wrong.
"""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

import facts
import machine

VARIANTS = pathlib.Path(__file__).with_name("main_cf_variants.txt")
HEAD = b"compatibility_level = 3.6\nmyhostname = mx.example.com\n"
MASTER_CF = "smtp inet n - n - - smtpd\nsmtp unix - - n - - smtp\n"
BYTES = {"<CR>": b"\r", "<TAB>": b"\t", "<VT>": b"\v", "<FF>": b"\f", "<NBSP>": b"\xc2\xa0", "<E9>": b"\xe9",
         "<UTF8>": "\u00fcber".encode()}
# What both say, if one of them does.
_SAID = re.compile(r"missing '=' after attribute name|missing attribute name|overriding earlier entry|"
                   r"#comment after other text|macro|expression|recursion|expand|operator|syntax|needs|expected")


def variants():
    found = {}
    for block in re.split(r"^== ", VARIANTS.read_text(), flags=re.MULTILINE)[1:]:
        name, text = block.split("\n", 1)
        text = re.sub(r"<x\*(\d+)>", lambda match: "x" * int(match.group(1)), text)
        content = text.encode()
        for mark, byte in BYTES.items():
            content = content.replace(mark.encode(), byte)
        content = content.replace(b"<NOEND>\n", b"")
        first = content.startswith(b"<FIRST>")
        found[name] = content[len(b"<FIRST>"):] + HEAD if first else HEAD + content
    return found


class MainCf(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.folder = self.enterContext(machine.folder())
        (self.folder / "master.cf").write_text(MASTER_CF)
        postfix = shutil.which("postconf", path=os.environ["PATH"] + ":/usr/sbin")
        self.sides = ([postfix], [str(machine.bin_folder() / "postfleet"), "postconf"])

    def both(self, *arguments):
        """(status, lines of output, what was said) of Postfix and of us."""
        results = []
        running = [subprocess.Popen([*command, "-c", self.folder, *arguments], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE) for command in self.sides]
        for process in running:
            out, err = process.communicate()
            said = [line for line in err.decode("latin-1").splitlines() if _SAID.search(line)]
            lines = [line for line in out.decode("latin-1").splitlines() if not line.startswith("config_directory =")]
            results.append((process.returncode, lines, said))
        return results

    def assert_same(self, texts, option):
        self.assertGreater(len(texts), 20)
        for name, text in texts.items():
            (self.folder / "main.cf").write_bytes(text)
            os.utime(self.folder / "main.cf", (1, 1))  # Postfix waits for a young file
            with self.subTest(f"{name} ({option})"):
                theirs, ours = self.both(option)
                if theirs[0] == 0:
                    self.assertEqual(ours[:2], theirs[:2])
                else:
                    self.assertTrue(theirs[2] and ours[2], f"{ours}\n{theirs}")

    def test_lines_are_read_as_postfix_reads_them(self):
        self.assert_same({name: text for name, text in variants().items() if b"$" not in text}, "-n")

    def test_expressions_stand_as_they_are_written(self):
        self.assert_same({name: text for name, text in variants().items() if b"$" in text}, "-n")

    def test_expressions_mean_what_they_mean_to_postfix(self):
        self.assert_same({name: text for name, text in variants().items() if b"$" in text}, "-nx")


if __name__ == "__main__":
    facts.main()
