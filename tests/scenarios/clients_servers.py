"""Other mail servers as clients: Postfix, Exim and OpenSMTPD, which pass on what they take to one port of 127.0.0.1.

Each takes mail on a port for each of its WAYS to pass it on, and ends fates() with what it logged of each recipient.
"""

import re

import harness
import machine
import own_root
from clients_mails import SIZE_BYTES_MAX

# More than the next server takes, which says so in EHLO.
_TAKES_BYTES_MAX = 10 * SIZE_BYTES_MAX


class PostfixClient:
    """smtp(8), with PIPELINING and without."""
    NAME = "smtp"
    CANNOT = ()  # names of mails that it does not take
    WAYS = ("pipelined", "plain")

    def __init__(self, folder, target):
        folder.mkdir()
        folder.chmod(0o755)
        self._ports = {way: machine.Port() for way in self.WAYS}
        services = "".join(f"127.0.0.1:{port.number} inet n - n - - smtpd -o content_filter={way}:[127.0.0.1]:{target}\n"
                           for way, port in self._ports.items())
        # What returns to the senders is of no use.
        self.mta = harness.Instance(folder, {
            "message_size_limit": _TAKES_BYTES_MAX, "default_transport": "discard", "in_flow_delay": "0s",
            # A connection that is used again has forgotten the server's size limit.
            "smtp_connection_cache_on_demand": "no"},
            harness.MASTER_CF + services + "pipelined unix - - n - - smtp\n"
            "plain unix - - n - - smtp -o smtp_discard_ehlo_keywords=pipelining\n", oracle=True)

    def __enter__(self):
        self.mta.__enter__()
        return self

    def __exit__(self, *error):
        self.mta.__exit__(*error)
        for port in self._ports.values():
            port.close()

    def port_of(self, way):
        return self._ports[way].number

    def fates(self):
        """(way, recipient, what was said), in order of the text."""
        return sorted(re.findall(r"/(pipelined|plain|smtp)\[\d+\]: \w+: to=(<\S+>), .*, (dsn=.*)$", self.mta.log(), re.MULTILINE))


_EXIM_CONF = """\
primary_hostname = exim.example
spool_directory = /var/spool/exim
log_file_path = /var/log/exim/%slog
log_selector = +outgoing_port +smtp_confirmation +pipelining
exim_path = /usr/sbin/exim4
deliver_drop_privilege
notifier_socket =
keep_environment =
local_interfaces = {listeners}
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
message_size_limit = {size_bytes_max}
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = rcpt

begin acl
rcpt:
  accept

begin routers
returned:
  driver = redirect
  senders = :
  data = :blackhole:
{routers}
begin transports
chunked:
  driver = smtp
  port = {target}
  allow_localhost
  message_linelength_limit = 100000
plain:
  driver = smtp
  port = {target}
  allow_localhost
  message_linelength_limit = 100000
  hosts_try_chunking =
  hosts_avoid_pipelining = *

begin retry
* * F,1h,1m
"""
_EXIM_ROUTER = """\
{way}:
  driver = manualroute
  condition = ${{if eq{{$received_port}}{{{port}}}}}
  route_list = * 127.0.0.1
  self = send
  transport = {way}
"""


class EximClient(own_root.Server):
    """With CHUNKING and PIPELINING, and without both; with SMTPUTF8, 8BITMIME and SIZE."""
    NAME = "exim"
    CANNOT = ()
    WAYS = ("chunked", "plain")

    def __init__(self, folder, target):
        super().__init__(folder, "exim4-daemon-light", ("Debian-exim",))
        self._ports_of = {way: self.take_port() for way in self.WAYS}
        for path in ("var/spool/exim", "var/log/exim"):
            self.root.make_folder(path, "Debian-exim")
        self.root.make_folder("etc/exim4")
        self.root.write("etc/exim4/exim4.conf", _EXIM_CONF.format(
            listeners="<; " + " ; ".join(f"127.0.0.1.{port}" for port in [self.port, *self._ports_of.values()]),
            size_bytes_max=_TAKES_BYTES_MAX, target=target,
            routers="".join(_EXIM_ROUTER.format(way=way, port=port) for way, port in self._ports_of.items())))

    def program(self):
        return ["/usr/sbin/exim4", "-bdf", "-q1m"]

    def port_of(self, way):
        return self._ports_of[way]

    def log(self):
        return "".join(path.read_text(errors="replace") for path in (self.root.folder / "var/log/exim").glob("mainlog"))

    def fates(self):
        """(what became of it, recipient, what was said), in order of the text."""
        return sorted(re.findall(r"^\S+ \S+ \S+ ([=-]>|\*\*|==) (\S+) (.*)$", self.log(), re.MULTILINE))


_OPENSMTPD_CONF = """\
smtp max-message-size {size_bytes_max}
action onward relay host smtp://127.0.0.1:{target} helo opensmtpd.example
listen on 127.0.0.1 port {port} hostname opensmtpd.example tag onward
match tag onward from any for any action onward
"""


class OpensmtpdClient(own_root.Server):
    """A command at a time, with DSN's words."""
    NAME = "opensmtpd"
    WAYS = ("plain",)
    CANNOT = ("utf8",)

    def __init__(self, folder, target):
        super().__init__(folder, "opensmtpd", ("opensmtpd", "opensmtpq"))
        self.root.make_folder("var/lib/opensmtpd/empty")
        self.root.make_folder("var/spool/smtpd", mode=0o711)
        self.root.write("etc/mailname", "opensmtpd.example\n")
        self.root.write("etc/smtpd.conf", _OPENSMTPD_CONF.format(size_bytes_max=_TAKES_BYTES_MAX, target=target, port=self.port))

    def program(self):
        return ["/usr/sbin/smtpd", "-d"]

    def port_of(self, _way):
        return self.port

    def fates(self):
        """(recipient, what became of it, what was said), in order of the text."""
        return sorted(re.findall(r" mta delivery .*\bto=(<\S+>) .*\bresult=\"(\w+)\" stat=\"(.*)\"$", self.log(), re.MULTILINE))
