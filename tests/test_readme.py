"""The commands of README and user documents are run: what they promise cannot rot."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.serving.torchserve_process import TorchServeProcess

README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
PAGES = [ROOT / "docs" / "quickstart.md", *sorted((ROOT / "docs").glob("guides/*.md"))]
PAGES += sorted((ROOT / "docs").glob("reference/*.md"))
USER_TEXT = "\n".join([README, *(page.read_text(encoding="utf-8") for page in PAGES)])


def blocks(language: str, text: str = USER_TEXT) -> list[str]:
    """Return the fenced blocks of a language, "" for those of none."""
    parts = re.split(r"^```", text, flags=re.MULTILINE)
    fenced = [part.partition("\n") for part in parts[1::2]]
    return [content for name, _, content in fenced if name == language]


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
CURLS = list(dict.fromkeys(command for command in COMMANDS if command.startswith("curl")))


def test_the_readme_is_one_page() -> None:
    assert README.count("\n") <= 150


def on_test_ports(text: str, server: TorchServeProcess) -> str:
    """Point a documented command at the test's own server."""
    ports = {8080: server.ports.inference, 8081: server.ports.management, 7070: server.ports.grpc_inference}
    return re.sub(r"(localhost|127\.0\.0\.1):(\d+)", lambda found: f"127.0.0.1:{ports[int(found[2])]}", text)


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    kinds = {shlex.split(command, comments=True)[0] for command in COMMANDS}
    assert kinds == {"make", "curl", "torchserve", "locust", "python", "disaster-tweets"}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("disaster-tweets ")])
def test_a_command_of_ours_has_help_with_an_example(command: str) -> None:
    words = [sys.executable, "-m", "ops.cli", shlex.split(command)[1], "--help"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert "example" in result.stdout


@pytest.mark.serving
@pytest.mark.parametrize("command", CURLS)
def test_a_curl_command_gets_an_answer(server: TorchServeProcess, command: str) -> None:
    result = subprocess.run(
        ["bash", "-c", f"{on_test_ports(command, server)} --fail-with-body -sS"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)


@pytest.mark.serving
def test_the_answer_shown_has_the_fields_of_the_real_one(server: TorchServeProcess) -> None:
    (shown,) = [json.loads(block) for block in blocks("json")]
    real = json.loads(
        subprocess.run(
            ["bash", "-c", f"{on_test_ports(CURLS[0], server)} -sS"], capture_output=True, text=True, timeout=60
        ).stdout
    )
    assert list(shown) == list(real)
    assert shown["label"] == real["label"]
    assert shown["score"] == pytest.approx(real["score"], abs=0.001)
    assert shown["decision"] == real["decision"]


@pytest.mark.serving
@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_runs(server: TorchServeProcess, block: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", on_test_ports(block, server)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("disaster\ndisaster ")


def test_the_torchserve_command_is_the_one_that_the_server_tests_start(server: TorchServeProcess) -> None:
    (command,) = [command for command in COMMANDS if command.startswith("torchserve")]
    started = server.java.cmdline()
    assert "-ncs" not in started
    assert shlex.split(command)[1:] == ["--start", "--model-store", "model_store", "--models", "tweets.mar"]
    assert started[-4:] == ["-s", "model_store", "-m", "tweets.mar"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", USER_TEXT, re.MULTILINE))))
def test_a_make_target_exists(target: str) -> None:
    arguments = ["make", "--dry-run", target, f"DATA={ROOT}"]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_the_tree_names_what_is_there() -> None:
    (tree,) = [block for block in blocks("", ARCHITECTURE) if "tweetclf/" in block]
    for line in tree.splitlines():
        assert (ROOT / line.split()[0]).exists(), line


def test_every_folder_is_in_the_tree() -> None:
    (tree,) = [block for block in blocks("", ARCHITECTURE) if "tweetclf/" in block]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] + "/" for line in tracked.splitlines() if "/" in line and not line.startswith(".")}
    assert folders - {line.split()[0] for line in tree.splitlines()} == set()


def test_the_figures_are_those_of_the_committed_model() -> None:
    facts = json.loads((ROOT / "model" / "training.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| .*? \| `(dev\w*)` \| ([\d,]+) \| ([\d. |]+) \|$", RESULTS, re.MULTILINE)
    assert {name for name, _, _ in rows} == {name for name in facts if name.startswith("dev")}
    for name, count, figures in rows:
        part = facts[name]
        assert int(count.replace(",", "")) == part["n"]
        shown = [float(figure) for figure in figures.split(" | ")]
        expected = [part[figure] for figure in ("f1", "accuracy", "precision", "recall", "roc_auc", "ece_15_bins")]
        assert shown == [round(figure, 3) for figure in expected]
    assert f"{facts['model_version']}" in RESULTS
    shown = [f"{facts['dev'][figure]:.3f}" for figure in ("f1", "accuracy", "roc_auc")]
    assert "F1 is {}, accuracy {} and ROC-AUC {}".format(*shown) in README
