"""aiosmtpd at a port; what it takes goes into a folder, a JSON file for each message.

    /usr/bin/python3 aiosmtpd_server.py PORT FOLDER

A program of its own, because the package belongs to the system's Python, and tests may run with another one.
Users "unknown..." are refused, users "busy..." too, for now.
"""

import json
import os
import signal
import sys

from aiosmtpd.controller import Controller


class Handler:
    def __init__(self, folder):
        self._folder = folder
        self._taken = 0

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address.startswith("unknown"):
            return "550 5.1.1 no such user"
        if address.startswith("busy"):
            return "450 4.2.1 busy"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server, _session, envelope):
        self._taken += 1
        name = os.path.join(self._folder, f"{self._taken:05}")
        with open(name + ".part", "w", encoding="ascii") as part:
            json.dump([envelope.mail_from, envelope.rcpt_tos, envelope.original_content.decode("latin-1")], part)
        os.rename(name + ".part", name)
        return "250 2.0.0 kept"


controller = Controller(Handler(sys.argv[2]), hostname="127.0.0.1", port=int(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
controller.start()
signal.pause()
