"""The server's side of SMTP: every dialogue of dialogs/*.txt, held with Postfleet and with real Postfix.

The texts say what Postfix answers and queues, and where and why Postfleet differs. To write the answers of the
installed Postfix into the files, after new dialogues: RECORD=1 python3 -B dialog_test.py
"""

import os
import pathlib
import subprocess
import unittest

import dialogs
import facts
import harness
import machine
from deadlines import wait_until

FILES = sorted(pathlib.Path(__file__).parent.glob("dialogs/*.txt"))
_QUEUED_SECONDS_MAX = 100.0
# Everything that is taken stays in the queue, where postcat finds it.
_PARAMETERS = {
    "mail_name": "Mail",
    "mydestination": "localhost",
    "local_recipient_maps": "inline:{ {root = x} {bob = x} {alice = x} {postmaster = x} }",
    "virtual_mailbox_domains": "virt.example",
    "virtual_mailbox_maps": "inline:{ {alice@virt.example = a} }",
    "relay_domains": "relay.example",
    "relay_recipient_maps": "inline:{ {carl@relay.example = a} {dora@relay.example = a} }",
    "mynetworks": "127.0.0.1/32",
    "defer_transports": "smtp relay local virtual",
    "smtpd_error_sleep_time": "0",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_peername_lookup": "no",
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_forbid_unauth_pipelining": "yes",
    "in_flow_delay": "0s",
}


def start(folder, parameters, oracle):
    # Parameters that the installed Postfix does not know are 3.9's.
    return harness.Instance(folder, {**_PARAMETERS, **parameters}, name="postfix" if oracle else "postfleet",
                            oracle=oracle)


def queue_of(mta, queue_ids):
    """The messages, one after the other, with an empty line between them."""
    texts = []
    for queue_id in queue_ids:
        def shown(queue_id=queue_id):
            done = subprocess.run(mta.command_line("postcat", "-ebhq", queue_id), capture_output=True, check=False)
            return done.stdout.decode(errors="backslashreplace") if done.returncode == 0 else None
        text = wait_until(f"{queue_id} in the queue", shown, _QUEUED_SECONDS_MAX, mta.why_ended)
        texts += ([""] if texts else []) + dialogs.queued(text)
    return texts


def fact(dialog, stem):
    def test(self):
        for mta, ours in self.sides:
            with self.subTest(mta.folder.name):
                answers, ids = dialogs.hold(dialog, mta.port)
                for step, answer in zip(dialog.steps, answers):
                    self.assertEqual(step.ours if ours and step.why else step.answer, answer, step.sent)
                self.assertEqual(len(answers), len(dialog.steps))
                self.assertEqual(dialog.queued, queue_of(mta, ids))
    test.__name__ = f"test_{stem}_{dialog.name.replace(' ', '_')}"
    return test


class Dialogs(unittest.TestCase):
    maxDiff = None
    parameters = {}

    @classmethod
    def setUpClass(cls):
        stack = cls.enterClassContext
        folder = stack(machine.folder())
        cls.sides = [(stack(start(folder, cls.parameters, oracle)), not oracle)
                     for oracle in ([False, True] if machine.IS_ROOT else [False])]


def classes():
    for path in FILES:
        parameters, _, found = dialogs.read(path.read_text())
        names = [dialog.name for dialog in found]
        if len(set(names)) != len(names):
            raise AssertionError(f"{path.name}: {sorted(name for name in names if names.count(name) > 1)} twice")
        body = {"parameters": parameters}
        for dialog in found:
            test = fact(dialog, path.stem)
            body[test.__name__] = test
        yield type(path.stem.capitalize(), (Dialogs,), body)


def record():
    for path in FILES:
        parameters, _, found = dialogs.read(path.read_text())
        with machine.folder() as folder, start(folder, parameters, oracle=True) as postfix:
            (ehlo,), _ = dialogs.hold(dialogs.Dialog("EHLO", steps=[dialogs.Step(["> EHLO a"])]), postfix.port, record=True)
            for dialog in found:
                answers, ids = dialogs.hold(dialog, postfix.port, record=True)
                dialog.steps = dialog.steps[:len(answers)]
                for step, answer in zip(dialog.steps, answers):
                    step.answer = answer
                dialog.queued = queue_of(postfix, ids)
        head = "".join(f"main.cf: {name} = {value}\n" for name, value in parameters.items())
        head += f"ehlo: {'|'.join(ehlo)}\n"
        path.write_text(head + "".join(dialog.text(ehlo) for dialog in found))


if os.environ.get("RECORD"):
    record()
else:
    for made in classes():
        globals()[made.__name__] = made
    del Dialogs, made
    facts.main()
