#!/usr/bin/env python3
"""Runs a cluster on this machine: ./dev cluster, and shows what it survives: ./dev cluster --demo.

    cluster.py BIN [--dir DIR]              runs in the foreground until Ctrl-C; keeps DIR
    cluster.py BIN --demo [--messages N]    kills the leader while mail flows; ends by itself; exit 0 if all of it arrived
"""

import argparse
import os
import pathlib
import shutil
import signal
import smtplib
import sys
import tempfile
import threading
import time

import demo
import fleet

DOMAIN = "example.test"
_DRAIN_SECONDS_MAX = 60.0
_RETRY_SECONDS = 0.1
_FAST_RETRIES = {"minimal_backoff_time": "1s", "maximal_backoff_time": "5s", "queue_run_delay": "1s"}


def parameters(relay_port=None):
    return {
        "virtual_mailbox_domains": DOMAIN,
        "virtual_mailbox_maps": f"inline:{{ alice@{DOMAIN}=alice/, bob@{DOMAIN}=bob/ }}",
        "smtpd_client_connection_count_limit": 0,
        "transport_maps": f"inline:{{ second.test=smtp:[127.0.0.1]:{relay_port} }}" if relay_port else None,
        **_FAST_RETRIES,
    }


def explain(cluster):
    ingress = cluster.of_kind("ingress")[0]
    queue = cluster.of_kind("queue")[0]
    command = f"{cluster.binaries}/postfleet -c {ingress.config}"
    print(f"""
A cluster of {len(cluster.processes)} processes runs; Ctrl-C ends it. Configurations, queues, mail and logs are in {cluster.folder}.

Try, in another terminal:
  printf 'Subject: hello\\n\\nhi\\n' | curl -sS smtp://127.0.0.1:{ingress.smtp_port} --mail-from you@{DOMAIN} --mail-rcpt alice@{DOMAIN} -T -
  ls {cluster.mail}/alice/new
  {command} cluster status
  {command} postqueue -p
  tail {queue.log_path}
  kill -9 PID                    # of any of them:
""", flush=True)
    for process in cluster:
        print(f"  {process.name:12} pid {process.pid}", flush=True)


def run(binaries, folder):
    if folder.exists():
        print(f"{folder} is of an earlier cluster, whose ports may be another's now: give another --dir, or delete it", file=sys.stderr)
        return 2
    folder.mkdir(parents=True)
    cluster = fleet.Fleet(binaries, folder, more=parameters())
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        cluster.start()
        explain(cluster)
        ended.wait()
    except fleet.FleetError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    finally:
        print("The cluster stops.", flush=True)
        bad = cluster.stop()
    for name, status in bad.items():
        print(f"cluster: {name} ended with {status}", file=sys.stderr)
    return 1 if bad else 0


# The demo


class Sender(threading.Thread):
    """Sends messages one after another to whichever ingress answers; what gets no 250 is sent again."""

    def __init__(self, cluster, first, count):
        super().__init__(daemon=True)
        self._ports = [ingress.smtp_port for ingress in cluster.of_kind("ingress")]
        self._subjects = [f"message {number}" for number in range(first, first + count)]
        self.accepted = []  # (subject, when)
        self.in_doubt = set()  # an answer was not read: it may come twice
        self.longest_pause = 0.0
        self.sent_half = threading.Event()

    def run(self):
        last = time.monotonic()
        for number, subject in enumerate(self._subjects):
            attempt = 0
            while not self._send(subject, self._ports[(number + attempt) % len(self._ports)]):
                attempt += 1
                time.sleep(_RETRY_SECONDS)
            now = time.monotonic()
            self.longest_pause = max(self.longest_pause, now - last)
            last = now
            self.accepted.append(subject)
            if 2 * len(self.accepted) >= len(self._subjects):
                self.sent_half.set()

    def _send(self, subject, port):
        handed_over = False
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                client.ehlo()
                if client.mail(f"you@{DOMAIN}")[0] != 250 or client.rcpt("carol@second.test")[0] != 250:
                    return False
                handed_over = True
                code, _ = client.data(f"From: you@{DOMAIN}\nTo: carol@second.test\nSubject: {subject}\n\nIt works.\n")
                if code == 250:
                    return True
        except smtplib.SMTPDataError:
            return False  # no 354
        except (OSError, smtplib.SMTPException):
            pass
        # 451 behind the contents, or no answer to them: it may be in the queue all the same.
        if handed_over:
            self.in_doubt.add(subject)
        return False


def subjects_of(messages):
    return [line[9:] for message in list(messages) for line in message.splitlines() if line.startswith("Subject: ")]


def show(cluster, second, count):
    demo.say("A cluster: " + ", ".join(process.name for process in cluster))
    print(cluster.ask("cluster", "status") or "no answer", flush=True)
    demo.say(f"{count} messages are sent; the leader is killed in the middle")
    sender = Sender(cluster, 1, count)
    sender.start()
    sender.sent_half.wait()
    leader = fleet.wait_for("a leader", cluster.leader)
    leader.kill()
    print(f"{leader.name} led and got SIGKILL after {len(sender.accepted)} messages were accepted", flush=True)
    successor = fleet.wait_for("another leader", lambda: (now := cluster.leader()) is not None and now is not leader and now)
    print(f"{successor.name} leads", flush=True)
    leader.start()
    sender.join()
    print(f"{leader.name} runs again; {len(sender.accepted)} messages were accepted, the longest pause was {sender.longest_pause:.2f} s", flush=True)

    wanted = set(sender.accepted)
    arrived = fleet.wait_for("the arrival of all", lambda: wanted <= set(subjects_of(second.messages)) and subjects_of(second.messages),
                             _DRAIN_SECONDS_MAX)
    twice = {subject for subject in arrived if arrived.count(subject) > 1}
    demo.say("The account")
    print(f"{len(wanted)} accepted, {len(set(arrived) & wanted)} arrived, 0 lost, {len(twice)} twice "
          f"({len(twice & sender.in_doubt)} of them sent again after an answer that was not read)", flush=True)
    fleet.wait_for("every replica's vote again", cluster.all_vote)
    print(cluster.ask("cluster", "status") or "no answer", flush=True)


def run_demo(binaries, count):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postfleet-cluster-", dir="/tmp"))
    second = demo.SmtpServer()
    cluster = fleet.Fleet(binaries, folder, more=parameters(second.port))
    try:
        cluster.start()
        show(cluster, second, count)
        bad = cluster.stop()
        if bad:
            raise fleet.FleetError(f"these did not end in order: {bad}")
    except fleet.FleetError as error:
        print(f"demo: {error}\n{cluster.last_words()}", flush=True)
        return 1
    finally:
        cluster.kill()
        second.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    demo.say("Done: the cluster has stopped and its folder is gone.")
    return 0


def main():
    parser = argparse.ArgumentParser(prog="./dev cluster", description=__doc__.splitlines()[0])
    parser.add_argument("binaries", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--demo", action="store_true", help="show what it survives and end")
    parser.add_argument("--messages", type=int, default=300, help="of the demo (%(default)s)")
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(f"/var/tmp/postfleet-cluster-{os.geteuid()}-{os.getpid()}"),
                        help="a new one, for configurations, queues, mail and logs (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.demo:
        return run_demo(arguments.binaries.resolve(), arguments.messages)
    return run(arguments.binaries.resolve(), arguments.dir.absolute())


if __name__ == "__main__":
    sys.exit(main())
