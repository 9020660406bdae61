"""./dev run --demo: mail in by SMTP; out to a Maildir and to a second SMTP server; the queue; some metrics."""

import contextlib
import pathlib
import shutil
import smtplib
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
import urllib.request

WAIT_S = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SmtpServer(socketserver.ThreadingTCPServer):
    """The second server: takes everything, keeps it in `messages`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        self.messages = []
        super().__init__(("127.0.0.1", 0), SmtpSession)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


class SmtpSession(socketserver.StreamRequestHandler):
    def handle(self):
        self.reply("220 second.test ESMTP")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.reply("354 go ahead")
                self.server.messages.append(self.read_message())
                self.reply("250 2.0.0 Ok: taken")
            elif verb == b"QUIT":
                self.reply("221 2.0.0 Bye")
                return
            else:
                self.reply("250 2.0.0 Ok")

    def read_message(self):
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines).decode(errors="replace")

    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")


def wait_for(what, found):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not happen within {WAIT_S} s")


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        return connection.recv(3) == b"220"
    return False


def say(title, text=""):
    print(f"\n== {title}", flush=True)
    if text:
        print(text.rstrip(), flush=True)


def send(port, recipient, subject):
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT_S) as client:
        client.ehlo()
        client.mail("you@example.test")
        client.rcpt(recipient)
        code, reply = client.data(f"From: you@example.test\nTo: {recipient}\nSubject: {subject}\n\nIt works.\n")
    print(f"to {recipient}: {code} {reply.decode()}")
    if code != 250:
        raise RuntimeError(f"{recipient} was not accepted")


def show(binaries, folder, port, metrics_port, second):
    command = [str(binaries / "postfleet"), "-c", str(folder)]
    say("Three messages by SMTP")
    send(port, "alice@example.test", "to a mailbox")
    send(port, "carol@second.test", "to another server")
    send(port, "dave@closed.test", "to a server that is away")

    maildir = folder / "mail" / "alice" / "new"
    files = wait_for("delivery to the Maildir", lambda: list(maildir.glob("*")) if maildir.is_dir() else [])
    say(f"Alice's Maildir, {files[0]}", files[0].read_text())
    say("What the second server got", wait_for("the relayed mail", lambda: second.messages)[0])

    def queue():
        return subprocess.run([*command, "postqueue", "-p"], check=True, capture_output=True, text=True).stdout

    say("postqueue -p: the third waits", wait_for("the deferral", lambda: "refused" in (listing := queue()) and listing))
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=WAIT_S) as page:
        lines = page.read().decode().splitlines()
    wanted = ("postfleet_queue_messages", "postfleet_delivery_attempts_total", "postfleet_smtpd_messages_accepted_total")
    say("Some metrics", "\n".join(sorted(line for line in lines if line.startswith(wanted) and not line.endswith(" 0"))))
    say("The log", (folder / "mail.log").read_text())


def run(binaries, prepare):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postfleet-demo-", dir="/tmp"))
    folder.chmod(0o755)
    second = SmtpServer()
    port, metrics_port, closed_port = free_port(), free_port(), free_port()
    prepare(
        folder,
        port,
        f"""transport_maps = inline:{{ second.test=smtp:[127.0.0.1]:{second.port}, closed.test=smtp:[127.0.0.1]:{closed_port} }}
postfleet_metrics_listen = 127.0.0.1:{metrics_port}
""",
    )
    server = subprocess.Popen([str(binaries / "postfleet"), "-c", str(folder), "postfix", "start-fg"])
    try:
        wait_for("the start of the server", lambda: accepts(port) or server.poll() is not None)
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode}; its log:")
        show(binaries, folder, port, metrics_port, second)
    except (OSError, TimeoutError, RuntimeError, subprocess.CalledProcessError, smtplib.SMTPException) as error:
        print(f"demo: {error}\n{(folder / 'mail.log').read_text()}", flush=True)
        return 1
    finally:
        server.terminate()
        server.wait(WAIT_S)
        second.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    say("Done: the demo's server has stopped and its folder is gone.")
    return 0
