"""A primary node that exists: a root directory of its own, sshd, and processes as `hadoop` with the role's credentials.

It lives in its own mount and process namespaces (as root directly, as an ordinary user by way of a user namespace)
and takes from this machine /usr, /dev, the Python that runs this and what programs read in /etc; /mnt, /emr, /tmp and /home/hadoop are its own.
sshd listens on an own loopback address: port 22 as root, a high port otherwise.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

# An own 127.x.y.z per node; by process, so that emulators beside each other do not meet.
ADDRESSES = (f"127.20.{os.getpid() % 250}.{n}" for n in itertools.count(2))
HADOOP = 61234 if os.getuid() == 0 else os.getuid()
SSH_PORT = 22 if os.getuid() == 0 else 22022

BOOT = r"""
set -e
root=$1 id=$2
mount --bind "$root" "$root"
for name in bin lib lib64 sbin; do
  if [ -L "/$name" ]; then ln -sfn "$(readlink "/$name")" "$root/$name"
  elif [ -d "/$name" ]; then mkdir -p "$root/$name"; mount --rbind "/$name" "$root/$name"; fi
done
mkdir -p "$root"/{usr,dev,proc,run/sshd,var/empty,tmp}
mount --rbind /usr "$root/usr"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
for name in ld.so.cache nsswitch.conf localtime hosts resolv.conf; do
  [ -e "/etc/$name" ] && cp --no-preserve=ownership "/etc/$name" "$root/etc/" 2>/dev/null || true
done
for name in ssl alternatives; do
  if [ -d "/etc/$name" ]; then mkdir -p "$root/etc/$name"; mount --rbind "/etc/$name" "$root/etc/$name"; fi
done
for extra in $EXTRA; do mkdir -p "$root$extra"; mount --rbind "$extra" "$root$extra"; done
chmod 1777 "$root/tmp"
# Root of a user namespace is no root to sshd, which would change users: there it runs as hadoop itself.
[ "$ORDINARY" ] && become="unshare --user --map-user=$id --map-group=$id" || become=
cd "$root"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
echo up
$become /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config &
exec sleep infinity
"""

SSHD = """
ListenAddress {address}
Port {port}
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
PidFile none
AllowUsers hadoop
SetEnv {environment}
Subsystem sftp internal-sftp
"""


def available():
    """Why there can be no node here, or None."""
    for program, package in (("sshd", "openssh-server"), ("unshare", "util-linux"), ("ssh-keygen", "openssh-client")):
        if not (shutil.which(program) or Path("/usr/sbin", program).exists()):
            return f"{program} is missing; type: apt-get install {package}"
    test = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True)
    return f"no namespaces: {test.stderr.strip()}" if test.returncode else None


NAMESPACES = [*(["--user", "--map-root-user"] if os.getuid() else []), "--mount", "--pid", "--fork", "--propagation", "private", "--kill-child"]


def mounts():
    """What the command line of the nodes is made of: this Python, its packages and this folder."""
    folders = {sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parent)}
    return sorted(folder for folder in folders if not folder.startswith("/usr"))


class Node:
    """The primary instance of a cluster. `environment`: what its processes get, credentials among it."""

    def __init__(self, folder, instance_id, public_key, environment):
        self.instance_id, self.address, self.root = instance_id, next(ADDRESSES), Path(folder)
        self.environment = {
            "PATH": "/opt/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/home/hadoop", "USER": "hadoop", "LANG": "C.UTF-8",
        } | environment
        for name in ("etc/ssh", "opt/bin", "mnt/var/log/hadoop/steps", "mnt/var/lib/hadoop/steps", "emr/metricscollector",
                     "emr/instance-controller/lib/bootstrap-actions", "mnt/var/lib/info", "home/hadoop"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        etc = self.root / "etc"
        (etc / "passwd").write_text(f"root:*:0:0::/root:/bin/bash\nsshd:*:101:101::/var/empty:/bin/false\nhadoop:*:{HADOOP}:{HADOOP}::/home/hadoop:/bin/bash\n")
        (etc / "group").write_text(f"root:x:0:\nsshd:x:101:\nhadoop:x:{HADOOP}:\n")
        (etc / "ssh/authorized_keys").write_text(f"{public_key}\n")
        (etc / "ssh/sshd_config").write_text(SSHD.format(
            address=self.address, port=SSH_PORT, environment=" ".join(f'"{k}={v}"' for k, v in self.environment.items())))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", etc / "ssh/ssh_host_ed25519_key"], check=True)
        self.write("mnt/var/lib/info/instance.json", '{"isMaster": true}')
        # EMR's nodes have the AWS command line.
        self.write("opt/bin/aws", f"#!/bin/sh\nexec {sys.executable} -I -S -B {Path(__file__).with_name('aws_cli.py')} \"$@\"\n", 0o755)
        # EMR's hadoop may sudo; here what it may touch is its own already.
        self.write("opt/bin/sudo", '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n', 0o755)
        self.own("mnt", "emr", "home/hadoop")
        self.log = open(self.root.with_suffix(".sshd.log"), "ab")
        self.process = subprocess.Popen(
            ["unshare", *NAMESPACES, "bash", "-c", BOOT, "boot", self.root, str(HADOOP)], stdout=subprocess.PIPE, stderr=self.log,
            stdin=subprocess.DEVNULL, start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "EXTRA": " ".join(mounts()), "ORDINARY": "1" if os.getuid() else ""})
        if self.process.stdout.readline() != b"up\n":
            self.stop()
            raise RuntimeError(f"the node did not start: {self.root.with_suffix('.sshd.log').read_text()}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0])

    def path(self, inside):
        """Where a file of the node is on this machine."""
        return self.root / str(inside).lstrip("/")

    def write(self, inside, text, mode=0o644):
        self.path(inside).write_text(text)
        self.path(inside).chmod(mode)

    def own(self, *names):
        """Gives what lies there to hadoop."""
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{HADOOP}:{HADOOP}", *(self.path(name) for name in names)], check=True)

    def popen(self, argv, cwd, stdout, stderr, **environment):
        """Starts a process as hadoop; stdout and stderr are appended to files of the node."""
        enter = ["nsenter", "--mount", f"--pid=/proc/{self.pid}/ns/pid", "--target", str(self.process.pid)]
        become = ["setpriv", "--reuid", str(HADOOP), "--regid", str(HADOOP), "--clear-groups"]
        if os.getuid():
            enter += ["--user", "--preserve-credentials"]
            become = ["unshare", "--user", f"--map-user={HADOOP}", f"--map-group={HADOOP}"]
        with open(self.path(stdout), "ab", 0) as out, open(self.path(stderr), "ab", 0) as err:
            return subprocess.Popen(
                [*enter, "--", *become, "env", "-C", cwd, *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True, env=self.environment | environment)

    def sshd(self):
        """Process numbers of its sshd: the one that listens first, then those of connections."""
        return self.running(b"sshd")

    def running(self, program):
        """Process numbers of those that have `program` in the first word of their command line."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop(0)
            try:
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                if program in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                    found.append(pid)
            except OSError:
                pass
        return found

    def signal(self, pid, how):
        """Signals what `popen` started, which is the child of `pid`; KILL goes to that one's descendants as well."""
        def children(parent):
            try:
                return [int(n) for n in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
            except OSError:
                return []

        # A moment after `popen` it may not be there yet; a second after, it has ended.
        deadline = time.time() + 1
        while not (found := children(pid)) and time.time() < deadline:
            time.sleep(0.005)
        for parent in found:
            found += children(parent)
        for target in found if how == signal.SIGKILL else found[:1]:
            try:
                os.kill(target, how)
            except OSError:
                pass

    def cut(self, for_good=False):
        """Breaks all SSH connections; for good, nobody listens any more."""
        for pid in self.sshd()[0 if for_good else 1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.root, ignore_errors=True)
