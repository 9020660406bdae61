"""The pipe agent beside real Postfix: what its commands get, and what becomes of the mail.

Each case of pipe_cases.py is a transport; its command writes down arguments, environment, rights, folder and
standard input, and does as the case says. Compared are these, the fate of each recipient in the log, the agent's
other lines, and the notices to senders.
"""

import contextlib
import json
import pathlib
import re
import threading
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from pipe_cases import CASES, WRONG
from smtp_peer import RecordingServer
from stock import MASTER_CF

# Case -> why we are meant to differ.
KNOWN = {
    "much": "a notice has 1,000 bytes of a command's output",
    "endless": "what a command says behind 4096 bytes is read and dropped: it runs until its time is over",
}

_PROBE = r"""#!/usr/bin/python3 -IS
import json, os, signal, sys, time
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
name = os.path.basename(sys.argv[0])
does = json.load(open(f"{folder}/{name}.json"))
given = sys.stdin.buffer.read() if does.get("read", 1) else b""
# The size of a message whose lines end with CRLF: a queue id, which is in it, has no fixed length.
size = str(len(given) + given.count(b"\n"))
facts = {"argv": [os.fsencode(word).decode("latin-1").replace(size, "SIZE") for word in sys.argv[1:]],
         "environment": {os.fsencode(k).decode("latin-1"): os.fsencode(v).decode("latin-1")
                         for k, v in os.environ.items() if k != "LC_CTYPE"},
         "folder": os.getcwd(), "user": os.getresuid(), "group": os.getresgid(), "groups": os.getgroups(),
         "input": given.decode("latin-1"), "leads": os.getsid(0) == os.getpid(),
         "files": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) < 100
                         and os.path.exists(f"/proc/self/fd/{fd}"))}
with open(f"{folder}/seen/{name}.{os.getpid()}.part", "w") as file:
    json.dump(facts, file)
os.rename(file.name, file.name[:-5])
if does.get("child") and (child := os.fork()):
    with open(f"{folder}/seen/{name}.child", "w") as file:
        file.write(str(child))
sys.stdout.buffer.write(does.get("output", "").encode("latin-1"))
sys.stdout.flush()
sys.stderr.write(does.get("error", ""))
sys.stderr.flush()
while does.get("endless"):
    os.write(1, b"x" * 65536)
if does.get("close"):
    os.close(1)
    os.close(2)
if "wait" in does:
    time.sleep(does["wait"])
if "signal" in does:
    os.kill(os.getpid(), does["signal"])
os._exit(does.get("exit", 0))
"""
_FILTER = "{ {/^5\\.1\\.1 (.*)/ 4.1.9 Not yet: $$1} }"
_FATE = re.compile(r" \S*/pipe\[\d+\]: (\w+): to=<(.*?)>, (?:orig_to=<.*?>, )?relay=(\w+), .*?dsn=([\d.]+), "
                   r"status=(.*)$", re.MULTILINE)
_NOTE = re.compile(r" \S*/pipe\[\d+\]: (?!\w+: to=)(.*)$", re.MULTILINE)
_SECONDS_MAX = 100.0
# The log's lines have a limit, and words of different length in front.
_STATUS_CHARACTERS = 500


class Side:
    def __init__(self, stack, oracle):
        self.label = "postfix" if oracle else "postfleet"
        self.sink = stack(RecordingServer())
        self.folder = stack(machine.folder())
        programs = self.folder / "programs"
        for folder in (programs, programs / "seen", self.folder / "jail", self.folder / "private"):
            folder.mkdir()
        programs.chmod(0o755)
        (programs / "seen").chmod(0o777)
        (self.folder / "private").chmod(0o700)
        services, parameters = [], {"filter": f"regexp:{_FILTER}", "recipient_delimiter": "+", "in_flow_delay": "0s",
                                    "smtpd_recipient_limit": "100", "relayhost": f"[127.0.0.1]:{self.sink.port}",
                                    "maximal_queue_lifetime": "5d", "notify_classes": ""}
        routes = self.folder / "routes"
        for name, case in CASES.items():
            probe = programs / name
            probe.write_text(_PROBE)
            probe.chmod(0o755)
            (programs / f"{name}.json").write_text(json.dumps(case["does"]))
            attributes = case["attributes"].replace("{probe}", str(probe)).replace("{folder}", str(self.folder))
            services.append(f"{name} unix - n n - - pipe {attributes}\n")
            if case["single"]:
                parameters[f"{name}_destination_recipient_limit"] = "1"
            if not (case["main"].keys() & {"export_environment"}):
                parameters.update(case["main"])
        parameters["export_environment"] = "TZ MAIL_CONFIG=/none { SPACED = a  b } EMPTY= LANG=C PATH=/nowhere"
        for name, attributes in WRONG.items():
            attributes = attributes.replace("{probe}", "/bin/true").replace("{owner}", machine.mail_owner(oracle))
            services.append(f"{name} unix - n n - - pipe {attributes}\n")
        routes.write_text("".join(f"{name}.example {name}:nexthop.{name}\n" for name in [*CASES, *WRONG]))
        parameters["transport_maps"] = f"texthash:{routes}"
        text = MASTER_CF.replace("{", "{{").replace("}", "}}").replace("{{port}}", "{port}")
        text += "".join(services).replace("{", "{{").replace("}", "}}")
        self.mta = stack(harness.Instance(self.folder, parameters, text, name=self.label, oracle=oracle))

    def run(self):
        expected = 0
        with smtp_client.Client(self.mta.port) as client:
            for name in WRONG:
                reply = client.send("s@sender.example", [f"r@{name}.example"], b"Subject: waits\n\n")
                if reply.code != 250:
                    raise AssertionError(f"{self.label}: {name}: {reply}")
            client.quit()
        for name, case in CASES.items():
            with smtp_client.Client(self.mta.port) as client:
                for sender, recipients, contents in case["mails"]:
                    addresses = [to if "@" in to else f"{to}@{name}.example" for to in recipients]
                    reply = client.send(sender, addresses, contents)
                    if reply.code != 250:
                        raise AssertionError(f"{self.label}: {name}: {reply}")
                    expected += len(addresses)
                client.quit()
        try:
            wait_until(f"fates of {self.label}", lambda: len(_FATE.findall(self.mta.log())) >= expected, _SECONDS_MAX,
                       self.mta.why_ended, poll_seconds=0.3)
            # Postfix keeps such mail in its active queue, and says nothing of it.
            if not self.mta.oracle:
                wait_until(f"the wrong ones of {self.label}", lambda: len(self._wrong()) == len(WRONG), _SECONDS_MAX,
                           self.mta.why_ended, poll_seconds=0.3)
            returned = {fate[0] for fate in _FATE.findall(self.mta.log()) if fate[4].startswith("bounced")}
            self.sink.wait_for(len(returned), hopeless=self.mta.why_ended)
        finally:
            self._read()

    def _wrong(self):
        return dict(re.findall(r"/error\[\d+\]: \w+: to=<r@(wrong\w+)\.example>, (relay=.*)$", self.mta.log(),
                               re.MULTILINE))

    def _read(self):
        self.wrong = {name: re.sub(r"delays?=[^,]*, ", "", fate) for name, fate in self._wrong().items()}
        log = self.mta.log()
        self.fates, self.seen, self.notes = {}, {}, {}
        ids = {}
        for queue_id, to, relay, dsn, status in _FATE.findall(log):
            ids[queue_id] = relay
            self.fates.setdefault(relay, []).append((to, dsn, self._plain(status)[:_STATUS_CHARACTERS]))
        for note in _NOTE.findall(log):
            for queue_id in ids:
                note = note.replace(queue_id, "ID-" + ids[queue_id])
            self.notes[self._plain(note)] = self.notes.get(self._plain(note), 0) + 1
        for path in sorted((self.folder / "programs" / "seen").glob("*.[0-9]*")):
            name = path.name.partition(".")[0]
            self.seen.setdefault(name, []).append(self._plain(path.read_text()))
        self.notices = {}
        for message in self.sink.messages:
            text = message.content.decode("latin-1").replace("\r\n", "\n")
            name = re.search(r"^Final-Recipient: .*@(\w+)\.example$", text, re.MULTILINE).group(1)
            # The report, without the message that comes back.
            text = text.partition("Content-Description: Undelivered Message")[0].partition("\n\n")[2]
            self.notices.setdefault(name, []).append(re.sub(r"\.\d+/", ".SECONDS/", self._plain(text)))
        for facts_of in (self.fates, self.seen, self.notices):
            for name in facts_of:
                facts_of[name].sort()

    def _plain(self, text):
        """Without what differs from one run to the next."""
        text = text.replace(str(self.folder), "FOLDER").replace(f"/{self.label}/", "/MTA/")
        text = re.sub(r"\b[0-9A-Za-z]{10}z[0-9A-Za-z]+\b", "QUEUEID", text)
        text = re.sub(r"\w{3}, [ \d]?\d \w{3} \d{4} [\d:]{8} [+-]\d{4} \(\w+\)", "DATE", text)
        text = re.sub(r"\b\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}", "CTIME", text)
        return text


class Pipes(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Postfix does: run ./dev test as root, as CI does")
        cls.postfix, cls.postfleet = sides = [Side(cls.enterClassContext, oracle) for oracle in (True, False)]
        errors = []

        def run(side):
            try:
                side.run()
            except AssertionError as error:
                errors.append(str(error))
        threads = [threading.Thread(target=run, args=(side,)) for side in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            print(cls.postfleet.mta.last_words())
            raise AssertionError("; ".join(errors))

    def _compare(self, postfix, postfleet):
        different = {name for name in CASES if postfix.get(name) != postfleet.get(name)}
        for name in sorted(different - set(KNOWN)):
            print(f"{name}:\n  postfix   {postfix.get(name)}\n  postfleet {postfleet.get(name)}")
        self.assertEqual(sorted(different - set(KNOWN)), [])

    def test_commands_get_arguments_environment_rights_and_contents_as_from_postfix(self):
        self._compare(self.postfix.seen, self.postfleet.seen)
        self.assertGreater(len(self.postfix.seen), 60)

    def test_the_ends_of_commands_decide_as_with_postfix(self):
        self._compare(self.postfix.fates, self.postfleet.fates)
        self.assertEqual(len(self.postfix.fates), len(CASES))

    def test_notices_say_what_postfix_says(self):
        self._compare(self.postfix.notices, self.postfleet.notices)
        self.assertGreater(len(self.postfix.notices), 20)

    def test_the_log_names_what_is_wrong_as_postfix_does(self):
        def notes(side):
            # How Postfix waits for a process is its own.
            return {re.sub(r"(mail system owner )\w+( group id \d+|)|get_service_attr: (bad size)| \(ignored\)$", r"\1\3", note)
                    for note in side.notes if not note.startswith(("warning: pipe_command_", "warning: bounce_"))}
        self.assertEqual(notes(self.postfleet), notes(self.postfix))

    def test_a_service_that_cannot_work_lets_its_mail_wait(self):
        waits = "relay=none, dsn=4.3.0, status=deferred (mail transport unavailable)"
        self.assertEqual(self.postfleet.wrong, dict.fromkeys(WRONG, waits))

    def test_nothing_of_a_command_outlives_its_time(self):
        child = int((self.postfleet.folder / "programs" / "seen" / "slow.child").read_text())
        with contextlib.suppress(FileNotFoundError):
            state = pathlib.Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            self.assertEqual(state, "Z")


if __name__ == "__main__":
    facts.main()
