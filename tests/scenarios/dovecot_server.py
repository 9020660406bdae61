"""A real Dovecot, private to a test: its own folder, sockets and ports, users from a file, nothing of /etc/dovecot.

It takes mail by LMTP, or serves what another program has delivered, by IMAP and POP3, with TLS (implicit, by a
certificate that it makes) and without. Needs root, as Dovecot does.
"""

import os
import pwd
import shutil
import socket
import ssl
import subprocess

import machine
import stock
from deadlines import wait_until

OWNER = "nobody"
PASSWORD = "x"

_CONF = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
instance_name = test
protocols = {protocols}
ssl = {ssl}
ssl_cert = <{folder}/certificate
ssl_key = <{folder}/key
disable_plaintext_auth = no
default_internal_user = {owner}
default_internal_group = nogroup
default_login_user = {owner}
first_valid_uid = 1
first_valid_gid = 1
mail_uid = {owner}
mail_gid = nogroup
mail_location = {mail_location}
mail_fsync = never
mbox_write_locks = {mbox_locks}
mail_max_userip_connections = 100
auth_username_format = %n
lmtp_save_to_detail_mailbox = no
hostname = dovecot.example
postmaster_address = postmaster@dovecot.example
mail_plugins = quota
userdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
passdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
"""

_LMTP = """\
service lmtp {{
  unix_listener {folder}/lmtp.sock {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""

# Without an address it would listen for everybody.
_LOGIN = """\
service {protocol}-login {{
  chroot =
  inet_listener {protocol} {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener {protocol}s {{
    address = 127.0.0.1
    port = {tls_port}
    ssl = yes
  }}
}}
"""

_CERTIFICATE = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]


class Dovecot:
    """protocols: of lmtp, imap, pop3. users: names, or {name: a field of passwd-file's extras}.

    mbox_locks: their order; the default is Debian's.
    ports[protocol], ports["imaps"], ports["pop3s"] listen; LMTP at `socket`, too. tls() is a client's context.
    """

    def __init__(self, folder, users, mail_location=None, protocols=("lmtp",), mbox_locks="fcntl dotlock"):
        self._folder = folder
        self._users = users if isinstance(users, dict) else dict.fromkeys(users, "")
        self.mail_location = mail_location or f"maildir:{folder}/mail/%n"
        self._protocols = protocols
        self._mbox_locks = mbox_locks
        self._has_tls = bool(set(protocols) - {"lmtp"})
        wanted = [name for protocol in protocols for name in ([protocol] if protocol == "lmtp" else [protocol, protocol + "s"])]
        self._held = {name: machine.Port() for name in wanted}
        self.ports = {name: port.number for name, port in self._held.items()}
        self.socket = folder / "lmtp.sock"

    def __enter__(self):
        folder = self._folder
        owner = pwd.getpwnam(OWNER)
        (folder / "mail").mkdir()
        os.chown(folder / "mail", owner.pw_uid, owner.pw_gid)
        (folder / "users").write_text("".join(
            f"{user}:{{PLAIN}}{PASSWORD}:{owner.pw_uid}:{owner.pw_gid}::{folder}/mail/{user}::{extra}\n"
            for user, extra in self._users.items()))
        for name in ("certificate", "key"):
            (folder / name).touch(mode=0o600)
        if self._has_tls:
            subprocess.run([*_CERTIFICATE, "-keyout", folder / "key", "-out", folder / "certificate"], check=True,
                           capture_output=True, stdin=subprocess.DEVNULL)
        (folder / "dovecot.conf").write_text(self._configuration())
        program = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not program:
            raise AssertionError("dovecot is not installed: ./dev installs what deploy/packages lists")
        with open(folder / "output", "ab") as output:
            self._process = subprocess.Popen([program, "-F", "-c", folder / "dovecot.conf"], stdin=subprocess.DEVNULL,
                                             stdout=output, stderr=output, start_new_session=True)
        try:
            for protocol in self._protocols:
                self._wait_until_it_answers(protocol)
        except BaseException:
            self.__exit__()
            print(self.last_words())
            raise
        return self

    def _configuration(self):
        parts = [_CONF.format(folder=self._folder, owner=OWNER, protocols=" ".join(self._protocols),
                              ssl="yes" if self._has_tls else "no", mail_location=self.mail_location,
                              mbox_locks=self._mbox_locks)]
        for protocol in self._protocols:
            form = _LMTP if protocol == "lmtp" else _LOGIN
            parts.append(form.format(folder=self._folder, protocol=protocol, port=self.ports[protocol],
                                     tls_port=self.ports.get(protocol + "s")))
        return "".join(parts)

    def _wait_until_it_answers(self, protocol):
        port = self.ports[protocol]

        def answers():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as peer:
                    return peer.recv(512) != b""
            except OSError:
                return False
        wait_until(f"{protocol} at port {port}", answers, stock.START_SECONDS_MAX,
                   lambda: self._process.poll() is not None and "it ended" or None)

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for port in self._held.values():
            port.close()

    def last_words(self):
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in (self._folder / "output", self._folder / "log")
                         if path.exists())

    def tls(self):
        """Trusts this server alone; its name is localhost."""
        return ssl.create_default_context(cafile=self._folder / "certificate")

    def maildir(self, user):
        """Of the stock mail_location: the contents of what is new."""
        new = self._folder / "mail" / user / "new"
        return [path.read_bytes() for path in sorted(new.glob("*"))] if new.exists() else []

    def count(self, user):
        new = self._folder / "mail" / user / "new"
        return len(os.listdir(new)) if new.exists() else 0
