"""Log lines of ours beside real Postfix's: each scene of log_scenes.txt at both, line for line.

Lines of one process are compared in their order. What differs must be in KNOWN with its reason.
"""

import pathlib
import re
import threading
import unittest

import facts
import harness
import log_scenes
import machine
from deadlines import wait_until
from smtp_peer import DROP, RecordingServer
from stock import MASTER_CF

_SERVICES = """\
127.0.0.1:{submission} inet n - n - - smtpd -o syslog_name=postfix/submission
127.0.0.1:{plain} inet n - n - - smtpd -o syslog_name=incoming
127.0.0.1:{unlisted} inet n - n - - smtpd -o smtpd_reject_unlisted_recipient=no
named unix - - n - - smtp -o syslog_name=postfix/named
drop unix - - n - - discard -o syslog_name=postfix/drop
boxes unix - n n - - virtual -o syslog_name=boxes
lmtpnamed unix - - n - - lmtp -o syslog_name=next
"""
_ROUTES = """\
peer.example smtp:[127.0.0.1]:{peer}
refuses.example smtp:[127.0.0.1]:{refuses}
down.example smtp:[127.0.0.1]:1
lmtpdown.example lmtp:inet:[127.0.0.1]:1
nosocket.example lmtp:unix:/does/not/exist
named.example named:[127.0.0.1]:{peer}
discard.example discard:by a route
drop.example drop:by a route
boxes.example boxes:
lmtpnamed.example lmtpnamed:inet:[127.0.0.1]:1
error.example error:5.7.9 not here
retry.example retry:4.7.9 not now
"""
# Scene -> {process: why its lines are meant to differ}.
KNOWN = {
    "a recipient whose failure is not to be told": {"postfix/cleanup": "Postfix begins a notice, and then drops it"},
    "mail that is held and released": {
        "postfix/error": "released mail is tried at once; Postfix leaves it until its time has come",
        "postfix/qmgr": "the same",
    },
    "a next server that refuses one of two": {
        "postfix/smtp": "what the reply to RCPT decides is logged with all else, in the order of the recipients"},
}
# Lines of which there is no trace by design, whatever the scene.
_LEFT_OUT = re.compile(r"^(statistics: |daemon started -- |\w[\w ]*: 0 messages$|warning: mail_stream_cleanup: close error$)")


class Side:
    def __init__(self, stack, oracle):
        peer, refuses = stack(RecordingServer()), stack(RecordingServer())
        refuses.answer("CONNECT", "550 5.7.1 not you")
        peer.answer("RCPT", "550 5.1.1 no such user", to="unknown@peer.example")
        peer.answer("RCPT", "450 4.2.0 busy", to="busy@peer.example")
        peer.answer("END", "554 5.7.1 not this", to="content@peer.example")
        peer.answer("RCPT", DROP, to="hangup@peer.example")
        listeners = {name: machine.Port() for name in ("submission", "plain", "unlisted")}
        folder = stack(machine.folder())
        routes = folder / "routes"
        routes.write_text(_ROUTES.format(peer=peer.port, refuses=refuses.port))
        services = _SERVICES.format(**{name: port.number for name, port in listeners.items()})
        self.mta = stack(harness.Instance(folder, {
            "transport_maps": f"texthash:{routes}",
            "mynetworks": "127.0.0.1/32",
            "relay_domains": "peer.example down.example lmtpdown.example nosocket.example refuses.example"
                             " named.example discard.example error.example retry.example drop.example boxes.example"
                             " lmtpnamed.example",
            "relay_recipient_maps": "",
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "inline:{ r@box.example=r/, r@boxes.example=s/, t@box.example=t/ }",
            "smtpd_authorized_xforward_hosts": "127.0.0.1",
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_recipient_limit": "3",
            "smtpd_hard_error_limit": "4",
            "smtpd_error_sleep_time": "0s",
            "message_size_limit": "200000",
            "smtpd_forbid_bare_newline": "no",
            "smtpd_forbid_unauth_pipelining": "no",
            "fast_flush_domains": "peer.example",
            "in_flow_delay": "0s",
            "smtp_connection_cache_on_demand": "no",
        }, MASTER_CF + services, name="postfix" if oracle else "postfleet", oracle=oracle))
        ports = {name: port.number for name, port in listeners.items()}
        self._names = {peer.port: "PEER", refuses.port: "REFUSES"}
        self.mta.wait_for = lambda what, enough: wait_until(what, enough, 30, self.mta.why_ended, poll_seconds=0.05)
        self.mta.wait_for_log(r"disconnect from ")  # of the wait for a greeting
        self._stage = log_scenes.Stage(self.mta, {"smtp": self.mta.port, **ports})
        self.lines = {}

    def play(self, scenes):
        for scene in scenes:
            lines = [line for line in self._stage.play(scene) if not _LEFT_OUT.match(line[1])]
            self.lines[scene.name] = log_scenes.masked(lines, self._names)


class LogLines(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not machine.IS_ROOT:
            raise unittest.SkipTest("needs root, as Postfix does: run ./dev test as root, as CI does")
        cls.scenes = log_scenes.read(pathlib.Path(__file__).with_name("log_scenes.txt"))
        sides = [Side(cls.enterClassContext, oracle) for oracle in (True, False)]
        errors = []

        def play(side):
            try:
                side.play(cls.scenes)
            except Exception as error:  # pylint: disable=broad-except
                errors.append(f"{side.mta.folder.name}, {cls.scenes[len(side.lines)].name}: {error!r}")
        threads = [threading.Thread(target=play, args=(side,)) for side in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise AssertionError("; ".join(errors))
        cls.postfix, cls.postfleet = sides

    def test_are_those_of_postfix(self):
        wrong = 0
        for scene in self.scenes:
            theirs, ours = self.postfix.lines[scene.name], self.postfleet.lines[scene.name]
            known = KNOWN.get(scene.name, {})
            different = {name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)}
            for name in sorted(different ^ known.keys()):
                wrong += 1
                print(f"== {scene.name}: {name}", *(f"  postfix   {line}" for line in theirs.get(name, [])),
                      *(f"  postfleet {line}" for line in ours.get(name, [])), sep="\n", flush=True)
        self.assertEqual(wrong, 0)

    def test_there_are_enough_scenes(self):
        self.assertGreaterEqual(len(self.scenes), 60)


if __name__ == "__main__":
    facts.main()
