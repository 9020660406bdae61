"""A real Exim (4.96) on two ports: port with PIPELINING and DSN, plain_port without both. SIZE and 8BITMIME on both.

    with EximServer(folder, users, back_port) as server: ...

As OpensmtpdServer in what it takes, refuses and puts off, and in what it sends on.
"""

import re

import own_root
from opensmtpd_server import BACK_DOMAIN, DOMAINS, SIZE_BYTES_MAX

_CONF = """\
primary_hostname = exim.example
spool_directory = /var/spool/exim
log_file_path = /var/log/exim/%slog
log_selector = +pid +pipelining
exim_path = /usr/sbin/exim4
deliver_drop_privilege
notifier_socket =
keep_environment =
local_interfaces = <; 127.0.0.1.{port} ; 127.0.0.1.{plain_port}
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
message_size_limit = {size_bytes_max}
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
pipelining_advertise_hosts = ${{if eq{{$received_port}}{{{port}}}{{*}}{{}}}}
dsn_advertise_hosts = ${{if eq{{$received_port}}{{{port}}}{{*}}{{}}}}
domainlist ours = {domains}
acl_smtp_rcpt = rcpt
acl_smtp_data = data

begin acl
rcpt:
  defer local_parts = ^grey
       !seen = 1d / key=$local_part
        message = 451 4.7.1 Greylisted, try again later
  defer local_parts = busy
        message = 450 4.2.1 Mailbox busy
  deny local_parts = listed
       message = Not welcome here,\\nnor anywhere else
  accept domains = {back_domain}
  require domains = +ours
  require verify = recipient
  accept
data:
  deny condition = ${{if match{{$h_Subject:}}{{unwelcome}}}}
       message = 550 5.7.1 Unwelcome content
  accept

begin routers
onward:
  driver = manualroute
  domains = {back_domain}
  route_list = * 127.0.0.1
  self = send
  transport = onward
users:
  driver = accept
  domains = +ours
  local_parts = {users}
  transport = keep

begin transports
onward:
  driver = smtp
  port = {back_port}
  allow_localhost
  message_linelength_limit = 10000
keep:
  driver = appendfile
  maildir_format
  directory = /var/mail/$local_part_data
  user = Debian-exim
  group = Debian-exim
  return_path_add

begin retry
* * F,1h,1m
"""


class EximServer(own_root.Server):
    def __init__(self, folder, users, back_port):
        super().__init__(folder, "exim4-daemon-light", ("Debian-exim",))
        self.plain_port = self.take_port()
        root = self.root
        for path in ("var/spool/exim", "var/log/exim"):
            root.make_folder(path, "Debian-exim")
        root.give("var/mail", "Debian-exim")
        root.make_folder("etc/exim4")
        # The first place where Debian's looks; it must be root's.
        root.write("etc/exim4/exim4.conf", _CONF.format(
            port=self.port, plain_port=self.plain_port, size_bytes_max=SIZE_BYTES_MAX, domains=" : ".join(DOMAINS),
            back_domain=BACK_DOMAIN, users=" : ".join(users), back_port=back_port))

    def program(self):
        return ["/usr/sbin/exim4", "-bdf", "-q1m"]

    def log(self):
        return "".join(path.read_text(errors="replace") for path in (self.root.folder / "var/log/exim").glob("mainlog"))

    def sessions_of(self, sender):
        """{message: its session} of all that was taken from the sender."""
        return {message: session for session, message in re.findall(
            rf"\[(\d+)\] (\S+) <= {re.escape(sender)} ", self.log())}

    def pipelined(self, sender):
        """Commands came ahead of replies with the message from this sender, the only one."""
        [line] = re.findall(rf" <= {re.escape(sender)} (.*)", self.log())
        return re.search(r" L\.? ", line) is not None
