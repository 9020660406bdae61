"""What follows from the machine's name and addresses, beside real Postfix: both `postconf -x` in a network and with a
host name of the test's own."""

import os
import subprocess
import unittest

import facts
import machine
import own_root

ADDRESSES = ("10.0.0.9/20", "10.0.0.2/20", "192.0.2.9/24", "172.16.5.5/30", "2001:db8::5/64", "fe80::1234/64", "fe80::99/64")
SHOWN = ("myhostname", "mydomain", "myorigin", "mydestination", "mynetworks")
HEAD = "compatibility_level = 3.6\n"
# Host name, main.cf.
CASES = [("box", text) for text in (
    "", "mydomain = ex.org\n", "myhostname = mx\n", "myhostname = localhost\n", "myhostname = MX.Example.Com\n",
    "myhostname = _x.y.z\n", "myhostname = mx.a.b\nmydomain = other.example\n", "myorigin = $mydomain\n",
    *(f"myhostname = a.b.c\nmynetworks_style = {style}\n" for style in ("host", "subnet", "class")),
    *(f"myhostname = a.b.c\nmynetworks_style = subnet\ninet_protocols = {protocols}\n"
      for protocols in ("ipv4", "ipv6", "all", "ipv4, ipv6")),
    *(f"myhostname = a.b.c\nmynetworks_style = {style}\ninet_interfaces = {interfaces}\n" for style in ("host", "subnet")
      for interfaces in ("all", "loopback-only", "10.0.0.2", "10.0.0.9 10.0.0.2", "192.0.2.9, 10.0.0.2, 127.0.0.1",
                         "172.16.5.5 10.0.0.9", "[::1] 127.0.0.1", "2001:db8::5 [::1]", "")),
    "myhostname = a.b.c\nproxy_interfaces = 198.51.100.1\n",
)] + [("mx.example.com", ""), ("mx.example.com", "mydomain = ex.org\n"), ("mx", "")]
# Postfix's words, which both say.
REFUSED = (
    ("myhostname = a.b.c\ninet_interfaces = 198.51.100.1\n", "parameter inet_interfaces: no local interface found for 198.51.100.1"),
    ("myhostname = a.b.c\ninet_interfaces = 127.0.0.2\n", "parameter inet_interfaces: no local interface found for 127.0.0.2"),
    ("myhostname = a.b.c\ninet_interfaces = no.such.invalid\n", "config variable inet_interfaces: host not found: no.such.invalid"),
    ("myhostname = a.b.c\ninet_interfaces = ALL\n", "config variable inet_interfaces: host not found: ALL"),
    ("myhostname = a.b.c\ninet_interfaces = loopback-only 10.0.0.2\n", "config variable inet_interfaces: host not found: loopback-only"),
    ("myhostname = a.b.c\ninet_protocols = IPv4\n", 'unknown inet_protocols value "IPv4"'),
    ("myhostname = a.b.c\nmynetworks_style = Subnet\n", 'unknown mynetworks mask style value "Subnet"'),
)
_NETWORK = "ip link set lo up\n" + "".join(
    f"ip addr add {address} dev lo{' nodad' if ':' in address else ''}\n" for address in ADDRESSES)


@unittest.skipIf(own_root.refusal(), own_root.refusal())
class Derivations(unittest.TestCase):
    def setUp(self):
        self.maxDiff = None

    def run_all(self, folder, cases, program, words):
        """Of each case what `program -c FOLDER words` prints, errors too."""
        script = ["set -e", _NETWORK]
        for number, (hostname, main_cf) in enumerate(cases):
            config = folder / f"{number}"
            config.mkdir(exist_ok=True)
            (config / "main.cf").write_text(HEAD + main_cf)
            (config / "master.cf").write_text("smtp inet n - n - - smtpd\n")
            out = config / f"out.{os.path.basename(program)}"
            script.append(f"hostname {hostname}; {program} -c {config} {words} >{out} 2>&1 </dev/null || true")
        done = subprocess.run(["unshare", "--net", "--uts", "sh", "-c", "\n".join(script)], capture_output=True, text=True,
                              timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [(folder / f"{number}" / f"out.{os.path.basename(program)}").read_text() for number in range(len(cases))]

    def sides(self, cases, words):
        """words: of our program; Postfix's is postconf."""
        with machine.folder() as folder:
            real = self.run_all(folder, cases, "/usr/sbin/postconf", f"-x {' '.join(SHOWN)}")
            ours = self.run_all(folder, cases, str(machine.bin_folder() / "postfleet"), words)
        return real, ours

    def test_names_and_networks_are_postfixs(self):
        real, ours = self.sides(CASES, f"postconf -x {' '.join(SHOWN)}")
        wrong = [f"{case}\n  real: {theirs}\n  ours: {own}" for case, theirs, own in zip(CASES, real, ours) if theirs != own]
        self.assertFalse(wrong, "\n".join(wrong))
        self.assertTrue(all("mynetworks = " in text or "mynetworks =\n" in text for text in real), real)

    def test_what_cannot_be_is_refused_in_the_same_words(self):
        cases = [("box", text) for text, _ in REFUSED]
        real, ours = self.sides(cases, "postfix check")  # our postconf shows what it can
        for (text, words), theirs, own in zip(REFUSED, real, ours):
            self.assertIn(words, theirs, text)
            self.assertIn(words, own, text)


if __name__ == "__main__":
    facts.main()
