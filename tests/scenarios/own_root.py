"""A root folder of its own for a program whose package cannot be installed here, because it conflicts with another.

    root = OwnRoot(folder, "opensmtpd", users=("opensmtpd",))
    process = subprocess.Popen(root.command("/usr/sbin/smtpd", "-d"), ...)

./dev unpacks such packages below its cache; here the program finds its files where the package has them, its users in
an /etc of its own, and the system's programs and libraries. Its /var and /etc lie in the folder and are the test's to
write and read. Mounts and processes are in namespaces of the program's own and gone with it. Needs root; a container may refuse
namespaces even to root: refusal() says why.
"""

import os
import pathlib
import pwd
import shlex
import shutil
import signal
import subprocess

import machine
import stock

# Numbers that no user of the machine has: owners of files below the folder.
_FIRST_ID = 64101
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")


def refusal():
    """Why there can be none here, or ""."""
    if not machine.IS_ROOT:
        return "needs root: run ./dev test as root, as CI does"
    probe = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return f"needs namespaces of its own: {probe.stderr.strip()}" if probe.returncode else ""


class OwnRoot:
    """folder: a new one, which everybody may enter. users: names, each with a group of its own."""

    def __init__(self, folder, package, users):
        self.folder = folder
        for path in ("etc", "dev", "proc", "run", "tmp", "var/log", "var/spool", "var/mail", "usr/bin", "usr/lib", "usr/sbin",
                     "usr/libexec"):
            (folder / path).mkdir(parents=True)
        # Whatever the umask is; /tmp is everybody's, as on any system.
        for path in folder.glob("**/"):
            path.chmod(0o755)
        (folder / "tmp").chmod(0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            (folder / name).symlink_to(f"usr/{name}")
        (folder / "var/run").symlink_to("../run")
        self._copy_programs(unpacked(package))
        self.ids = {name: _FIRST_ID + number for number, name in enumerate(users)}
        self.write("etc/passwd", "root:x:0:0::/:/bin/sh\n" + "".join(
            f"{name}:x:{number}:{number}::/var/mail:/bin/sh\n" for name, number in self.ids.items()))
        self.write("etc/group", "root:x:0:\n" + "".join(f"{name}:x:{number}:\n" for name, number in self.ids.items()))
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\n")
        self.write("etc/services", "smtp 25/tcp\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        self.write("etc/resolv.conf", "nameserver 127.0.0.1\n")

    def _copy_programs(self, package):
        for name in ("sbin", "libexec"):
            if (package / "usr" / name).is_dir():
                shutil.copytree(package / "usr" / name, self.folder / "usr" / name, symlinks=True, dirs_exist_ok=True)
        if pathlib.Path("/usr/lib64").is_dir():
            (self.folder / "usr/lib64").mkdir()

    def write(self, path, text, mode=0o644):
        """A file below the root folder."""
        target = self.folder / path
        target.write_text(text)
        target.chmod(mode)
        return target

    def make_folder(self, path, owner="root", mode=0o755):
        target = self.folder / path
        target.mkdir(parents=True)
        target.chmod(mode)
        self.give(path, owner)
        return target

    def give(self, path, owner):
        number = self.ids.get(owner, 0)
        os.chown(self.folder / path, number, number)

    def command(self, program, *arguments):
        """What runs it there, as root. All of it ends with the first child of what was started."""
        bound = ["usr/bin", "usr/lib", "dev"] + (["usr/lib64"] if (self.folder / "usr/lib64").exists() else [])
        mounts = [f"mount --rbind /{name} {shlex.quote(str(self.folder / name))}" for name in bound]
        mounts.append(f"mount -t proc proc {shlex.quote(str(self.folder / 'proc'))}")
        run = "exec chroot " + " ".join(shlex.quote(str(word)) for word in (self.folder, program, *arguments))
        return [*_NAMESPACES, "sh", "-ec", "\n".join([*mounts, run])]


class Server:
    """A program in a root folder of its own, which listens on a port: what its kinds share. Up from with to its end.

    Promises port, root, log(), mail(user)."""

    def __init__(self, folder, package, users):
        folder.mkdir()
        folder.chmod(0o755)
        self.root = OwnRoot(folder / "root", package, users)
        self._output_path = folder / "output"
        self._ports = []
        self.port = self.take_port()

    def take_port(self):
        port = machine.Port()
        self._ports.append(port)
        return port.number

    def program(self):
        """[program, arguments] that stays in the foreground."""
        raise NotImplementedError

    def log(self):
        return self._output_path.read_text(errors="replace")

    def __enter__(self):
        with open(self._output_path, "wb") as output:
            self._process = subprocess.Popen(self.root.command(*self.program()), stdin=subprocess.DEVNULL, stdout=output,
                                             stderr=output, start_new_session=True)
        try:
            stock.wait_for_greeting(self.port, self.why_ended)
        except BaseException:
            self.__exit__()
            print(self._output_path.read_text(errors="replace") + self.log())
            raise
        return self

    def __exit__(self, *_):
        # The first process of the namespace, with which all others end; unshare's --kill-child alone is not enough,
        # because a program that changes its user forgets it.
        process = self._process
        if process.poll() is None:
            for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            process.kill()
        process.wait()
        for port in self._ports:
            port.close()

    def why_ended(self):
        return self._process.poll() is not None and f"{self.program()[0]} ended with {self._process.returncode}" or None

    def mail(self, user):
        """Contents of all that came for a user, in no order."""
        new = self.root.folder / "var/mail" / user / "new"
        return [path.read_bytes() for path in new.glob("*")] if new.is_dir() else []


def unpacked(package):
    home = os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    folder = pathlib.Path(cache, "postfleet", "unpacked", package)
    if not folder.is_dir():
        raise AssertionError(f"{folder} is missing: ./dev test unpacks there what deploy/packages lists")
    return folder
