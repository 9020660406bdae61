"""Notices (DSN), ours beside real Postfix: the same mail through both, and what each tells whom.

Compared, byte for byte but for queue ids, dates and the order of recipients: every notice and postmaster's copy with
its envelope, and what the log says of it. Each case sends one message whose subject is the case's name; the notices
of a case are those whose returned message has this subject.
"""

import collections
import contextlib
import itertools
import re
import unittest

import facts
import harness
import machine
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

_WITH_DSN = ("250-peer.example\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
             "250 ENHANCEDSTATUSCODES")
_WITHOUT_DSN = "250-peer.example\r\n250-SIZE 10000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES"
_REFUSED = "550 5.1.1 <%s>: no such user here, and this is a text that is long enough to go over a line's end"
_UTF8 = "b\u00e4d".encode().decode("latin-1")  # as the client sends it
_REPLIES = {
    **{f"{local}@{domain}": _REFUSED % f"{local}@{domain}"
       for local in ("bad", "bad2", "x+y", _UTF8) for domain in ("plain.example", "dsn.example")},
    "several@plain.example": "550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three",
    "bare@plain.example": "554 without a status",
    "octets@plain.example": "550 5.1.1 octets \xe4\xc3\xa4 here",
    **{f"{local}@{domain}": "450 4.2.0 busy"
       for local in ("busy", "busy2", "busy3") for domain in ("plain.example", "dsn.example")},
}
_SENDER = "sender@notices.example"
_DOUBLE = "double-bounce@mta.example"

_EIGHT_BIT = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
_FORMS = {  # field lines, text
    "plain": ("", "The text\nof it\n"),
    "8bit": (_EIGHT_BIT, "gr\u00fc\u00dfe\n"),
    "utf8": ("X-Name: gr\u00fc\u00dfe\n", "text\n"),
    "large": ("", 3000 * "a line of many bytes\n"),
    "no-body": (None, None),
}

Case = collections.namedtuple("Case", "name recipients sender options rcpt form",
                              defaults=(_SENDER, "", "", "plain"))

# rcpt: of each recipient, or several of which each recipient has its own, apart by `|`.
CASES = [
    Case("one", "bad@plain.example"),
    Case("fates", "bad@plain.example fine@plain.example several@plain.example bare@plain.example"),
    Case("quoted", "x+y@plain.example", '"a b"@notices.example'),
    Case("octets", "octets@plain.example"),
    Case("eight", "bad@plain.example", options=" BODY=8BITMIME", form="8bit"),
    Case("eight-unsaid", "bad@plain.example", form="8bit"),
    Case("utf8-field", "bad@dsn.example", options=" SMTPUTF8", form="utf8"),
    Case("utf8-recipient", f"{_UTF8}@dsn.example", options=" SMTPUTF8", form="utf8"),
    Case("no-body", "bad@plain.example", form="no-body"),
    Case("large", "bad@plain.example", form="large"),
    Case("null", "bad@plain.example", ""),
    Case("null-hdrs", "bad@plain.example", "", " RET=HDRS"),
    Case("null-never", "bad@plain.example", "", rcpt=" NOTIFY=NEVER"),
    Case("null-large", "bad@plain.example", "", form="large"),
    Case("double", "bad@plain.example", _DOUBLE),
    Case("double-capitals", "bad@plain.example", "Double-Bounce@mta.example"),
    Case("ret-hdrs", "bad@plain.example", options=" RET=HDRS ENVID=QQ+2Bx",
         rcpt=" NOTIFY=FAILURE ORCPT=rfc822;Orig+2Bal@Orig.Example"),
    Case("ret-full", "bad@plain.example", options=" RET=FULL"),
    Case("ret-full-large", "bad@plain.example", options=" RET=FULL", form="large"),
    Case("never", "bad@plain.example", rcpt=" NOTIFY=NEVER"),
    Case("not-of-failure", "bad@plain.example", rcpt=" NOTIFY=SUCCESS,DELAY"),
    Case("relayed", "fine@plain.example", rcpt=" NOTIFY=SUCCESS,FAILURE"),
    Case("relayed-to-dsn", "fine@dsn.example", options=" ENVID=abc RET=HDRS", rcpt=" NOTIFY=SUCCESS,FAILURE"),
    Case("delivered", "alice@box.example", options=" ENVID=abc", rcpt=" NOTIFY=SUCCESS ORCPT=rfc822;Zed@z.example"),
    Case("delivered-full", "alice@box.example", options=" RET=FULL", rcpt=" NOTIFY=SUCCESS"),
    Case("delivered-utf8", "alice@box.example", options=" SMTPUTF8", rcpt=" NOTIFY=SUCCESS", form="utf8"),
    Case("delivered-null", "alice@box.example", "", rcpt=" NOTIFY=SUCCESS"),
    Case("delivered-double", "alice@box.example", _DOUBLE, rcpt=" NOTIFY=SUCCESS"),
    Case("discarded", "x@gone.example", rcpt=" NOTIFY=SUCCESS"),
    Case("to-double-bounce", "double-bounce@here.example", rcpt=" NOTIFY=SUCCESS"),
    Case("to-double-bounce-null", "double-bounce@here.example", ""),
    Case("success-and-failure", "alice@box.example bad@plain.example fine@plain.example",
         rcpt=" NOTIFY=SUCCESS,FAILURE"),
    Case("orcpt-utf8", "bad@dsn.example", options=" SMTPUTF8",
         rcpt=f" NOTIFY=FAILURE ORCPT=utf-8;{_UTF8}@orig.example", form="utf8"),
    Case("orcpt-escaped", "bad@dsn.example", rcpt=r" NOTIFY=FAILURE ORCPT=utf-8;b\x{E4}d@orig.example"),
]
_FEW = [case for case in CASES if case.name in
        ("one", "eight", "octets", "null", "never", "ret-hdrs", "double", "relayed", "delivered-null")]
DELAYED = [
    Case("late", "busy@plain.example"),
    Case("late-full", "busy@plain.example", options=" RET=FULL ENVID=e", rcpt=" NOTIFY=DELAY"),
    Case("late-utf8", "busy@dsn.example", options=" SMTPUTF8", form="utf8"),
    Case("late-to-dsn", "busy@dsn.example"),
    Case("late-some", "busy@plain.example busy@dsn.example busy2@plain.example busy3@plain.example",
         rcpt="| NOTIFY=FAILURE| NOTIFY=NEVER| NOTIFY=DELAY"),
]

_COPIES = {"bounce_notice_recipient": "bounce@notices.example", "2bounce_notice_recipient": "2bounce@notices.example",
           "delay_notice_recipient": "delay@notices.example"}


_LATE = {"delay_warning_time": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "2s",
         "queue_run_delay": "1s", "notify_classes": "delay", **_COPIES}


class Side:
    """One of the two mail systems with its next servers."""

    def __init__(self, stack, oracle, settings):
        self.label = "postfix" if oracle else "postfleet"
        self.notices, plain, dsn = (stack.enter_context(RecordingServer()) for _ in range(3))
        self.notices.answer("EHLO", _WITH_DSN)
        plain.answer("EHLO", _WITHOUT_DSN)
        dsn.answer("EHLO", _WITH_DSN)
        for address, reply in _REPLIES.items():
            for server in (plain, dsn):
                server.answer("RCPT", reply, to=address)
        self.servers = plain, dsn
        routes = {"plain.example": plain, "dsn.example": dsn, "notices.example": self.notices,
                  "mta.example": self.notices}
        self.ports = {str(server.port) for server in routes.values()}
        self.mta = stack.enter_context(harness.Instance(stack.enter_context(machine.folder()), {
            "transport_maps": "inline:{ gone.example=discard:thrown, " + ", ".join(
                f"{domain}=smtp:[127.0.0.1]:{server.port}" for domain, server in routes.items()) + " }",
            "virtual_mailbox_domains": "box.example",
            "virtual_mailbox_maps": "inline:{ alice@box.example=alice/ }",
            "smtputf8_enable": "yes",
            "local_header_rewrite_clients": "",
            "mydestination": "here.example",
            "in_flow_delay": "0s",
            **settings,
        }, name=self.label, oracle=oracle))
        self.ids = {}

    def send(self, cases):
        for case in cases:
            fields, text = _FORMS[case.form]
            content = f"From: {_SENDER}\nSubject: case {case.name}\nMessage-Id: <m@box.example>\n" \
                      "Date: Mon, 23 Nov 2026 07:00:00 +0000\n"
            if fields is not None:
                content += f"{fields}\n{text}"
            self.ids[case.name] = self._submit(case, content.encode())

    def _submit(self, case, content):
        wishes = itertools.cycle(case.rcpt.split("|"))
        with smtp_client.Client(self.mta.port) as client:
            lines = [f"MAIL FROM:<{case.sender}>{case.options}",
                     *(f"RCPT TO:<{to}>{wish}" for to, wish in zip(case.recipients.split(" "), wishes)), "DATA"]
            for line in lines:
                reply = client.command(line)
                if reply.code >= 400:
                    raise AssertionError(f"{self.label}, {case.name}: {line}: {reply}")
            return smtp_client.queue_id(client.content(content))

    def wait_for_end(self, late):
        """Late mail stays; its notice and copy do not."""
        if not late:
            self.mta.wait_until_empty()

        def all_logged():
            removed = set(re.findall(r"(\w+): removed$", self.mta.log(), re.MULTILINE))
            ids = {re.search(rb"^Message-Id: <(\w+)@", message.content, re.MULTILINE)[1].decode()
                   for message in self.notices.messages}
            if not late:
                ids.update(self.ids.values())
            return (len(ids) >= 2 * len(self.ids) or not late) and ids <= removed
        wait_until(f"the end of all mail in the log of {self.label}", all_logged, 60, self.mta.why_ended)

    def clear(self):
        """What was late goes out."""
        for server, greeting in zip(self.servers, (_WITHOUT_DSN, _WITH_DSN)):
            server.forget_answers()
            server.answer("EHLO", greeting)

    def told(self):
        """{case: its notices and lines of the log, without what differs from run to run}."""
        told = collections.defaultdict(list)
        of_id = {queue_id: name for name, queue_id in self.ids.items()}
        log = self.mta.log()
        ids = set(re.findall(r"postfix/\w+\[\d+\]: (?:warning: )?(\w{10,}):", log))
        for message in self.notices.messages:
            text = message.content.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace")
            name = re.findall(r"^Subject: case (\S+)$", text, re.MULTILINE)[-1]
            parameters = re.sub(r"SIZE=\d+ ?", "", message.parameters)
            told[name].append(self._plain(
                f"{message.sender} -> {message.recipients} {parameters}\n{_in_order(text)}", ids))
        for line in re.finditer(r"postfix/(?:bounce|(?=qmgr\S* \w+: to=)qmgr)\[\d+\]: ((?:warning: )?(\w{10,}): .*)", log):
            if line.group(2) in of_id:
                told[of_id[line.group(2)]].append(self._plain(line.group(1), ids))
        return {name: sorted(texts) for name, texts in told.items()}

    def _plain(self, text, ids):
        text = re.sub(r"\w{10,}", lambda word: "QUEUEID" if word.group() in ids else word.group(), text)
        text = re.sub(r"QUEUEID\.\d+/", "QUEUEID.TIME/", text)
        text = re.sub(r"delays?=[0-9./]+", "delay=TIME", text)
        text = re.sub(r"\w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d \+0000(?: \(UTC\))?", "DATE", text)
        return re.sub(r"(\]:)(\d+)", lambda port: "]:PORT" if port.group(2) in self.ports else port.group(), text)


def _in_order(text):
    """With the paragraphs about recipients in the order of their text: who is first is up to the servers."""
    def put(match):
        return "".join(sorted(re.findall(r"(?s).+?\n\n", match.group())))
    text = re.sub(r"(?:^<.*\n(?: .*\n)*\n)+", put, text, flags=re.MULTILINE)
    return re.sub(r"(?:^Final-Recipient: .*\n(?:.+\n)*\n)+", put, text, flags=re.MULTILINE)


@unittest.skipUnless(machine.IS_ROOT, "real Postfix needs root: run ./dev test as root, as CI does")
class Notices(unittest.TestCase):
    maxDiff = None

    def assert_told_alike(self, cases, settings, late=False, clears=False):
        with contextlib.ExitStack() as stack:
            sides = [Side(stack, oracle, settings) for oracle in (True, False)]
            for side in sides:
                side.send(cases)
            told = []
            for side in sides:
                side.wait_for_end(late)
                if clears:
                    side.clear()
                    side.wait_for_end(late=False)
                told.append(side.told())
            theirs, ours = told
            self.assertTrue(theirs)
            for case in cases:
                with self.subTest(case.name):
                    self.assertEqual("\n".join(theirs.get(case.name, [])), "\n".join(ours.get(case.name, [])))

    def test_are_postfixs(self):
        self.assert_told_alike(CASES, {})

    def test_with_postmasters_copies_are_postfixs(self):
        self.assert_told_alike(CASES, {"notify_classes": "bounce, 2bounce, delay", **_COPIES})

    def test_with_copies_of_class_bounce_are_postfixs(self):
        self.assert_told_alike(_FEW, {"notify_classes": "bounce", **_COPIES})

    def test_with_copies_of_class_2bounce_are_postfixs(self):
        self.assert_told_alike(_FEW, {"notify_classes": "2bounce", **_COPIES})

    def test_without_smtputf8_are_postfixs(self):
        self.assert_told_alike(_FEW, {"smtputf8_enable": "no"})

    def test_with_another_size_limit_are_postfixs(self):
        self.assert_told_alike(_FEW, {"bounce_size_limit": "100"})

    def test_of_delay_are_postfixs(self):
        self.assert_told_alike(DELAYED, _LATE, late=True)

    def test_of_delay_that_clears_are_postfixs(self):
        self.assert_told_alike(DELAYED, {**_LATE, "confirm_delay_cleared": "yes"}, late=True, clears=True)

    def assert_template_told_alike(self, template):
        with machine.folder() as folder:
            folder.chmod(0o755)
            path = folder / "bounce.cf"
            path.write_text(template)
            self.assert_told_alike(_FEW, {"bounce_template_file": str(path)})

    def test_with_a_template_of_ones_own_are_postfixs(self):
        self.assert_template_told_alike("""\
# of our own
failure_template = <<EOF
Charset: iso-8859-1
From: Post Office <postoffice>
Subject: It came back

Sorry: $myhostname, ${mail_name}, $maximal_queue_lifetime_days, $$.
EOF
success_template = <<EOF
Subject: It arrived

Good.
EOF
""")

    def test_with_a_template_that_is_wrong_are_postfixs(self):
        self.assert_template_told_alike("""\
failure_template = <<EOF
Charset: us-ascii
Foo: bar
Subject: never seen

Never seen.
EOF
success_template = <<EOF
Subject: It arrived

Good.
EOF
""")


if __name__ == "__main__":
    facts.main()
