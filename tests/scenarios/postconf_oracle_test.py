"""`postconf` beside Postfix's own: what it prints and what it makes of main.cf and master.cf."""

import difflib
import itertools
import os
import re
import shutil
import subprocess
import unittest

import facts
import machine

MAIN_CF = """# the first comment
myhostname = mx.example.com

#commented = x
mydestination = $myhostname,
  localhost
  # a comment within
  example.com
myorigin=$mydomain
used = a  value
foo = bar
mynetworks =
relay_domains = a.example
relay_domains = b.example $used
smtp_destination_rate_delay = 1s
virtual_mailbox_domains = aaaaaaaaaaaaaaaaaaaaaaa.example bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.example cccccccccccccccccc.example ddd.example
virtual_alias_domains = {0}
"""
MASTER_CF = """# services
#smtps inet n - n - - smtpd
#  -o x=y
smtp      inet  n       -       y       -       -       smtpd
submission inet n       -       y       -       -       smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=may -o { smtpd_client_restrictions = permit_mynetworks, reject }
127.0.0.1:10025 inet n - n - 10 smtpd -v -o mynetworks=127.0.0.1,10.0.0.0/8 -v
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
verylongservicename unix - n n - - pipe
  flags=DRXhu user=nobody:nogroup argv=/usr/bin/maildrop -d ${recipient} ${extension} ${user} ${nexthop} ${sender} end
"""
SHOWN = (
    "-n", "-nf", "-nx", "-nH", "-nh", "-n myhostname foo used mynetworks nosuch", "-d mydestination smtp_bind_address",
    "foo relay_domains nosuch", "-C user", "-C service -H", "-C user,service -n", "-x relay_domains used",
    "-o used=other -x relay_domains", "-o mynetworks=127.0.0.1 mynetworks", "-df proxy_read_maps",
    "-h myhostname mynetworks", "-f virtual_mailbox_domains virtual_alias_domains", "-p myhostname", "-l",
    "-M", "-Mf", "-Mx relay", "-M submission", "-M smtp/inet relay nosuch", "-M */inet", "-F", "-Ff verylongservicename",
    "-F submission/inet/chroot", "-Fh smtp/inet", "-FH smtp", "-F */*/chroot", "-P", "-Ph", "-PH", "-Pf", "-Px relay/unix",
    "-P submission/inet/syslog_name", "-P smtp", "-P */inet/mynetworks",
    "-a -n", "-t", "-b", "-b a b", "-bt", "-M -C user", "-d -C service", "-C service", "-Cservice -x", "-x mailbox_command smtpd_expansion_filter",
    "-nd", "-de", "-hH", "-e", "-Mn", "-FX a/b/c", "-P# a/b/c", "-C foo", "-ne a=b", "-MF")
EDITS = (
    ("-e", "mydestination=a, b"), ("newone = x  y", "myorigin = z"), ("-e", "relay_domains=q"), ("-X", "mydestination", "nosuch"),
    ("-X", "relay_domains"), ("-#", "mydestination", "nosuch"), ("-e", "multi=a\n b"), ("-e", "=x"), ("-e", "a b=c"),
    ("-e", "noequals"), ("-e", "mynetworks="), ("-e", "foo={ a = b }"), ("-e", "used = "),
    ("-Me", "smtp/inet=smtp inet n - n - - smtpd -o a=b"), ("-Me", "new/unix=new unix - - n - 2 pipe flags=F argv=x"),
    ("-M", "submission/inet=submission inet n - n - - smtpd -o x=y -o z=w"), ("-MX", "submission/inet", "nosuch/inet"),
    ("-M#", "relay/unix"), ("-M", "smtp=foo"), ("-M", "verylongservicename/unix=short unix - - n - - smtp"),
    ("-F", "smtp/inet/chroot=n", "127.0.0.1:10025/inet/process_limit=5", "*/unix/private=y"),
    ("-F", "relay/unix/command=smtp -o x=y"), ("-F", "smtp/inet/nosuch=1"), ("-Fe", "smtp/inet/chroot"),
    ("-P", "submission/inet/syslog_name=foo"), ("-P", "smtp/inet/new=a b"), ("-P", "127.0.0.1:10025/inet/mynetworks=x"),
    ("-PX", "submission/inet/syslog_name", "submission/inet/nosuch"), ("-Pe", "*/unix/x=y"),
    ("-PX", "submission/inet/smtpd_client_restrictions"))
# Of master.cf: each alone.
MASTER_LINES = (
    "smtp inet n - n - - smtpd -o a = b", "smtp inet n - n - - smtpd -o", "smtp inet n - n - - smtpd -o {a = b} -v -v",
    "smtp inet n - n - - smtpd -oa=b", "smtp unix - - n - - smtp -o {a}",
    "smtp inet n - n - - smtpd -o =b", "smtp inet n - n - - smtpd -o a=", "smtp inet n - n 1000? - /bin/x",
    "  smtp inet n - n - - smtpd", "[::1]:smtp inet n - n - - smtpd",
    "x unix - n n - 10 pipe flags=F user=a argv=/bin/x { a b } ${recipient} -o q=r",
    "x unix - n n - 10 pipe -v -o a=b flags=F -o q=r user=a argv=/bin/x",
    "submission inet n - y - - smtpd -o { smtpd_banner = a b } -o b={c d}")
# Each pair of these is taken, or refused in the same words.
LETTERS = ("-a", "-b", "-d", "-e", "-f", "-h", "-M", "-oused=b", "-P", "-t", "-x", "-X")
TEMPLATES = (
    "failure_template = <<EOF\nSubject: mine\nFrom: me\n\nOn $myhostname, $maximal_queue_lifetime_hours ${mail_name} $$ $(used)\nmore\nEOF\n",
    "# comment\n\nnosuch_template = <<EOF\nSubject: x\n\nt\nEOF\ndelay_template = <<END\n\nonly text\nEND\n",
    "success_template = <<EOF\nSubject: x\nEOF\n", "failure_template = <<EOF\nNosuch: x\n\ntext\nEOF\n",
    "verify_template = <<EOF\nSubject: \u00f6\n\ntext\nEOF\n", "failure_template = <<EOF\n\n$nosuch\nEOF\n", "")
# Both say it; what else they warn of is their own.
_SAID = re.compile(r": unknown parameter|: unmatched request|: fatal: |: multiple entries")
# -c is a parameter of main.cf there, and none here.
_OWN = re.compile(r"config_directory(?: =.*)?$")


class Side:
    def __init__(self, executable, *command):
        self._executable, self._command = executable, command

    def run(self, folder, arguments):
        """(status, standard output, standard error) in what both are meant to have."""
        os.utime(folder / "main.cf", (1, 1))  # Postfix waits for a young file
        result = subprocess.run([*self._command, "-c", str(folder), *arguments], executable=self._executable,
                                capture_output=True, text=True, check=False)
        return (result.returncode, [line for line in result.stdout.splitlines()
                                    if not _OWN.match(line) and line != str(folder)],
                [line.replace(str(folder), "CONFIG") for line in result.stderr.splitlines() if _SAID.search(line)])


class Postconf(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.enterClassContext(machine.folder())
        cls.folders = {name: folder / name for name in ("postfix", "postfleet")}
        cls.sides = {"postfix": Side(shutil.which("postconf", path=os.environ["PATH"] + ":/usr/sbin"), "postconf"),
                     "postfleet": Side(str(machine.bin_folder() / "postfleet"), "postfleet", "postconf")}

    def setUp(self):
        for folder in self.folders.values():
            folder.mkdir(exist_ok=True)
            (folder / "main.cf").write_text(MAIN_CF.format("e" * 90 + " f"))
            (folder / "master.cf").write_text(MASTER_CF)

    def both(self, *arguments):
        return [side.run(self.folders[name], arguments) for name, side in self.sides.items()]

    def test_prints_as_postfix_does(self):
        for line in SHOWN:
            with self.subTest(line):
                theirs, ours = self.both(*line.split())
                self.assertEqual(ours, theirs, "\n".join(difflib.unified_diff(theirs[1], ours[1], lineterm="", n=0)))

    def test_prints_lines_of_master_cf_as_postfix_does(self):
        for line in MASTER_LINES:
            for folder in self.folders.values():
                (folder / "master.cf").write_text(line + "\n")
            for option in ("-M", "-Mf", "-P", "-F"):
                with self.subTest((option, line)):
                    theirs, ours = self.both(option)
                    self.assertEqual(ours[:2], theirs[:2])

    def test_takes_and_refuses_options_together_as_postfix_does(self):
        for pair in itertools.combinations(LETTERS, 2):
            with self.subTest(pair):
                theirs, ours = self.both(*pair)
                self.assertEqual((ours[0], ours[2]), (theirs[0], theirs[2]))

    def test_shows_the_texts_of_notices_as_postfix_does(self):
        for text in TEMPLATES:
            for folder in self.folders.values():
                (folder / "notices").write_text(text)
                with open(folder / "main.cf", "a") as main_cf:
                    main_cf.write(f"bounce_template_file = {folder}/notices\n")
            for option in ("-t", "-b"):
                with self.subTest((option, text)):
                    theirs, ours = self.both(option)
                    self.assertEqual(ours[:2], theirs[:2])
            self.assertEqual(*(side[:2] for side in self.both("-t", "")))

    def test_edits_as_postfix_does(self):
        for arguments in EDITS:
            with self.subTest(arguments):
                self.setUp()
                theirs, ours = self.both(*arguments)
                self.assertEqual(ours[0], theirs[0], (ours, theirs))
                if theirs[0] == 0:
                    self.assertEqual(ours, theirs)
                for name in ("main.cf", "master.cf"):
                    texts = [(self.folders[side] / name).read_text() for side in ("postfix", "postfleet")]
                    self.assertEqual(texts[1], texts[0], arguments)

    def test_keeps_owner_and_mode_of_what_it_edits(self):
        path = self.folders["postfleet"] / "main.cf"
        path.chmod(0o640)
        if machine.IS_ROOT:
            os.chown(path, 12345, 12346)
        before = path.stat()
        self.assertEqual(self.sides["postfleet"].run(path.parent, ["-e", "myhostname=other.example"])[0], 0)
        after = path.stat()
        self.assertEqual((after.st_mode, after.st_uid, after.st_gid), (before.st_mode, before.st_uid, before.st_gid))
        self.assertEqual(sorted(path.parent.iterdir()), [path, path.parent / "master.cf"])


if __name__ == "__main__":
    facts.main()
