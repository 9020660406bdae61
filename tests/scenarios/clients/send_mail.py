"""Sends what is on standard input by smtplib: HOST PORT SENDER RECIPIENTS TIMES.

Prints what it was told; ends with 1 when a message was not taken.
"""

import smtplib
import sys

host, port, sender, recipients, times = sys.argv[1:]
content = sys.stdin.buffer.read().replace(b"\n", b"\r\n")  # bytes go out as they are
options = []
status = 0
with smtplib.SMTP(host, int(port), local_hostname="client.example") as smtp:
    smtp.ehlo()
    if not content.isascii():
        options.append("BODY=8BITMIME")
    if not (sender + recipients).isascii():
        options.append("SMTPUTF8")
    for _ in range(int(times)):
        try:
            print(smtp.sendmail(sender, recipients.split(","), content, options))
        except smtplib.SMTPException as error:
            print(type(error).__name__, error)
            status = 1
sys.exit(status)
