"""Programs and libraries that send mail, each as a command line: what clients_test.py runs.

A client of Client.command sends one Mail (`times` on one connection, where it can do that) and ends as it judges.
"""

import contextlib
import fcntl
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import smtp_client

_SCRIPTS = pathlib.Path(__file__).parent / "clients"
_FETCH_SECONDS_MAX = 120


class Missing(AssertionError):
    """There is no client; the text says what to do."""


class Client:
    """cannot: names of mails that it has no way to send."""
    name = ""
    cannot = ()
    ipv6 = True
    # One refused recipient ends it.
    all_or_nothing = False

    def command(self, host, port, mail, name, folder):
        """[program, arguments], which gets mail.content on standard input. folder: a new one, for files."""
        raise NotImplementedError

    def input(self, mail, name):
        return mail.content(name, self.name)


class Script(Client):
    """One of the folder clients: HOST PORT SENDER RECIPIENTS TIMES."""

    def __init__(self, name, *interpreter, all_or_nothing=False):
        self.name = name
        self._interpreter = interpreter
        self.all_or_nothing = all_or_nothing

    def command(self, host, port, mail, name, folder):
        return [*self._interpreter, host, port, mail.sender_of(name, self.name), ",".join(mail.recipients()), mail.times]


class Swaks(Client):
    cannot = ("again",)

    def __init__(self, name, *options):
        self.name = name
        self._options = options

    def command(self, host, port, mail, name, folder):
        return ["swaks", "--server", host, "--port", port, "--helo", "client.example", "--from", mail.sender_of(name, self.name),
                "--to", ",".join(mail.recipients()), "--data", "-", "--no-data-fixup", "--suppress-data", *self._options]

    def input(self, mail, name):
        # As it stands (otherwise swaks looks for \n and %MACROS% in it): it ends the last line alone.
        return smtp_client.on_wire(super().input(mail, name)) + b"."


class Curl(Client):
    def __init__(self, name, *options):
        self.name = name
        self._options = options
        self.all_or_nothing = not options

    def command(self, host, port, mail, name, folder):
        content = folder / "content"
        content.write_bytes(self.input(mail, name).replace(b"\n", b"\r\n"))
        where = f"[{host}]" if ":" in host else host
        # --next forgets all options.
        one = ["-sS", "--mail-from", mail.sender_of(name, self.name), "--upload-file", content, *self._options,
               *[word for to in mail.recipients() for word in ("--mail-rcpt", to)], f"smtp://{where}:{port}/client.example"]
        return ["curl", "-q", *one, *(["--next", *one] * (mail.times - 1))]


class Msmtp(Client):
    name = "msmtp"
    cannot = ("again",)
    all_or_nothing = True

    def command(self, host, port, mail, name, folder):
        # A file that is not there: none of the user's.
        return ["msmtp", "--file=/dev/null", f"--host={host}", f"--port={port}", "--domain=client.example", "--tls=off",
                "--auth=off", f"--from={mail.sender_of(name, self.name)}", "--", *mail.recipients()]


class Snail(Client):
    """Makes header and MIME structure itself."""
    ipv6 = False  # knows no address in brackets
    name = "s-nail"
    cannot = ("again", "utf8")
    all_or_nothing = True

    def command(self, host, port, mail, name, folder):
        where = f"[{host}]" if ":" in host else host
        return ["s-nail", "-:/", "-S", "v15-compat", "-S", f"mta=smtp://{where}:{port}", "-S", "smtp-auth=none", "-S",
                "ttycharset=utf-8", "-S", "mime-encoding=8bit", "-S", "hostname=client.example", "-S", "DEAD=/dev/null",
                "-s", name, "-r", mail.sender_of(name, self.name), *mail.recipients()]

    def input(self, mail, name):
        return mail.body


def all_clients():
    return [Swaks("swaks"), Swaks("swaks-pipelined", "--pipeline"), Curl("curl"), Curl("curl-some", "--mail-rcpt-allowfails"),
            Msmtp(), Snail(), Script("smtplib", "/usr/bin/python3", "-B", _SCRIPTS / "send_mail.py"),
            Script("net-smtp", "perl", _SCRIPTS / "send.pl"), Script("ruby", "ruby", _SCRIPTS / "send.rb", all_or_nothing=True),
            Script("go", go_client(), all_or_nothing=True), Script("nodemailer", "node", nodemailer() / "send.js")]


# What is made before it runs

def _made_folder():
    """Of the user's cache, for the clients."""
    home = os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    folder = pathlib.Path(cache, "postfleet", "clients")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def go_client():
    """send.go, compiled."""
    folder, source = _made_folder(), (_SCRIPTS / "send.go").read_bytes()
    program, done = folder / "send-go", folder / "compiled.go"
    with _locked(folder):
        if not program.is_file() or not done.is_file() or done.read_bytes() != source:
            _run_maker(["go", "build", "-o", str(program), str(_SCRIPTS / "send.go")], folder, "Install golang-go",
                       GOCACHE=str(folder / "go"), GO111MODULE="off")
            done.write_bytes(source)
    return program


def nodemailer():
    """A folder where it is installed, as the lock file says, beside the script that uses it."""
    folder = _made_folder()
    with _locked(folder):
        wanted = (_SCRIPTS / "package-lock.json").read_bytes()
        done = folder / "installed-lock.json"
        if not done.is_file() or done.read_bytes() != wanted:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_SCRIPTS / name, folder)
            _run_maker(["npm", "ci", "--loglevel=error", "--no-audit", "--no-fund", "--ignore-scripts"], folder,
                       "Install npm and give it a registry")
            done.write_bytes(wanted)
        shutil.copy(_SCRIPTS / "send.js", folder)
    return folder


def _run_maker(command, folder, advice, **environment):
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_SECONDS_MAX, check=False,
                              stdin=subprocess.DEVNULL, env={**os.environ, "HOME": pwd.getpwuid(os.geteuid()).pw_dir, **environment})
        problem = " ".join(done.stderr.split()) if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        raise Missing(f"`{' '.join(command)}` in {folder} failed ({problem[:300]}). {advice}")


@contextlib.contextmanager
def _locked(folder):
    """Two test runs fetch once."""
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Runs

_RUN_SECONDS_MAX = 60


def run(command, content):
    """(status, what was printed) of a client, with no settings of the user's."""
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run([str(word) for word in command], input=content, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=_RUN_SECONDS_MAX, check=False,
                                  env={"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8"})
        except FileNotFoundError:
            raise Missing(f"no {command[0]}: ./dev test installs what deploy/packages lists") from None
    return done.returncode, done.stdout.decode(errors="replace")
