"""What pipe(8) is asked to do, case by case: one transport of master.cf each, with what its command does.

A case is a dict: `attributes` behind "pipe" ({probe} is the program, {folder} a folder), `mails` as
(sender, local parts or addresses, contents), `does` for what the program does after it has read, `main`
for parameters of main.cf. The recipients' domain is NAME.example.
"""

_BODY = b"Subject: a pipe\n\nFrom here\n.dot\n..dots\nFrom\nlast\n"
_ARGS = "$sender|$recipient|$original_recipient|$user|$extension|$mailbox|$domain|$nexthop|$size|$queue_id"


def _case(attributes="user=daemon argv={probe}", mails=None, does=None, main=None, single=True):
    return {"attributes": attributes, "mails": mails or [("s@sender.example", ["r"], _BODY)],
            "does": does or {}, "main": main or {}, "single": single}


def _argv(words, flags="", **more):
    return _case(f"{flags and 'flags=' + flags + ' '}user=daemon argv={{probe}} {words}", **more)


def _to(*recipients, sender="s@sender.example", contents=_BODY):
    return [(sender, list(recipients), contents)]


_NULL = _to("r", sender="")
_ODD = _to('"two words"', '"quo\\"te"', "plus+ext", "UPPER+Ext", sender='"odd one"@Sender.Example')
_HOSTILE = _to('"; touch x;"', '"$(id)`id`"', "|cat", "!x", "a%b", sender='"a b;c"@sender.example')

CASES = {
    "plain": _argv("a b"),
    # Flags
    "flagb": _argv("", "B"),
    "flagd": _argv("", "D"),
    "flagf": _argv("", "F"),
    "flago": _argv("", "O"),
    "flagr": _argv("", "R"),
    "flagx": _argv("", "X"),
    "flagh": _argv("$recipient $nexthop $domain", "h", mails=_to("Some.One+Ext@FLAGH.Example")),
    "flagu": _argv("$recipient $user $extension $mailbox", "u", mails=_to("Some.One+Ext@FLAGU.Example")),
    "flagq": _argv("$sender $recipient $mailbox $user", "q", mails=_ODD),
    "noflagq": _argv("$sender $recipient $mailbox $user", mails=_ODD),
    "flagdot": _argv("", "."),
    "flagquote": _argv("", ">"),
    "flagall": _argv("$sender $recipient", "BDFORXhqu.>", mails=_to("Some.One+Ext@FlagAll.Example")),
    "flagnull": _argv("$sender", "FR", mails=_NULL),
    "flagmany": _argv("", "FR", mails=_to("a", "b", sender='"odd one"@sender.example'), single=False),
    "dmany": _argv("", "D", mails=_to("a", "b"), single=False),
    "omany": _argv("", "O", mails=_to("a", "b"), single=False),
    "done": _argv("$recipient", "DO", mails=_to("a"), single=False),
    "loop": _argv("", "D", mails=_to("r", contents=b"Delivered-To: R@loop.example\n\nx\n")),
    # Words
    "words": _argv("$recipient {  a  b  } ${sender} $(sender) $$x x$$ a$user", mails=_to("r")),
    "macros": _argv(_ARGS, mails=_to("user+ext@macros.example", contents=_BODY)),
    "client": _argv("${client_address} ${client_helo} ${client_hostname} ${client_protocol} "
                    "[${sasl_method}] [${sasl_username}] [${sasl_sender}]"),
    "every": _argv("x $recipient y <$user>$nexthop z $extension", mails=_to("a+1", "b", "c+3"), single=False),
    "mixed": _argv("$sender:$recipient", mails=_to("a", "b"), single=False),
    "noext": _argv("[$extension] $extension", mails=_to("a")),
    "condition": _argv("${extension?yes}${extension:no} ${nexthop?{n}:{m}}", mails=_to("a", "b+c"), single=False),
    "unknown": _argv("$nosuch"),
    "empty": _argv("$sender", mails=_NULL),
    "nullempty": _case("flags=FRq null_sender= user=daemon argv={probe} $sender", mails=_NULL),
    "nullother": _case("flags=FRq null_sender=no.body+here user=daemon argv={probe} $sender", mails=_NULL),
    "nullodd": _case("flags=qR null_sender=no:body user=daemon argv={probe} $sender", mails=_NULL),
    "hostile": _argv("$recipient -- $sender $mailbox", mails=_HOSTILE),
    "hostileq": _argv("$recipient -- $sender $mailbox", "q", mails=_HOSTILE),
    "nodomain": _argv("[$domain] $recipient", mails=_to("a@nodomain.example")),
    # Contents
    "eolcrlf": _case("flags=BFR. eol=\\r\\n user=daemon argv={probe}"),
    "eolodd": _case("eol=\\041\\n user=daemon argv={probe}"),
    "size": _case("size=500 user=daemon argv={probe} $size",
                  mails=_to("r", contents=b"x\n" * 100) + _to("r", contents=b"x" * 70 + b"\n" + b"y\n" * 400)),
    "unread": _argv("", does={"read": 0}, mails=_to("r", contents=b"z" * 70 + b"\n" + b"longer text\n" * 40000)),
    # Who and where
    "group": _case("user=daemon:adm argv={probe}"),
    "directory": _case("directory={folder} user=daemon argv={probe}"),
    "nodirectory": _case("directory=/no/such/folder user=daemon argv={probe}"),
    "rootdirectory": _case("directory={folder}/private user=daemon argv={probe}"),
    "chroot": _case("chroot={folder}/jail user=daemon argv=/bin/none"),
    "nochroot": _case("chroot=/no/such/folder user=daemon argv={probe}"),
    "environ": _case(main={"export_environment": "TZ MAIL_CONFIG=/none { SPACED = a  b } EMPTY= LANG=C PATH=/nowhere"}),
    "noprogram": _case("user=daemon argv=/no/such/program $recipient"),
    "noname": _case("user=daemon argv=nosuchprogram"),
    "bypath": _case("user=daemon argv=true"),
    "notexec": _case("user=daemon argv=/etc/passwd"),
    # What it says
    "output": _argv("", does={"output": "all\twell\nnext \x01\x80line\n"}),
    "softbounce": _case("-o soft_bounce=yes user=daemon argv={probe}", does={"exit": 67}),
    "filter": _case("-o pipe_delivery_status_filter=$filter user=daemon argv={probe}", does={"exit": 67}),
    "dsn4": _argv("", does={"exit": 1, "output": "4.2.1 later please\n"}),
    "dsn5": _argv("", does={"exit": 75, "output": "5.7.1 never\nmore\n"}),
    "dsn2": _argv("", does={"exit": 1, "output": "2.0.0 fine\n"}),
    "dsnok": _argv("", does={"exit": 0, "output": "5.7.1 never"}),
    "dsnodd": _argv("", does={"exit": 1, "output": " 5.7.1 never"}),
    "dsnbare": _argv("", does={"exit": 1, "output": "5.7.1"}),
    "dsnlong": _argv("", does={"exit": 1, "output": "5.7.1234 x"}),
    "stderr": _argv("", does={"exit": 1, "error": "to stderr\n"}),
    "much": _argv("", does={"exit": 1, "output": "0123456789" * 1000}),
    "term": _argv("", does={"signal": 15}),
    "kill": _argv("", does={"signal": 9, "output": "last words"}),
    "segv": _argv("", does={"signal": 11}),
    "slow": _argv("", does={"child": 1, "wait": 1000}, main={"slow_time_limit": "2s"}),
    "slowoutput": _argv("$recipient", does={"output": "working", "wait": 1000}, main={"slowoutput_time_limit": "2s"}),
    "endless": _argv("", does={"endless": 1}, main={"endless_time_limit": "2s"}),
    "closed": _argv("", does={"close": 1, "wait": 1000}, main={"closed_time_limit": "2s"}),
}
for _code in (1, 2, 63, *range(64, 80), 99, 126, 127, 128, 137, 255):
    CASES[f"exit{_code}"] = _argv("", does={"exit": _code})
CASES["exit75said"] = _argv("", does={"exit": 75, "output": "try again\n"})
CASES["exit67said"] = _argv("", does={"exit": 67, "output": "no such one here\n"})
CASES["exit1said"] = _argv("$recipient", does={"exit": 1, "output": "it went\nwrong"})
CASES["exit1many"] = _argv("$recipient", does={"exit": 1}, mails=_to("a", "b"), single=False)

# Services that cannot work: their attributes behind "pipe", or what else is wrong. {owner}: mail_owner.
WRONG = {
    "wrongflag": "flags=Zq user=daemon argv={probe}",
    "wrongattribute": "users=daemon argv={probe}",
    "wrongsize": "size=big user=daemon argv={probe}",
    "wronguser": "user=no-such-user argv={probe}",
    "wronggroup": "user=daemon:no-such-group argv={probe}",
    "wrongroot": "user=root argv={probe}",
    "wrongrootgroup": "user=daemon:root argv={probe}",
    "wrongowner": "user={owner} argv={probe}",
    "wrongnouser": "argv={probe}",
    "wrongnoargv": "user=daemon",
}
