#!/usr/bin/env python3
"""Installs what ./dev build has built: ./dev install.

    install.py BIN [--prefix DIR] [--config DIR] [--destdir DIR]    installs the programs of the folder BIN
    install.py BIN --uninstall [the same]                           removes what was installed, but for the configuration

    PREFIX/libexec/postfleet     the programs, side by side: they find one another there
    PREFIX/sbin, PREFIX/bin      links by the names of Postfix's commands
    PREFIX/share/man             manual pages
    PREFIX/lib/systemd/system    postfleet.service (below /usr/local: /etc/systemd/system)
    PREFIX/share/postfleet       main.cf and master.cf as they are shipped, and the list of what was installed
    CONFIG                       main.cf and master.cf: /etc/postfix below /usr and /usr/local, else PREFIX/etc/postfix

A configuration file that is there already stays; the shipped one is then put beside it as NAME.new, and that is said.
DESTDIR stands in front of every path, for packages. By root, postdrop gets its group and set-gid bit.
"""

import argparse
import filecmp
import grp
import os
import pathlib
import pwd
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SYSTEM_CONFIG = pathlib.Path("/etc/postfix")
SYSTEM_PREFIXES = ("/usr", "/usr/local")

PROGRAMS = ("postfleet", "postfleetd", "postfleet-launcher", "postfleet-delivery-helper")
# The form of five processes.
SINGLE_SERVERS = ("postfleet-queued", "postfleet-schedulerd", "postfleet-lookupd", "postfleet-ingressd",
                  "postfleet-deliveryd")
# postfleet acts by the name that it is called by.
SBIN_LINKS = ("postalias", "postcat", "postconf", "postfix", "postlog", "postmap", "postqueue", "postsuper", "qshape")
BIN_LINKS = ("mailq", "newaliases")
# Not links, since they have rights or needs of their own.
OWN_PROGRAMS = ("sendmail", "postdrop")
SETGID_GROUP = "postdrop"
MAIL_OWNER = "postfix"


def say(text):
    print(f"install: {text}", file=sys.stderr)


class Installation:
    def __init__(self, binaries, prefix, config, destdir):
        self.binaries = binaries
        self.prefix = prefix
        self.config = config
        self.destdir = destdir
        self.is_system = str(prefix) in SYSTEM_PREFIXES
        self.libexec = prefix / "libexec" / "postfleet"
        self.share = prefix / "share" / "postfleet"
        self.units = pathlib.Path("/etc/systemd/system") if str(prefix) == "/usr/local" else prefix / "lib/systemd/system"
        self.installed = []

    def at(self, path):
        """Where a path of the installed system lies now."""
        return self.destdir / path.relative_to("/") if self.destdir else path

    # Single files

    def put(self, source, path, mode):
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ".installing")
        shutil.copyfile(source, fresh)
        fresh.chmod(mode)
        # A program that runs keeps its file.
        fresh.replace(target)
        self.installed.append(path)

    def put_text(self, text, path, mode=0o644):
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        self.installed.append(path)

    def link(self, path, program):
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(self.libexec / program, path.parent))
        self.installed.append(path)

    # All of it

    def run(self):
        self.put_programs()
        self.put_manual()
        self.put_unit()
        self.put_configuration()
        listing = self.share / "installed"
        self.put_text("".join(f"{path}\n" for path in sorted({*self.installed, listing})), listing)
        self.advise()

    def put_programs(self):
        for name in PROGRAMS:
            self.put(self.binaries / name, self.libexec / name, 0o755)
        for name in SINGLE_SERVERS:
            if (self.binaries / name).exists():
                self.put(self.binaries / name, self.libexec / name, 0o755)
        self.link(self.prefix / "sbin" / "postfleet", "postfleet")
        for name in SBIN_LINKS:
            self.link(self.prefix / "sbin" / name, "postfleet")
        for name in BIN_LINKS:
            self.link(self.prefix / "bin" / name, "postfleet")
        for name in OWN_PROGRAMS:
            self.put(self.binaries / name, self.libexec / name, 0o755)
            self.link(self.prefix / "sbin" / name, name)
        self.give_postdrop_its_group()

    def give_postdrop_its_group(self):
        postdrop = self.at(self.libexec / "postdrop")
        if os.geteuid() != 0:
            return
        try:
            group = grp.getgrnam(SETGID_GROUP).gr_gid
        except KeyError:
            say(f"there is no group {SETGID_GROUP}: make it and install again, so that every user may submit mail")
            return
        os.chown(postdrop, 0, group)
        postdrop.chmod(0o2755)

    def put_manual(self):
        man = self.prefix / "share" / "man"
        staging = self.at(self.share) / "manual"
        staging.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run([self.binaries / "postfleet", "manual", staging], check=True, stdout=subprocess.DEVNULL)
            for page in sorted(staging.glob("man*/*")):
                self.put(page, man / page.relative_to(staging), 0o644)
        finally:
            shutil.rmtree(staging)

    def put_unit(self):
        text = (HERE / "postfleet.service").read_text()
        for name, value in (("SBIN", self.prefix / "sbin"), ("CONFIG", self.config)):
            text = text.replace(f"@{name}@", str(value))
        self.put_text(text, self.units / "postfleet.service")

    def put_configuration(self):
        for name in ("main.cf", "master.cf"):
            text = (HERE / name).read_text()
            for place, value in self.places().items():
                text = text.replace(f"@{place}@", str(value))
            self.put_text(text, self.share / name)
            self.put_beside(self.share / name, self.config / name)
        if not self.is_system:
            self.at(self.queue_directory()).mkdir(parents=True, exist_ok=True)

    def queue_directory(self):
        return pathlib.Path("/var/spool/postfix") if self.is_system else self.prefix / "var/spool/postfix"

    def places(self):
        return {"PREFIX": self.prefix, "LIBEXEC": self.libexec, "QUEUE": self.queue_directory(), "OWNER": owner_of_mail()}

    def put_beside(self, shipped, path):
        """A configuration is never overwritten."""
        source, target = self.at(shipped), self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not filecmp.cmp(source, target, shallow=False):
            say(f"{path} stays as it is; the shipped one is {path}.new")
            target = target.with_name(target.name + ".new")
        shutil.copyfile(source, target)
        target.chmod(0o644)

    def advise(self):
        say(f"installed below {self.at(self.prefix)}, configuration in {self.at(self.config)}; "
            f"the list is {self.at(self.share / 'installed')}")
        if self.config != SYSTEM_CONFIG:
            say(f"the programs look into {SYSTEM_CONFIG} unless they are told otherwise: "
                f"call them with -c {self.config}, or set MAIL_CONFIG={self.config}")
        try:
            pwd.getpwnam(owner_of_mail())
        except KeyError:
            say(f"there is no user {MAIL_OWNER}, whom the queue belongs to: make it, or set mail_owner in main.cf")

        if self.is_system and not self.destdir and not pathlib.Path("/etc/aliases").exists():
            say("there is no /etc/aliases: write one (postmaster: and root: at least), and run newaliases")

    def remove(self):
        listing = self.at(self.share / "installed")
        if not listing.exists():
            sys.exit(f"install: {listing}: nothing was installed there")
        folders = set()
        for line in listing.read_text().splitlines():
            path = self.at(pathlib.Path(line))
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        # Those of others are not empty.
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            while folder != self.at(self.prefix) and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent
        say(f"removed; configuration and mail stay in {self.at(self.config)} and {self.at(self.queue_directory())}")


def owner_of_mail():
    """Who is not root can run a server of his own only as himself."""
    return MAIL_OWNER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def main():
    parser = argparse.ArgumentParser(prog="./dev install", description=__doc__.splitlines()[0])
    parser.add_argument("binaries", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--prefix", type=pathlib.Path, default=pathlib.Path("/usr/local"), help="default: %(default)s")
    parser.add_argument("--config", type=pathlib.Path, help="folder of main.cf and master.cf")
    parser.add_argument("--destdir", type=pathlib.Path, default=os.environ.get("DESTDIR") or None,
                        help="in front of every path; also $DESTDIR")
    parser.add_argument("--uninstall", action="store_true", help="remove what was installed, but for the configuration")
    arguments = parser.parse_args()
    prefix = pathlib.Path(os.path.abspath(arguments.prefix))
    system = SYSTEM_CONFIG if str(prefix) in SYSTEM_PREFIXES else prefix / "etc/postfix"
    config = pathlib.Path(os.path.abspath(arguments.config)) if arguments.config else system
    destdir = pathlib.Path(os.path.abspath(arguments.destdir)) if arguments.destdir else None
    installation = Installation(arguments.binaries.resolve(), prefix, config, destdir)
    try:
        installation.remove() if arguments.uninstall else installation.run()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"install: {error}")


if __name__ == "__main__":
    main()
