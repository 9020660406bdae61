"""smtp_generic_maps beside real Postfix: what the next server is told, what the header says, what the log keeps."""

import collections
import re
import unittest

import corpus
import facts
import harness
import machine
import postfix_form
import smtp_client
from deadlines import wait_until
from smtp_peer import RecordingServer

TABLE = """\
a@one.example       b@two.example
plus@one.example    sum@two.example
@dom.example        @out.example
localuser           mapped@two.example
lu2                 lu3
@other.example      fixed@two.example
multi@one.example   x@two.example, y@two.example
bare@one.example    bare
exact+ext@one.example  exact@two.example
ext2@one.example    r+own@two.example
chain@one.example   a@one.example
dotless@one.example u@host
percent@one.example u%h.example
bang@one.example    h.example!u
angle@one.example   <w@two.example> (comment)
case@one.example    UP@Two.Example
blank@one.example   a b@two.example
quoted@one.example  "q n"@two.example
strip@one.example   @out.example
route@one.example   @r.example:u@two.example
"""
RECIPIENTS = [
    "a@one.example", "A@one.example", "plus@one.example", "plus+ext@one.example", "x@dom.example", "x+y@dom.example",
    "exact+ext@one.example", "ext2+q@one.example", "z@other.example", "z+e@other.example", "multi@one.example",
    "bare@one.example", "chain@one.example", "dotless@one.example", "percent@one.example", "bang@one.example",
    "angle@one.example", "case@one.example", "blank@one.example", "quoted@one.example", "strip+e@one.example",
    "route@one.example", "same@n.example", "localuser@n.example",
]
HEADER = b"""\
From: "A B" <a@one.example> (c)
To: x@dom.example, y+e@dom.example (c), Group: plus+z@one.example, nobody@n.example;,
\tlu2@mta.example, localuser@mta.example, lu2+x@mta.example
Cc: =?utf-8?q?X?= <plus+ext@one.example>, "Very, Long" <veryveryverylongaddress@dom.example>, Another Name <another@dom.example>, n@n.example
Reply-To: n@n.example,
   <n@n.example>
Sender: <localuser>
Resent-From: bare@one.example
Resent-To: N. N. <a@one.example>
X-Other: a@one.example
Errors-To: multi@one.example
Message-Id: <a@one.example>
Subject: a@one.example
Return-Receipt-To: "a b"@dom.example
Disposition-Notification-To: chain@one.example
Mail-Followup-To: dotless@one.example, percent@one.example
Apparently-To: angle@one.example, case@one.example, blank@one.example, quoted@one.example
Resent-Cc: <>, bang@one.example
Content-Type: message/rfc822

From: a@one.example

From: a@one.example
"""


_CORPUS_DOMAINS_MAX = 4000
_SHOWN_MAX = 3
_ARRIVAL_SECONDS_MAX = 60.0


class Side:
    """One of the two mail systems and the server that it sends to."""

    def __init__(self, stack, oracle, parameters, table=TABLE):
        self.peer = stack(RecordingServer())
        self.peer.answer("EHLO", "250-peer.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES")
        folder = stack(machine.folder())
        (folder / "generic").write_text(table)
        self.mta = stack(harness.Instance(folder, {
            "relayhost": f"[127.0.0.1]:{self.peer.port}",
            "smtp_generic_maps": f"texthash:{folder}/generic",
            "recipient_delimiter": "+",
            "local_header_rewrite_clients": "",
            "in_flow_delay": "0s",
            "smtpd_forbid_bare_newline": None if oracle else "normalize",
            "smtpd_forbid_bare_newline_exclusions": None if oracle else "",
            **parameters,
        }, name="postfix" if oracle else "postfleet", oracle=oracle))

    def send_everything(self):
        with smtp_client.Client(self.mta.port) as client:
            for address in RECIPIENTS:
                reply = client.send(address, [address], b"Subject: x\n\nx\n")
                assert reply.code == 250, reply
            reply = client.send("", ["header@n.example"], HEADER)
            assert reply.code == 250, reply

    def send_corpus(self, messages):
        """What arrived, in the order of `messages`."""
        with smtp_client.Client(self.mta.port) as client:
            for number, message in enumerate(messages):
                reply = client.send("", [f"m{number}@peer.example"], message, " BODY=8BITMIME")
                assert reply.code == 250, (number, reply)
        wait_until("an empty queue", lambda: "Mail queue is empty" in self.mta.run("postqueue", "-p")[1],
                   _ARRIVAL_SECONDS_MAX, self.mta.why_ended)
        arrived = {message.recipients[0]: postfix_form.split_added(message.content.replace(b"\r\n", b"\n"), [b"Received"])[1]
                   for message in self.peer.messages}
        return [arrived[f"m{number}@peer.example"] for number in range(len(messages))]

    def told(self):
        """Original recipient -> (MAIL's argument, RCPT's)."""
        self.peer.wait_for(len(RECIPIENTS) + 1, hopeless=self.mta.why_ended)
        told, mail = {}, None
        for verb, argument in list(self.peer.attempts):
            if verb == "MAIL":
                mail = argument
            elif verb == "RCPT":
                told[argument.partition("ORCPT=rfc822;")[2]] = (mail, argument)
        return told

    def header(self):
        message = next(message for message in self.peer.messages if message.recipients == ["header@n.example"])
        return postfix_form.split_added(message.content.replace(b"\r\n", b"\n"), [b"Received"])[1]

    def logged(self):
        found = self.mta.wait_for_log(r"/smtp\[\d+\]: \w+: to=<(.*?)>, .*dsn=([\d.]+), status=(\w+) ", len(RECIPIENTS) + 1)
        return sorted(line.groups() for line in found)


class BesidePostfix(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if not machine.IS_ROOT:
            self.skipTest("needs root, as Postfix does: run ./dev test as root, as CI does")

    def sides(self, **parameters):
        return [Side(self.enterContext, oracle, parameters) for oracle in (True, False)]

    def assert_the_same(self, **parameters):
        postfix, ours = self.sides(**parameters)
        for side in (postfix, ours):
            side.send_everything()
        told = postfix.told()
        self.assertEqual(len(told), len(RECIPIENTS) + 1)
        self.assertEqual(ours.told(), told)
        self.assertEqual(ours.header().decode("latin-1"), postfix.header().decode("latin-1"))
        self.assertEqual(ours.logged(), postfix.logged())
        return told

    def test_addresses_are_replaced_and_extensions_dropped(self):
        told = self.assert_the_same()
        self.assertEqual(told["a@one.example"], ("FROM:<b@two.example>", "TO:<b@two.example> ORCPT=rfc822;a@one.example"))
        self.assertIn("TO:<sum@two.example>", told["plus+2Bext@one.example"][1])

    def test_extensions_are_kept_where_that_is_asked_for(self):
        told = self.assert_the_same(propagate_unmatched_extensions="canonical, generic")
        self.assertIn("TO:<sum+ext@two.example>", told["plus+2Bext@one.example"][1])

    def test_local_names_are_those_of_mydestination(self):
        self.assert_the_same(myorigin="n.example", append_dot_mydomain="yes")

    def test_every_domain_of_the_corpus_is_replaced(self):
        """Header fields as people and programs write them."""
        # Stray CRs are Postfix 3.9's affair, the one beside us is older.
        messages = [message for message in corpus.read() if b"\r" not in message]
        found = collections.Counter(domain.lower().strip(b".-").decode() for message in messages for domain in re.findall(
            rb"@([A-Za-z0-9.-]+)", message.partition(b"\n\n")[0]))
        domains = [domain for domain, _ in found.most_common(_CORPUS_DOMAINS_MAX) if domain]
        table = "".join(f"@{domain} @x{number}.example\n" for number, domain in enumerate(domains))
        postfix, ours = (Side(self.enterContext, oracle, {}, table).send_corpus(messages) for oracle in (True, False))
        different = [number for number, pair in enumerate(zip(postfix, ours)) if pair[0] != pair[1]]
        for number in different[:_SHOWN_MAX]:
            pairs = zip(postfix[number].split(b"\n") + [None], ours[number].split(b"\n") + [None])
            print(f"message {number}: {next(pair for pair in pairs if pair[0] != pair[1])}")
        self.assertEqual(different, [])
        replaced = sum(b".example" in message.partition(b"\n\n")[0] for message in ours)
        print(f"{len(ours)} messages, {replaced} with replaced addresses", flush=True)
        self.assertGreater(replaced, len(messages) * 9 // 10)

    def test_a_table_that_fails_defers(self):
        """Postfix's client ends with a fatal error then, and no mail of the transport moves for a minute."""
        side = Side(self.enterContext, False, {"smtp_generic_maps": "texthash:/nonexistent/generic"})
        smtp_client.deliver(side.mta.port, "s@n.example", ["r@n.example"], b"Subject: x\n\nx\n")
        found = side.mta.wait_for_log(r"to=<r@n\.example>, relay=none, .*dsn=([\d.]+), status=(\w+) \((.*)\)$")
        self.assertEqual(found[0].groups(), ("4.3.0", "deferred", "unknown mail transport error"))
        self.assertRegex(side.mta.log(), "warning: smtp_generic_maps map lookup problem for s@n.example")
        wait_until("the message in the queue", side.mta.queued)
        self.assertEqual(side.peer.messages, [])


if __name__ == "__main__":
    facts.main()
