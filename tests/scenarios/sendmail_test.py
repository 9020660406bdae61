"""Mail of this machine's users: sendmail and postdrop beside Postfix's, what mail programs make of them, and what
is not lost whatever dies."""

import contextlib
import grp
import os
import pathlib
import re
import shutil
import signal
import subprocess
import unittest

import facts
import harness
import machine
from deadlines import Missed, wait_until
from sendmail_cases import CASES, PLAIN
from services_test import Services

GROUP = "postdrop"
COMMAND_SECONDS_MAX = 30
PARAMETERS = {
    "myorigin": "box.test",
    "virtual_mailbox_domains": "box.test",
    "virtual_mailbox_maps": "static:box/",
    "default_transport": "discard",
    "transport_maps": "inline:{y.test=discard:}",
}


def has_group():
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


class Side:
    """One mail system and its sendmail."""

    def __init__(self, instance):
        self.mta = instance
        self.maildrop = instance.queue / "maildrop"

    @property
    def program(self):
        return "/usr/sbin/sendmail" if self.mta.oracle else str(machine.bin_folder() / "sendmail")

    def environment(self, more=None):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": str(self.mta.config), **(more or {})}

    def send(self, arguments, text, env=None, user=None, program=None):
        """Exit status, standard output and error."""
        who = {}
        if user:
            who = {"user": user, "group": GROUP, "extra_groups": []}
        done = subprocess.run([program or self.program, *arguments], input=text, capture_output=True,
                              env=self.environment(env), timeout=COMMAND_SECONDS_MAX, check=False, **who)
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def boxed(self):
        return {path.name: path for path in (self.mta.mail / "box" / "new").glob("*")}

    def waiting(self):
        return sorted(path.name for path in self.maildrop.iterdir())


# What differs by nature: ids, times, process ids, ports, the time it took.
def masked(text, ids=()):
    for queue_id in ids:
        text = text.replace(queue_id, "ID")
    text = re.sub(r"\b[0-9A-Za-z]{6,20}z[0-9A-Za-z]+\b", "ID", text)
    text = re.sub(r"\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)", "DATE", text)
    return text


def masked_log(line):
    line = re.sub(r"^.*? (\S+)\[\d+\]: ", r"\1: ", line)
    line = re.sub(r"delays?=[^,]+, ", "", line)
    return re.sub(r"size=\d+", "size=N", masked(line))


class BothSides(unittest.TestCase):
    """Each call is made on both."""

    @classmethod
    def setUpClass(cls):
        if not machine.IS_ROOT or has_group() is None:
            raise unittest.SkipTest("needs root, and Postfix beside us")
        cls.stack = contextlib.ExitStack()
        folder = cls.stack.enter_context(machine.folder())
        cls.ours = Side(cls.stack.enter_context(harness.Instance(folder, PARAMETERS, name="ours", oracle=False)))
        cls.theirs = Side(cls.stack.enter_context(harness.Instance(folder, PARAMETERS, name="real", oracle=True)))

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def outcome(self, side, arguments, text, **options):
        log_before = len(side.mta.log())
        boxed_before = set(side.boxed())
        status, output, error = side.send(arguments, text, **options)
        drops = 1 if status == 0 and arguments[:1] != ["-bs"] else output.count("queued as")
        lines = []

        def all_gone():
            nonlocal lines
            lines = side.mta.log()[log_before:].splitlines()
            text = "\n".join(lines)
            ids = re.findall(r"pickup\[\d+\]: (\w+): uid=", text)
            notices = re.findall(r" notification: (\w+)$", text, re.MULTILINE)
            return len(ids) == drops and all(f"{queue_id}: removed" in text for queue_id in ids + notices)
        try:
            wait_until(f"the end of {arguments} on {side.mta.folder.name}", all_gone, 15.0)
        except Missed as missed:
            raise Missed(f"{missed}; since then in the log:\n" + "\n".join(lines)) from missed
        mails = sorted(masked(path.read_bytes().decode(errors="surrogateescape"))
                       for name, path in side.boxed().items() if name not in boxed_before)
        ids = re.findall(r"pickup\[\d+\]: (\w+): uid=", "\n".join(lines))
        # Notices are other facts' matter.
        mails = [mail for mail in mails if "From: Mail Delivery System <MAILER-DAEMON@" not in mail]
        kept = sorted(masked_log(line) for line in lines if re.search(r"/(pickup|cleanup|virtual|qmgr)\[", line)
                      and any(f": {queue_id}: " in line for queue_id in ids))
        return {"status": status, "output": masked(output), "error": self.words(error), "mails": mails, "log": kept}

    @staticmethod
    def words(error):
        """Postfix's own processes say a line more for an oversized mail, and getopt says it twice."""
        lines = [line for line in error.splitlines()
                 if "mail_stream_cleanup: close error" not in line and "is obsolete" not in line]
        return [line for number, line in enumerate(lines) if line not in lines[:number]]


class Sendmail(BothSides):
    def test_says_and_sends_what_postfix_says_and_sends(self):
        wrong = []
        for case in CASES:
            arguments, text, options = (*case, {})[:3]
            try:
                ours = self.outcome(self.ours, arguments, text, **options)
                theirs = self.outcome(self.theirs, arguments, text, **options)
            except Missed as missed:
                wrong.append(str(missed))
                continue
            if arguments == [""]:
                # Of an address that nobody said, Postfix's virtual(8) shows no original.
                ours["mails"] = [mail.replace("X-Original-To: MAILER-DAEMON@box.test\n", "") for mail in ours["mails"]]
            for part, value in theirs.items():
                if ours[part] != value:
                    wrong.append(f"{arguments} {text[:60]!r}\n  {part}\n    ours: {ours[part]}\n    real: {value}")
        self.assertGreaterEqual(len(CASES), 60)
        self.assertFalse(wrong, "\n" + "\n".join(str(one)[:3000] for one in wrong))

    def test_postdrop_takes_no_configuration_of_a_users(self):
        """With the powers of the group; the words are Postfix's."""
        folder = pathlib.Path(self.stack.enter_context(machine.folder()))
        program = folder / "postdrop"
        shutil.copy(machine.bin_folder() / "postdrop", program)
        os.chown(program, 0, has_group())
        program.chmod(0o2755)
        said = []
        for path in (program, "/usr/sbin/postdrop"):
            done = subprocess.run([path, "-r"], input=b"", capture_output=True, user="daemon", group="nogroup",
                                  extra_groups=[], env={"MAIL_CONFIG": str(self.ours.mta.config)}, check=False,
                                  timeout=COMMAND_SECONDS_MAX)
            said.append((done.returncode, done.stderr))
        self.assertEqual(said[0], said[1])

    def test_user_without_the_group_is_told_what_is_to_be_done(self):
        folder = pathlib.Path(self.stack.enter_context(machine.folder()))
        for name in ("sendmail", "postdrop"):
            shutil.copy(machine.bin_folder() / name, folder / name)  # without powers
            (folder / name).chmod(0o755)
        done = subprocess.run([folder / "sendmail", "a"], input=PLAIN, capture_output=True, user="daemon",
                              group="nogroup", extra_groups=[], env=self.ours.environment(), check=False,
                              timeout=COMMAND_SECONDS_MAX)
        self.assertEqual(done.returncode, 69)
        self.assertIn(b"postfix set-permissions", done.stderr)

    def test_programs_are_small(self):
        for name in ("sendmail", "postdrop"):
            done = subprocess.run(["ldd", machine.bin_folder() / name], capture_output=True, text=True, check=True)
            self.assertNotRegex(done.stdout, r"grpc|protobuf|rocksdb|ssl|libgo|ares")


class Limits(BothSides):
    """With instances of its own: Postfix's daemons keep what main.cf said when they started."""

    def test_limits_and_permissions_are_postfixs(self):
        settings = [
            ({"message_size_limit": "1000"}, [(["a"], b"Subject: x\n\n" + b"0123456789\n" * 200), (["a"], PLAIN)]),
            ({"authorized_submit_users": "!root, static:anyone"}, [(["a"], PLAIN)]),
            ({"authorized_submit_users": "root"}, [(["a"], PLAIN)]),
            ({"local_login_sender_maps": "inline:{ { root = foo@bar.test, @y.test } }", "recipient_delimiter": "+"},
             [(["-f", "x@z.test", "a"], PLAIN), (["-f", "foo@bar.test", "a"], PLAIN), (["-f", "", "a"], PLAIN),
              (["a"], PLAIN), (["-f", "foo+x@bar.test", "a"], PLAIN), (["-f", "any@Y.test", "a"], PLAIN)]),
            ({"local_login_sender_maps": "inline:{ { root = <> root } }"}, [(["-f", "", "a"], PLAIN), (["a"], PLAIN)]),
            ({"sendmail_fix_line_endings": "never"}, [(["a"], b"Subject: x\n\nab\r\ncd\r\n")]),
            ({"sendmail_fix_line_endings": "strict"}, [(["a"], b"Subject: x\n\nab\r\n"), (["a"], b"X: y\r\n\nab\r\n")]),
        ]
        for parameters, calls in settings:
            for side in (self.ours, self.theirs):
                side.mta.parameters.update(parameters)
                side.mta.write_configuration()
            for arguments, text in calls:
                with self.subTest(parameters=parameters, arguments=arguments):
                    ours = self.outcome(self.ours, arguments, text)
                    theirs = self.outcome(self.theirs, arguments, text)
                    self.assertEqual(ours, theirs)
            for side in (self.ours, self.theirs):
                for name in parameters:
                    del side.mta.parameters[name]
                side.mta.write_configuration()


class Commands(unittest.TestCase):
    """Of both systems while neither runs."""

    def test_mail_in_maildrop_is_listed_and_deleted_as_by_postfix(self):
        if not machine.IS_ROOT or has_group() is None:
            self.skipTest("needs root, and Postfix beside us")
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        folder = stack.enter_context(machine.folder())
        ours = Side(stack.enter_context(harness.Instance(folder, PARAMETERS, name="ours", oracle=False)))
        ours.mta.stop()
        theirs = Side(harness.Instance(folder, PARAMETERS, name="real", oracle=True))
        theirs.mta.run("postfix", "check")  # makes its folders
        ids = {}
        for side in (ours, theirs):
            self.assertEqual(side.send(["-f", "s@y.test", "a", "d@e.test"], PLAIN)[0], 0)
            ids[side] = side.waiting()
            self.assertEqual(side.send(["-t"], b"To: \"x y\"@z.test\n\n")[0], 0)
            (side.maildrop / "UNFINISHED").write_bytes(b"S\x01a")
            (side.maildrop / "UNFINISHED").chmod(0o644)
        commands = [("postcat", "-q", "ID"), ("postcat", "-hq", "ID"), ("postcat", "-bq", "ID"), ("postcat", "-eq", "ID"),
                    ("postcat", "/etc/passwd"), ("postqueue", "-p"), ("postqueue", "-j"), ("postsuper", "-h", "ID"), ("postsuper", "-d", "ID"),
                    ("postsuper", "-d", "NONE"), ("postqueue", "-j"), ("postsuper", "-d", "ALL", "deferred"),
                    ("postqueue", "-j"), ("postsuper", "-d", "ALL", "maildrop"), ("postqueue", "-p")]
        for command in commands:
            said = []
            for side in (ours, theirs):
                status, output, error = side.mta.run(*[ids[side][0] if word == "ID" else word for word in command])
                # The order is the folder's; ids and times are each one's own; the direct way has words of its own.
                output = re.sub(r"\w{3} \w{3} [ \d]\d [\d:]{8}|\d{10}(?=,)", "TIME", masked(output))
                # The time is in the file, in as many digits as it has.
                output = re.sub(r"(ID +|size\": )\d+", r"\1N", output)
                parts = output.split("\n\n") if command[1] == "-p" else output.splitlines()
                error = [masked(line).replace("/usr/sbin/", "") for line in error.splitlines() if "accessing queue directly" not in line]
                said.append((status, sorted(re.sub(r"^(-+Queue ID.*\n)?", "", part) for part in parts), error))
            self.assertEqual(said[0], said[1], command)
        self.assertEqual(ours.waiting(), ["UNFINISHED"])


class MailPrograms(unittest.TestCase):
    """As users and cron call it."""

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        folder = cls.stack.enter_context(machine.folder())
        cls.side = Side(cls.stack.enter_context(harness.Instance(folder, PARAMETERS, oracle=False)))
        cls.home = folder / "home"
        cls.home.mkdir()

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def delivered(self, command, text, env=None):
        """The one mail that comes of it."""
        if shutil.which(command[0]) is None:
            self.fail(f"{command[0]} is not installed (deploy/packages)")
        before = set(self.side.boxed())
        done = subprocess.run(command, input=text, capture_output=True, check=False, timeout=COMMAND_SECONDS_MAX,
                              cwd=self.home, env=self.side.environment({"HOME": str(self.home), **(env or {})}))
        self.assertEqual(done.returncode, 0, done.stderr)

        def new():
            return [path for name, path in self.side.boxed().items() if name not in before]
        [path] = wait_until("the mail", new, 30.0)
        return path.read_bytes()

    def test_bsd_mailx(self):
        (self.home / ".mailrc").write_text(f"set sendmail={self.side.program}\n")
        mail = self.delivered(["bsd-mailx", "-s", "by mailx", "a@box.test"], b"body\n")
        self.assertRegex(mail, rb"Subject: by mailx\n(?s:.*)\n\nbody\n")

    def test_s_nail(self):
        mail = self.delivered(["s-nail", "-:/", "-S", f"mta={self.side.program}", "-s", "by nail", "a@box.test"],
                              b"body\n")
        self.assertRegex(mail, rb"Subject: by nail\n(?s:.*)\n\nbody\n")

    def test_mutt(self):
        mail = self.delivered(["mutt", "-n", "-F", "/dev/null", "-e", f"set sendmail='{self.side.program} -oem -oi'",
                               "-e", "unset record", "-s", "by mutt", "--", "a@box.test"], b"body\n")
        self.assertRegex(mail, rb"Subject: by mutt\n(?s:.*)\n\nbody\n")

    def test_cron(self):
        text = (b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> job\nMIME-Version: 1.0\n"
                b"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <HOME=/root>\n"
                b"\n\xc3\xa4\n.\nmore\n")
        mail = self.delivered([self.side.program, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"], text)
        self.assertIn(b"\nTo: root@box.test\n", mail)
        self.assertTrue(mail.endswith(b"\n\n\xc3\xa4\n.\nmore\n"), mail)


class Maildrop(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.mta = stack.enter_context(harness.Instance(stack.enter_context(machine.folder()), PARAMETERS,
                                                        oracle=False))
        self.side = Side(self.mta)

    def send(self, subject):
        return self.side.send(["a"], f"Subject: {subject}\n\nhi\n".encode())[0]

    def subjects(self):
        return sorted(re.search(rb"Subject: (.*)\n", path.read_bytes()).group(1).decode()
                      for path in self.side.boxed().values())

    def wait_for_subjects(self, wanted):
        wait_until(f"{wanted}", lambda: self.subjects() == sorted(wanted), 30.0)

    def test_takes_mail_while_nothing_runs(self):
        self.mta.stop()
        self.assertEqual([self.send(number) for number in "123"], [0, 0, 0])
        self.assertEqual(len(self.side.waiting()), 3)
        self.mta.start()
        self.wait_for_subjects("123")
        self.assertEqual(self.side.waiting(), [])

    def test_what_is_no_mail_is_left_or_set_aside_and_holds_nothing_up(self):
        self.mta.stop()
        drop = self.side.maildrop
        self.send("torn")
        [torn] = drop.iterdir()
        whole = torn.read_bytes()
        torn.write_bytes(whole[:-5])
        (drop / "EMPTY").touch()
        (drop / "EMPTY").chmod(0o744)
        (drop / "SYMLINK").symlink_to("/etc/passwd")
        os.mkfifo(drop / "FIFO", 0o744)
        (drop / "FOLDER").mkdir()
        (drop / "UNFINISHED").write_bytes(whole[:20])
        (drop / "UNFINISHED").chmod(0o644)
        (drop / "name.with.dots").write_bytes(whole)
        (drop / "name.with.dots").chmod(0o744)
        (drop / "LINKED").write_bytes(whole)
        (drop / "LINKED").chmod(0o744)
        os.link(drop / "LINKED", drop / "LINKED2")
        (drop / "GARBAGE").write_bytes(os.urandom(10_000))
        (drop / "GARBAGE").chmod(0o744)
        self.assertEqual(self.send("good"), 0)
        self.mta.start()
        self.wait_for_subjects(["good"])
        self.mta.wait_for_log(r"pickup\[\d+\]: warning: uid=\d+: maildrop/GARBAGE: .*kept as maildrop/GARBAGE.broken")
        self.mta.wait_for_log(r"warning: maildrop/SYMLINK: uncommon file type")
        self.mta.wait_for_log(r"warning: maildrop/LINKED2?: file has 2 hard links", count=2)
        self.mta.wait_for_log(r"maildrop/EMPTY: unexpected end of data; kept")
        self.assertEqual(self.side.waiting(), sorted(
            [f"{torn.name}.broken", "EMPTY.broken", "SYMLINK", "FIFO", "FOLDER", "UNFINISHED", "name.with.dots", "LINKED",
             "LINKED2", "GARBAGE.broken"]))
        self.assertEqual((drop / f"{torn.name}.broken").read_bytes(), whole[:-5])

    def test_limits_of_the_caller_leave_nothing_behind(self):
        """No standard input; files may have 512 bytes."""
        self.mta.stop()
        program = self.side.program
        for command in (f"{program} a <&-", f"{program} a <&- >&- 2>&-"):
            self.assertEqual(subprocess.run(["sh", "-c", command], env=self.side.environment(), check=False,
                                            timeout=COMMAND_SECONDS_MAX).returncode, 0)
        self.assertEqual(len(self.side.waiting()), 2)
        done = subprocess.run(["sh", "-c", f"trap '' XFSZ; ulimit -f 1; exec {program} a"], input=PLAIN * 10_000,
                              env=self.side.environment(), check=False, capture_output=True,
                              timeout=COMMAND_SECONDS_MAX)
        self.assertEqual(done.returncode, 75)
        self.assertEqual(len(self.side.waiting()), 2)

    def test_message_that_goes_round_is_set_aside(self):
        """Postfix's cleanup tells the sender instead."""
        self.assertEqual(self.side.send(["a"], b"Received: x\n" * 60 + b"\nhi\n")[0], 0)
        self.mta.wait_for_log(r"warning: uid=\d+: maildrop/\w+: message rejected: hopcount exceeded; kept as maildrop/")
        self.assertRegex("".join(self.side.waiting()), r"^\w+\.broken$")
        self.assertEqual(self.mta.queued(), [])

    def test_pipe_to_sendmail_that_ends_early_sends_nothing(self):
        for number in (signal.SIGKILL, signal.SIGTERM):
            process = subprocess.Popen([self.side.program, "a"], stdin=subprocess.PIPE, env=self.side.environment())
            process.stdin.write(b"Subject: never\n\nhi\n" * 5000)
            process.stdin.flush()
            process.send_signal(number)
            process.wait()
            process.stdin.close()
            wait_until("an empty maildrop", lambda: not self.side.waiting(), 10.0)
        self.assertEqual(self.subjects(), [])

    def test_postdrop_that_dies_is_an_error_of_sendmails(self):
        process = subprocess.Popen([self.side.program, "a"], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=self.side.environment())
        wait_until("a file", self.side.waiting, 10.0)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, error = process.communicate(b"Subject: never\n\nhi\n", timeout=COMMAND_SECONDS_MAX)
        self.assertEqual(process.returncode, 75, error)
        self.assertEqual(self.send("after"), 0)
        self.wait_for_subjects(["after"])

    def test_each_mail_is_queued_once_whatever_is_killed(self):
        """Mail stays in the queue: what is there is counted."""
        self.mta.stop()
        self.mta.parameters["defer_transports"] = "virtual"
        self.mta.write_configuration()
        sent = []
        for round_number in range(6):
            sent += [f"{round_number}.{number}" for number in range(10)
                     if self.side.send(["-f", f"s{round_number}.{number}@y.test", "a"], PLAIN * 200)[0] == 0]
            self.mta.launch()
            if round_number % 2:
                self.mta.wait_for_greeting()
            # A moment that differs each time: before, while and after it hands in.
            wait_until("a moment", lambda left=[round_number * 3]: left.append(left.pop() - 1) or left[0] < 0, 10.0)
            sent += [f"{round_number}.{number}" for number in range(10, 20)
                     if self.side.send(["-f", f"s{round_number}.{number}@y.test", "a"], PLAIN)[0] == 0]
            self.mta.kill()
        self.mta.start()
        wait_until("an empty maildrop", lambda: not self.side.waiting(), 60.0)
        queued = sorted(entry["sender"] for entry in self.mta.queued())
        self.assertEqual(queued, sorted(f"s{name}@y.test" for name in sent))
        self.assertEqual(len(sent), 120)


class AsProcesses(unittest.TestCase):
    """The queue lives on: it has to know again what the ingress that died has handed in."""

    def test_ingress_may_be_killed_while_it_hands_in(self):
        sent = []
        with machine.folder() as folder, Services(folder, {**PARAMETERS, "defer_transports": "virtual"}) as services:
            side = Side(services.mta)

            def send(name, text):
                self.assertEqual(side.send(["-f", f"{name}@y.test", "a"], text)[0], 0)
                sent.append(f"{name}@y.test")
            for round_number in range(6):
                for number in range(8):
                    send(f"{round_number}.{number}", PLAIN * (5_000 if number % 3 == 0 else 1))
                services.kill("ingressd")
                send(f"{round_number}.down", PLAIN)
                services.start("ingressd")
            wait_until("an empty maildrop", lambda: not side.waiting(), 60.0)
            self.assertEqual(sorted(entry["sender"] for entry in services.mta.queued()), sorted(sent))


if __name__ == "__main__":
    facts.main()
