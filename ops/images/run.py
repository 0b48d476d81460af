"""Run a built image where there is no container engine: namespaces, chroot, no capability, read-only root.

What compose.yaml asks of an engine, done with util-linux: own mounts, processes and network, an unprivileged user, an
empty bounding set, no new privileges. Not done here: seccomp, limits by cgroups, user namespaces.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops.images.build import Image, mounted

STOP_S = 40.0  # as stop_grace_period in compose.yaml
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount point in the container
DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9)}


@dataclass(frozen=True)
class Container:
    """A running image.

    Args:
        image: what runs.
        launcher: the process on this machine; its child is process 1 in there.
        uid: who everything in there runs as.
        log: what it printed.
    """

    image: Image
    launcher: subprocess.Popen[bytes]
    uid: int
    log: Path

    def execute(self, command: Sequence[str], timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as the container's own user and with as few rights."""
        first = psutil.Process(self.launcher.pid).children()[0].pid
        entered = ["nsenter", "--target", str(first), "--mount", "--pid", "--net", "--ipc", "--root"]
        return subprocess.run(
            [*entered, *confined(self.image, self.uid, command)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={},
        )

    def is_healthy(self) -> bool:
        """Run the image's own HEALTHCHECK."""
        return self.execute(self.image.healthcheck).returncode == 0

    def stop(self) -> int:
        """Send process 1 in there what an engine sends, wait, then kill the namespace; return the exit status."""
        if self.launcher.poll() is None:
            with contextlib.suppress(psutil.Error, IndexError):
                psutil.Process(self.launcher.pid).children()[0].terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.launcher.wait(STOP_S)
        if self.launcher.poll() is None:
            self.launcher.kill()
        return self.launcher.wait()


@contextlib.contextmanager
def network() -> Iterator[int]:
    """Hold a network namespace with nothing but a loopback device; give the pid that holds it."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        command = ["nsenter", "--target", str(holder.pid), "--net", "ip", "link", "set", "lo", "up"]
        for _ in range(50):  # until unshare has done its part
            if os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"):
                break
            signal.sigtimedwait([], 0.1)
        subprocess.run(command, timeout=60, check=True)
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


@contextlib.contextmanager
def running(
    image: Image,
    network_pid: int,
    folder: Path,
    tmpfs: Mapping[str, str],
    volumes: Mapping[str, Path],
) -> Iterator[Container]:
    """Run an image's ENTRYPOINT until the end of the block.

    Args:
        image: as built.
        network_pid: from `network`.
        folder: for mount points and the log.
        tmpfs: place -> mount options, as in compose.yaml.
        volumes: place -> folder of this machine, shown read-only.
    """
    uid = _uid(image)
    points = folder / "points"
    for place in (*tmpfs, *volumes, "/proc", "/dev"):
        (points / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    log = folder / "console.log"
    with mounted([points, *image.layers], folder / "root") as root, log.open("wb") as output:
        os.fchown(output.fileno(), uid, uid)  # as engines do: /dev/stdout can be opened by whom it serves
        script = _mounts(root, tmpfs, volumes)
        script.append("exec chroot " + shlex.join([str(root), *confined(image, uid, image.entrypoint)]))
        command = ["nsenter", "--target", str(network_pid), "--net", "unshare", "--mount", "--pid", "--ipc", "--uts"]
        command += ["--fork", "--kill-child", "/bin/sh", "-ec", "\n".join(script)]
        launcher = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={"PATH": os.environ["PATH"]}
        )
        container = Container(image, launcher, uid, log)
        try:
            yield container
        finally:
            container.stop()


def confined(image: Image, uid: int, command: Sequence[str]) -> list[str]:
    """Return a command that starts another as the image says, without any right to more."""
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **image.environment}
    rights = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--no-new-privs"]
    rights += ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
    assigned = [f"{name}={value}" for name, value in variables.items()]
    started = ["/bin/sh", "-c", f'cd {shlex.quote(image.folder)} && exec "$@"', "sh", *command]
    return ["/usr/bin/setpriv", *rights, "--", "/usr/bin/env", "-i", *assigned, *started]


def _mounts(root: Path, tmpfs: Mapping[str, str], volumes: Mapping[str, Path]) -> list[str]:
    lines = [f"mount -t proc -o nosuid,nodev,noexec proc {root}/proc", f"mount -t tmpfs -o mode=755 tmpfs {root}/dev"]
    for name, (major, minor) in DEVICES.items():
        lines.append(f"mknod -m 666 {root}/dev/{name} c {major} {minor}")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        lines.append(f"ln -s /proc/self/fd/{number} {root}/dev/{name}")
    lines.append(f"ln -s /proc/self/fd {root}/dev/fd && mkdir -m 1777 {root}{SHARED_MEMORY}")
    lines.append(f"mount -t tmpfs -o size=64m,mode=1777,nosuid,nodev tmpfs {root}{SHARED_MEMORY}")
    lines += [f"mount -t tmpfs -o nosuid,nodev,{options} tmpfs {root}{place}" for place, options in tmpfs.items()]
    for place, path in volumes.items():
        lines.append(f"mount --bind {shlex.quote(str(path))} {root}{place}")
        lines.append(f"mount -o remount,bind,ro,nosuid,nodev,noexec {root}{place}")
    return lines


def _uid(image: Image) -> int:
    """Return the number of USER, or look its name up in the image's own passwd."""
    user = image.user.partition(":")[0]
    if user.isdecimal():
        return int(user)
    for layer in image.layers:
        file = layer / "etc/passwd"
        if file.is_file():
            rows = (line.split(":") for line in file.read_text(encoding="utf-8").splitlines())
            return next(int(row[2]) for row in rows if row[0] == user)
    raise LookupError(f"no user {image.user} in the image")
