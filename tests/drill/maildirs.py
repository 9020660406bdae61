"""What is in the Maildirs below a folder."""

import re

import messages


def read_all(mail):
    """Yields (path, recipient, id, whole) of each message in a new/ or cur/ folder.

    tmp/ is no part of a mailbox: what a cut leaves there is nobody's message.
    """
    for box in messages.BOXES:
        for folder in ("new", "cur"):
            where = mail / box / folder
            for path in sorted(where.iterdir()) if where.is_dir() else ():
                message_id, whole = messages.identify(path.read_bytes())
                yield path, f"{box}@{messages.BOX_DOMAIN}", message_id, whole


def visible(mail):
    """{(id, recipient)} of what is there now, durable or not."""
    return {(message_id, recipient) for _, recipient, message_id, whole in read_all(mail) if whole}


def take_out(mail, ledger):
    """As a reader of mail would, to keep the tree small: everything goes into the ledger."""
    for path, recipient, message_id, whole in read_all(mail):
        ledger.arrived(message_id, recipient, whole, _time_of(path.name),
                       str(path.relative_to(mail)))
        path.unlink()


def _time_of(name):
    """When it was delivered, as Postfix's names say: SECONDS.V<device>I<inode>M<microseconds>.HOST."""
    found = re.match(r"(\d+)\.V[0-9a-f]+I[0-9a-f]+M(\d+)\.", name)
    return int(found[1]) + int(found[2]) / 1e6
