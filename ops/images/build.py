"""Build the images where there is no container engine: the Dockerfile's own instructions, in a chroot of Debian.

A stand-in, not a container engine: it serves to prove that the Dockerfile builds and that what comes out runs. Its base
is made by debootstrap from the same Debian release as `debian:bookworm-slim`. Needs Linux and root.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.images.file import Stage, assignments, copy_words

RELEASE = "bookworm"
BASE_IMAGE = f"debian:{RELEASE}-slim"
MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
STEP_TIMEOUT_S = 3600
CERTIFICATES = "/run/build-certificates.pem"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BuildError(RuntimeError):
    """A step failed; the message says which, with the end of its output."""


@dataclass
class Image:
    """What a stage became.

    Args:
        key: hash of everything that went into it.
        layers: folders, the newest first.
        environment: ENV.
        folder: WORKDIR.
        user: USER.
        entrypoint: ENTRYPOINT, then CMD.
        healthcheck: the command of HEALTHCHECK.
    """

    key: str
    layers: list[Path]
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)


class Builder:
    """Build stages under one folder and keep what is current.

    Args:
        context: the folder that COPY copies from.
        store: layers go here, and stay for the next build.
        shared: folders of this machine that RUN sees read-only, such as a package mirror on disk.
        build_environment: variables of RUN that the image does not keep, such as PIP_FIND_LINKS.
        certificates: PEM of the authorities that this machine's package registry is trusted by; None takes Debian's.
    """

    def __init__(
        self,
        context: Path,
        store: Path,
        shared: Sequence[Path] = (),
        build_environment: Mapping[str, str] | None = None,
        certificates: Path | None = None,
    ) -> None:
        self._context = context
        self._store = store
        self._shared = shared
        self._build_environment = dict(build_environment or {})
        self._certificates = certificates
        if certificates is not None:
            self._build_environment |= {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}
        ignore = context / ".dockerignore"
        self._ignored = ignore.read_text(encoding="utf-8").split("\n") if ignore.is_file() else []

    def build(self, stages: Sequence[Stage], target: str) -> Image:
        """Build a stage and those that it needs; return its image.

        Raises:
            BuildError: a step failed.
        """
        by_name = {stage.name: stage for stage in stages}
        images: dict[str, Image] = {}

        def image_of(name: str) -> Image:
            if name not in images:
                images[name] = self._base(name) if name not in by_name else self._stage(by_name[name], image_of)
            return images[name]

        return image_of(target)

    def _base(self, name: str) -> Image:
        if name != BASE_IMAGE:
            raise BuildError(f"the base {name} is not known here; expected {BASE_IMAGE}")
        folder = self._store / f"base-{RELEASE}"
        if not folder.with_suffix(".done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            print(f"making {BASE_IMAGE} with debootstrap ...", flush=True)
            _run(["debootstrap", "--variant=minbase", RELEASE, str(folder), MIRROR], "debootstrap")
            sources = f"deb {MIRROR} {RELEASE} main\ndeb {MIRROR} {RELEASE}-updates main\n"
            sources += f"deb {SECURITY} {RELEASE}-security main\n"
            (folder / "etc/apt/sources.list").write_text(sources, encoding="utf-8")
            # The image of that name leaves documentation out and starts no service.
            (folder / "etc/dpkg/dpkg.cfg.d/slim").write_text(
                "path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\n"
            )
            (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
            (folder / "usr/sbin/policy-rc.d").chmod(0o755)
            folder.with_suffix(".done").touch()
        return Image(f"base-{RELEASE}", [folder])

    def _stage(self, stage: Stage, image_of) -> Image:  # type: ignore[no-untyped-def]  # a closure over the stages
        base = image_of(stage.base)
        origins = {name: image_of(name) for name in self._origins(stage)}
        key = self._key(stage, base, origins)
        layer = self._store / f"{stage.name}-{key}"
        image = Image(key, [layer, *base.layers], dict(base.environment), base.folder, base.user)
        if not layer.with_suffix(".done").exists():
            for stale in self._store.glob(f"{stage.name}-*"):
                stale.unlink() if stale.is_file() else shutil.rmtree(stale)
            layer.mkdir(parents=True)
            print(f"building stage {stage.name} ...", flush=True)
            with mounted(base.layers, self._store / "mounts" / stage.name, layer) as root:
                self._execute(stage, image, root, origins, dry=False)
            layer.with_suffix(".done").touch()
        else:
            self._execute(stage, image, Path(), origins, dry=True)
        image.entrypoint = [*stage.words("ENTRYPOINT"), *stage.words("CMD")]
        image.healthcheck = stage.words("HEALTHCHECK")
        return image

    def _execute(self, stage: Stage, image: Image, root: Path, origins: Mapping[str, Image], dry: bool) -> None:
        arguments: dict[str, str] = {}
        for one in stage.instructions:
            if one.name == "ENV":
                image.environment.update(assignments(one.text))
            elif one.name == "ARG":
                arguments.update(assignments(one.text))
                arguments = {name: self._build_environment.get(name, value) for name, value in arguments.items()}
            elif one.name == "USER":
                image.user = one.text
            elif one.name == "WORKDIR":
                image.folder = one.text
                if not dry:
                    (root / one.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif one.name == "COPY" and not dry:
                self._copy(one.text, image, root, origins)
            elif one.name == "RUN" and not dry:
                self._step(one.text, image, root, arguments)

    def _copy(self, text: str, image: Image, root: Path, origins: Mapping[str, Image]) -> None:
        origin, sources, target = copy_words(text)
        into = root / os.path.join(image.folder, target).lstrip("/")
        with contextlib.ExitStack() as stack:
            if origin is None:
                found = [path for source in sources for path in self._context_paths(source)]
            else:
                mount = stack.enter_context(mounted(origins[origin].layers, self._store / "mounts" / f"from-{origin}"))
                found = [mount / source.lstrip("/") for source in sources]
            if not found:
                raise BuildError(f"COPY {text}: nothing there")
            if target.endswith("/") or len(found) > 1:
                into.mkdir(parents=True, exist_ok=True)
            for path in found:
                if path.is_dir():
                    into.mkdir(parents=True, exist_ok=True)
                    _run(["cp", "-a", f"{path}/.", str(into)], f"COPY {text}")
                    _remove_ignored(into)
                else:
                    into.parent.mkdir(parents=True, exist_ok=True)
                    _run(["cp", "-a", str(path), str(into)], f"COPY {text}")
        _run(["chown", "-R", "0:0", str(into)], f"COPY {text}")

    def _step(self, text: str, image: Image, root: Path, arguments: Mapping[str, str]) -> None:
        environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "HOME": "/tmp"}  # noqa: S108 - in the chroot
        environment |= {**self._build_environment, **image.environment, **arguments}
        with contextlib.ExitStack() as stack:
            seen = {path: str(path) for path in (*self._shared, Path("/etc/resolv.conf"), Path("/etc/hosts"))}
            if self._certificates is not None:
                seen[self._certificates] = CERTIFICATES
            for path, inside in seen.items():
                stack.enter_context(bound(path, root / inside.lstrip("/")))
            script = f"cd {image.folder} && mount -t proc proc /proc && {text}"
            command = [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "chroot",
                str(root),
                "/bin/sh",
                "-c",
                script,
            ]
            _run(command, f"RUN {text[:80]}", environment)

    def _context_paths(self, source: str) -> list[Path]:
        return sorted(path for path in self._context.glob(source.rstrip("/")) if not self._is_ignored(path))

    def _is_ignored(self, path: Path) -> bool:
        """Tell by .dockerignore of the form used here: everything, but for some paths."""
        name = str(path.relative_to(self._context))
        kept = [line[1:] for line in self._ignored if line.startswith("!")]
        inside = any(name == one or name.startswith(f"{one}/") or one.startswith(f"{name}/") for one in kept)
        return "*" in self._ignored and not inside

    def _origins(self, stage: Stage) -> list[str]:
        found = [copy_words(one.text)[0] for one in stage.instructions if one.name == "COPY"]
        return [name for name in found if name is not None]

    def _key(self, stage: Stage, base: Image, origins: Mapping[str, Image]) -> str:
        digest = hashlib.sha256(base.key.encode())
        for name in sorted(origins):
            digest.update(origins[name].key.encode())
        for one in stage.instructions:
            digest.update(f"{one.name} {one.text}\n".encode())
            if one.name == "COPY" and copy_words(one.text)[0] is None:
                for source in copy_words(one.text)[1]:
                    for path in self._context_paths(source):
                        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                            if file.is_file() and "__pycache__" not in file.parts:
                                digest.update(str(file.relative_to(self._context)).encode() + file.read_bytes())
        return digest.hexdigest()[:16]


@contextlib.contextmanager
def mounted(layers: Sequence[Path], point: Path, upper: Path | None = None) -> Iterator[Path]:
    """Mount layers over each other; read-only without an upper one."""
    point.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={':'.join(map(str, layers))}"
    if upper is not None:
        work = upper.with_suffix(".work")
        work.mkdir(exist_ok=True)
        options += f",upperdir={upper},workdir={work}"
    elif len(layers) == 1:
        options = f"lowerdir={layers[0]}:{layers[0]}"  # overlay wants two
    _run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], "mounting an image")
    try:
        yield point
    finally:
        _run(["umount", str(point)], "unmounting an image")
        if upper is not None:
            shutil.rmtree(upper.with_suffix(".work"), ignore_errors=True)


@contextlib.contextmanager
def bound(path: Path, point: Path) -> Iterator[None]:
    """Show a file or folder of this machine inside a root, read-only."""
    existed = point.exists()
    if path.is_dir():
        point.mkdir(parents=True, exist_ok=True)
    elif not existed:
        point.touch()
    _run(["mount", "--bind", "-o", "ro", str(path.resolve()), str(point)], f"sharing {path}")
    try:
        yield
    finally:
        _run(["umount", str(point)], f"unsharing {path}")
        if not existed:
            point.rmdir() if point.is_dir() else point.unlink()


def _remove_ignored(folder: Path) -> None:
    for path in list(folder.rglob("__pycache__")):
        if fnmatch.fnmatch(path.name, "__pycache__"):
            shutil.rmtree(path, ignore_errors=True)


def _run(command: list[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=STEP_TIMEOUT_S,
        check=False,
    )
    if result.returncode:
        raise BuildError(f"{what} failed ({result.returncode}): {(result.stdout + result.stderr)[-2000:]}")
