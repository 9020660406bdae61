"""What local delivery makes of aliases, .forward files and parameters: ours beside real Postfix.

local_cases.txt has the set-ups. Each system runs in a mount namespace with users, homes and a mail spool of its own.
Compared, for each mail: the agents' log lines, and every file and its text, owner and mode.
"""

import collections
import json
import os
import pathlib
import pwd
import re
import subprocess
import sys
import unittest

import facts
import harness
import machine
import own_root
import smtp_client
from deadlines import wait_until
from stock import MASTER_CF

CASES = pathlib.Path(__file__).with_name("local_cases.txt")
USERS = {"alice": 5001, "bob": 5002, "carol": 5003, "dave": 5004, "erin": 5005, "defpriv": 5010}
SENDER = "s@remote.example"
# Group or case -> why we are meant to differ.
KNOWN = {
    "plain/": "the file of the case below is warned of; a lock file that cannot be made beside /file is not",
    "plain/incprivate": "an :include: of a root's alias is read as default_privs, not as root: the helper reads nothing as root",
    "forwards2/": "no warning of a lock file that cannot be made beside /file",
    "maildir/": "as the case below",
    "maildir/homeless": "a home is never made: it is not there, whoever may write above it",
    "ownership/link": "a link is refused, wherever it leads",
    "absent/": "one line says which table failed, and why",
    "substitution/": "as the cases below",
    "substitution/first": "a rule that is refused makes its table fail, as every rule that cannot be read: mail waits",
    "substitution/sub": "the same",
}
_SECONDS_MAX = 30.0

_LINE = re.compile(r"^\S+ +\S+ +\S+ \S+ \S*?/?(\w+)\[\d+\]: (.*)$", re.MULTILINE)
_ID = re.compile(r"^([0-9A-Za-z]{10,20}): (.*)$")
_AGENTS = ("local", "bounce", "discard", "smtp", "error", "lmtp")


class Group:
    """One configuration: parameters, aliases, files, mails."""

    def __init__(self, name):
        self.name = name
        self.parameters, self.aliases, self.files, self.mails = {}, [], [], []


def read_cases():
    groups, text = [], None
    for line in CASES.read_text().splitlines():
        if text is not None and line.startswith("  "):
            text.append(line[2:] + "\n")
            continue
        if not line.strip() or line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        if kind == "group":
            groups.append(Group(rest))
        elif kind == "set":
            name, _, value = rest.partition("=")
            groups[-1].parameters[name.strip()] = value.strip()
        elif kind == "alias":
            groups[-1].aliases.append(rest + "\n")
        elif kind == "file":
            path, owner, mode = rest.split()
            text = []
            groups[-1].files.append((path, owner, mode, text))
        elif kind == "mail":
            name, recipient, *more = rest.split(None, 2)
            groups[-1].mails.append((name, recipient, more[0] if more else ""))
        else:
            raise ValueError(f"{CASES.name}: {line}")
    return groups


# One side, in a namespace of its own.


def mount_users(folder):
    def bind(target, text):
        source = folder / pathlib.Path(target).name
        source.write_text(pathlib.Path(target).read_text() + text)
        source.chmod(0o644)
        subprocess.run(["mount", "--bind", source, target], check=True)
    bind("/etc/passwd", "".join(f"{name}:x:{uid}:{uid}:{name.title()} Test:/home/{name}:{'' if name == 'bob' else '/bin/sh'}\n"
                                for name, uid in USERS.items()))
    bind("/etc/group", "".join(f"{name}:x:{uid}:\n" for name, uid in USERS.items()))
    for path in ("/home", "/var/mail"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", path], check=True)


def give(path, owner, mode):
    entry = pwd.getpwnam(owner)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    os.chmod(path, mode)


def clear(path):
    subprocess.run(["find", path, "-mindepth", "1", "-delete"], check=True)


def prepare(group):
    clear("/home")
    clear("/var/mail")
    os.chown("/var/mail", 0, 8)
    os.chmod("/var/mail", 0o2775)
    for name in USERS:
        if name == "dave":
            continue  # has no home
        path = pathlib.Path("/home", name)
        path.mkdir()
        give(path, name, 0o755)
    out = pathlib.Path("/home/out")
    out.mkdir()
    out.chmod(0o1777)
    for name, owner, mode, text in group.files:
        path = pathlib.Path(name)
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            give(path.parent, owner, 0o755)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif text and text[0].startswith("-> "):
            path.symlink_to(text[0][3:].strip())
            continue
        else:
            path.write_text("".join(text))
        give(path, owner, int(mode, 8))


def masked(text, folder):
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r"\b[A-Z][a-z]{2},? [A-Z ][a-z]{2} [ \d]\d [\d:]{8} \d{4}", "DATE", text)
    text = re.sub(r"\b[A-Z][a-z]{2}, +\d+ [A-Z][a-z]{2} \d{4} [\d:]{8} [+-]\d{4}( \(\w+\))?", "DATE", text)
    text = re.sub(r"(?<![\w/])(?=[0-9][0-9A-Za-z]{11,20}(?!\w))[0-9BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz]+", "ID", text)
    text = re.sub(r"\b\d{10}\.[VP]\w+\.[\w.-]+", "NAME", text)
    return re.sub(r"delay=[\d.]+, delays=[\d./]+", "delay=T", text)


def messages_of(path):
    data = path.read_bytes().decode("latin-1")
    parts = re.split(r"(?:\A|(?<=\n\n))(?=From \S* +\w{3} )", data)
    return [part for part in parts if part]


def files_below(top, folder, configured):
    found = []
    for base, _, names in os.walk(top):
        for name in names:
            path = pathlib.Path(base, name)
            if str(path) in configured and str(path) not in configured["grown"]:
                continue
            status = path.lstat()
            where = re.sub(r"/(new|cur|tmp)/[^/]+$", r"/\1/NAME", str(path))
            for text in messages_of(path) if path.is_file() and not path.is_symlink() else [""]:
                case = re.search(r"^Message-Id: <([^@>]+)@", text, re.MULTILINE)
                found.append((case.group(1) if case else "", f"{where} {status.st_uid}:{status.st_gid}"
                              f" {status.st_mode & 0o7777:o}\n{masked(text, folder)}"))
    return found


def run_group(group, folder, oracle):
    prepare(group)
    aliases = folder / "aliases"
    aliases.write_text("".join(group.aliases))
    parameters = {
        "alias_maps": f"texthash:{aliases}" if not group.aliases else f"hash:{aliases}",
        "mydestination": "mta.example, localhost",
        "myorigin": "mta.example",
        "transport_maps": "inline:{ remote.example=discard: }",
        "default_privs": "defpriv",
        "notify_classes": "",
        "in_flow_delay": "0s",
        "biff": "no",
    }
    parameters.update({name: value.replace("{aliases}", str(aliases)) for name, value in group.parameters.items()})
    mta = harness.Instance(folder, parameters, MASTER_CF, name="postfix" if oracle else "postfleet", oracle=oracle)
    if group.aliases:
        status, _, error = mta.run("postalias", f"hash:{aliases}")
        if status:
            raise AssertionError(f"postalias: {error}")
    configured = {name: 1 for name, *_ in group.files}
    before = {name: pathlib.Path(name).read_bytes() for name in configured
              if pathlib.Path(name).is_file() and not pathlib.Path(name).is_symlink()}
    refused = []
    with mta:
        with smtp_client.Client(mta.port) as client:
            for name, recipient, options in group.mails:
                sender = "" if options == "bounce" else SENDER
                header = options + "\n" if options.startswith("Delivered-To") else ""
                content = (f"Subject: {name}\nMessage-Id: <{name}@case>\nFrom: {SENDER}\n{header}"
                           "\nFrom here on\nbody\n").encode()
                if options.startswith("NOTIFY"):
                    for line in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{recipient}> {options}", "DATA"):
                        client.command(line)
                    reply = client.content(content)
                else:
                    reply = client.send(sender, [recipient], content)
                if reply.code != 250:
                    refused.append((name, f"reply: {reply.code} {reply.text}"))
            client.quit()
        accepted = len(group.mails) - len(refused)
        wait_until(f"rest of {group.name}", lambda: settled(mta, accepted), _SECONDS_MAX, mta.why_ended, poll_seconds=0.1)
        log = mta.log()
    configured["grown"] = {name for name, text in before.items() if pathlib.Path(name).read_bytes() != text}
    found = files_below("/home", folder, configured) + files_below("/var/mail", folder, configured)
    mail_root = mta.folder
    return outcome(log, found, refused, mail_root)


def settled(mta, count):
    log = mta.log()
    # Postfix begins a notice, and drops it, where nobody wants one.
    mails = {mail for mail, text in re.findall(r"cleanup\[\d+\]: (\w+): message-id=<(.*)", log) if not text.startswith(mail)}
    ids = mails | set(re.findall(r"notification: (\w+)$", log, re.MULTILINE))
    done = set(re.findall(r"\[\d+\]: (\w+): (?:removed|to=.* status=(?:deferred|SOFTBOUNCE))", log))
    forwarded = set(re.findall(r"\(forwarded as (\w+)\)", log))
    return len(mails) >= count and (ids | forwarded) <= done


def outcome(log, found, refused, folder):
    """Case -> lines and files; "" -> what belongs to none."""
    cases, result = {}, collections.defaultdict(lambda: {"lines": [], "files": []})
    for program, text in _LINE.findall(log):
        tagged = _ID.match(text)
        if program == "cleanup" and tagged and tagged.group(2).startswith("message-id=<"):
            cases[tagged.group(1)] = tagged.group(2)[12:].partition("@")[0]
    for parent, child in re.findall(r"\]: (\w+): to=.*\(forwarded as (\w+)\)$", log, re.MULTILINE):
        cases.setdefault(child, cases.get(parent, ""))
    for program, text in _LINE.findall(log):
        if program not in _AGENTS or f"to=<{SENDER}>" in text:
            continue
        tagged = _ID.match(text)
        case, text = (cases.get(tagged.group(1), ""), tagged.group(2)) if tagged else ("", text)
        result[case]["lines"].append(masked(f"{program}: {text}", folder))
    for case, text in refused:
        result[case]["lines"].append(text)
    for case, text in found:
        result[case]["files"].append(text)
    for parts in result.values():
        parts["lines"].sort()
        parts["files"].sort()
    return result


def run_side(folder, oracle, wanted):
    mount_users(folder)
    results = {}
    for number, group in enumerate(read_cases()):
        if wanted and group.name not in wanted:
            continue
        own = folder / str(number)
        own.mkdir()
        own.chmod(0o755)
        try:
            results[group.name] = run_group(group, own, oracle)
        except AssertionError as error:
            results[group.name] = {"": {"lines": [f"failed: {error}"], "files": []}}
    return results


def start_side(folder, oracle):
    """Its results come as JSON on standard output."""
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-B", __file__, "--side",
               "postfix" if oracle else "postfleet", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "LANG": "C", "SCENARIO_BIN": str(machine.bin_folder())})


class LocalDelivery(unittest.TestCase):
    maxDiff = None

    def test_is_as_with_postfix(self):
        if refusal := own_root.refusal():
            self.skipTest(refusal)
        sides = [start_side(self.enterContext(machine.folder()), oracle) for oracle in (True, False)]
        postfix, postfleet = [json.loads(side.communicate()[0]) for side in sides]
        different = set()
        for group in read_cases():
            theirs, ours = postfix[group.name], postfleet[group.name]
            for case in sorted(set(theirs) | set(ours)):
                if theirs.get(case) != ours.get(case):
                    different.add(f"{group.name}/{case}")
                    if f"{group.name}/{case}" not in KNOWN:
                        show(f"{group.name}/{case}", theirs.get(case), ours.get(case))
        self.assertEqual(sorted(different - set(KNOWN)), [])
        self.assertEqual(sorted(set(KNOWN) - different), [], "known differences that are none")


def show(name, theirs, ours):
    none = {"lines": [], "files": []}
    print(f"== {name}")
    for kind in ("lines", "files"):
        postfix = collections.Counter((theirs or none)[kind])
        postfleet = collections.Counter((ours or none)[kind])
        for text in (postfix - postfleet).elements():
            print(f"postfix:   {text}")
        for text in (postfleet - postfix).elements():
            print(f"postfleet: {text}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        answer, sys.stdout = sys.stdout, sys.stderr  # what a failure prints is no part of it
        json.dump(run_side(pathlib.Path(sys.argv[3]), sys.argv[2] == "postfix", sys.argv[4:]), answer)
    else:
        facts.main()
