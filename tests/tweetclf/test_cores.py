"""Affinity and quotas of control groups, of both versions, as this process sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tweetclf.engines import cores
from tweetclf.engines.cores import available_cores


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores whose control groups a test writes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "CGROUP_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def be_in(cgroups: Path, *lines: str) -> None:
    (cgroups.parent / "own").write_text("".join(f"{line}\n" for line in lines))


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max 100000\n", 64),
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),  # a part of a core is one more thread
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("9900000 100000\n", 64),  # more than there is
        ("0 100000\n", 64),
        ("200000\n", 64),
        ("two cores\n", 64),
        ("", 64),
    ],
)
def test_available_cores_when_a_container_has_a_quota_then_that_many(
    cgroups: Path, content: str, expected: int
) -> None:
    be_in(cgroups, "0::/")
    write(cgroups / "cpu.max", content)
    assert available_cores() == expected


def test_available_cores_when_a_group_outside_is_narrower_then_it_counts(cgroups: Path) -> None:
    be_in(cgroups, "0::/kubepods.slice/pod:7/container")
    write(cgroups / "kubepods.slice" / "pod:7" / "container" / "cpu.max", "max 100000\n")
    write(cgroups / "kubepods.slice" / "pod:7" / "cpu.max", "400000 100000\n")
    write(cgroups / "kubepods.slice" / "cpu.max", "800000 100000\n")
    assert available_cores() == 4


@pytest.mark.parametrize("path", ["/docker/0123", "/../..", "/"])
def test_available_cores_when_the_path_is_that_of_the_host_then_the_root_counts(cgroups: Path, path: str) -> None:
    be_in(cgroups, f"0::{path}")
    write(cgroups / "cpu.max", "300000 100000\n")
    assert available_cores() == 3


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("quota", "expected"), [("-1", 64), ("150000", 2)])
def test_available_cores_when_the_groups_are_of_version_1_then_their_quota_counts(
    cgroups: Path, folder: str, quota: str, expected: int
) -> None:
    be_in(cgroups, "5:memory:/docker/1", "4:cpu,cpuacct:/docker/1", "1:name=systemd:/docker/1", "0::/docker/1")
    write(cgroups / folder / "docker" / "1" / "cpu.cfs_quota_us", f"{quota}\n")
    write(cgroups / folder / "docker" / "1" / "cpu.cfs_period_us", "100000\n")
    assert available_cores() == expected


def test_available_cores_without_control_groups_or_affinity_then_those_of_the_machine(
    cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert available_cores() == 64
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert available_cores() == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


def test_available_cores_of_this_machine_are_at_least_one() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("set_by_operator", "expected"), [("", 1), ("3", 3)])
def test_tokenizer_when_kept_to_one_thread_then_starts_no_other(set_by_operator: str, expected: int) -> None:
    """The threads of the process are counted before and after a batch is encoded."""
    code = """
import os
from pathlib import Path
from tokenizers import Tokenizer, models, pre_tokenizers
from tweetclf.engines.cores import keep_tokenizer_to
keep_tokenizer_to(1)
tokenizer = Tokenizer(models.WordLevel({"flood": 0, "u": 1}, unk_token="u"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
before = len(os.listdir("/proc/self/task"))
tokenizer.encode_batch(["flood and fire"] * 500)
print(len(os.listdir("/proc/self/task")) - before)
"""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("no /proc here")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAYON", "TOKENIZERS"))}
    if set_by_operator:
        environment["RAYON_NUM_THREADS"] = set_by_operator
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == expected
