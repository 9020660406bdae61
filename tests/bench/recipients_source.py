"""A load that smtp-source cannot make: a recipient domain for each message, or a mail of very many recipients.

    recipients_source.py PORT BYTES SESSIONS MESSAGES DOMAIN       message i to user@DOMAIN, where {} is i
    recipients_source.py PORT BYTES SESSIONS MESSAGES DOMAIN --big RECIPIENTS --rate PER_SECOND
        first one mail to RECIPIENTS users of DOMAIN, then MESSAGES to one each, at that rate

Ends with 0 when each message has its 250. Its CPU counts as the load's.
"""

import argparse
import asyncio
import sys
import time

SENDER = "sender@client.example"
# RCPT commands that are sent before their replies are read.
_RECIPIENTS_AT_ONCE = 500


class Refused(Exception):
    pass


class Session:
    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port):
        session = cls(*await asyncio.open_connection("127.0.0.1", port))
        await session._expect(b"220")
        session._writer.write(b"EHLO client.example\r\n")
        await session._expect(b"250")
        return session

    async def _expect(self, code):
        while True:
            line = await self._reader.readline()
            if not line.startswith(code):
                raise Refused(line.decode(errors="replace"))
            if line[3:4] != b"-":
                return

    async def send(self, recipients, content):
        self._writer.write(f"MAIL FROM:<{SENDER}>\r\n".encode())
        await self._expect(b"250")
        for start in range(0, len(recipients), _RECIPIENTS_AT_ONCE):
            batch = recipients[start:start + _RECIPIENTS_AT_ONCE]
            self._writer.write("".join(f"RCPT TO:<{to}>\r\n" for to in batch).encode())
            for _ in batch:
                await self._expect(b"250")
        self._writer.write(b"DATA\r\n")
        await self._expect(b"354")
        self._writer.write(content)
        await self._expect(b"250")

    async def quit(self):
        self._writer.write(b"QUIT\r\n")
        await self._expect(b"221")
        self._writer.close()


async def _send_all(arguments, content, numbers, due):
    session = await Session.open(arguments.port)
    for number in numbers:
        if due is not None:
            await asyncio.sleep(max(0.0, due(number) - time.monotonic()))
        await session.send([f"user@{arguments.domain.format(number)}"], content)
    await session.quit()


async def _run(arguments):
    content = b"Subject: load\r\n\r\n" + (b"x" * 78 + b"\r\n") * (arguments.bytes // 80) + b".\r\n"
    due = None
    if arguments.big:
        session = await Session.open(arguments.port)
        await session.send([f"big{number}@{arguments.domain}" for number in range(arguments.big)], content)
        await session.quit()
        start = time.monotonic()
        due = lambda number: start + number / arguments.rate
    # Each takes the next number that is left.
    numbers = iter(range(arguments.messages))
    await asyncio.gather(*(_send_all(arguments, content, numbers, due)
                           for _ in range(min(arguments.sessions, arguments.messages))))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("bytes", type=int)
    parser.add_argument("sessions", type=int)
    parser.add_argument("messages", type=int)
    parser.add_argument("domain")
    parser.add_argument("--big", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1.0)
    try:
        asyncio.run(_run(parser.parse_args()))
    except (Refused, OSError) as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    main()
