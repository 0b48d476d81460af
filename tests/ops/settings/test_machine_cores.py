"""How many cores there are, by files that control groups of both versions show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.settings import cores as machine_cores
from ops.settings.cores import usable_cores


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def cores(folder: Path, membership: str, files: dict[str, str]) -> int:
    (folder / "cgroup").write_text(membership)
    for name, content in files.items():
        path = folder / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return usable_cores(folder / "cgroup", folder / "mount")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "6400000 100000\n"}, 16),
        ({"cpu.max": "0 100000\n"}, 16),
        ({"cpu.max": "nonsense\n"}, 16),
        ({"cpu.max": ""}, 16),
        ({}, 16),
        ({"pod/box/cpu.max": "max 100000", "pod/cpu.max": "300000 100000"}, 3),
        ({"pod/box/cpu.max": "200000 100000", "pod/cpu.max": "300000 100000"}, 2),
    ],
)
def test_cores_when_a_group_of_version_2_has_a_quota_then_no_more(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert cores(tmp_path, "0::/pod/box\n", files) == expected


@pytest.mark.parametrize("hierarchy", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize("group", ["", "docker/a1"])
@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", 16), ("100000", 1)])
def test_cores_when_a_group_of_version_1_has_a_quota_then_no_more(
    tmp_path: Path, hierarchy: str, group: str, quota: str, expected: int
) -> None:
    files = {f"{hierarchy}/{group}/cpu.cfs_quota_us": quota, f"{hierarchy}/{group}/cpu.cfs_period_us": "100000\n"}
    membership = f"5:memory:/docker/a1\n4:{hierarchy}:/docker/a1\n1:cpuset:/\n0::/docker/a1\n"
    assert cores(tmp_path, membership, files) == expected


def test_cores_when_another_controller_has_a_name_alike_then_it_is_not_read(tmp_path: Path) -> None:
    files = {"cpuset/cpu.cfs_quota_us": "100000", "cpuset/cpu.cfs_period_us": "100000"}
    assert cores(tmp_path, "3:cpuset:/\n2:cpuacct:/\n", files) == 16


def test_cores_when_the_system_has_neither_affinity_nor_groups_then_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 1


def test_cores_when_read_from_this_machine_then_between_1_and_all() -> None:
    assert 1 <= usable_cores() <= 16
    assert machine_cores.MOUNT.is_absolute()
