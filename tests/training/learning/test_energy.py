"""CPU time is counted; joules where counters are there, across their wrap, and never made up."""

from __future__ import annotations

from pathlib import Path

from training.learning.energy import CostMeter


def _counter(folder: Path, name: str, microjoules: int, wraps_at: int = 10_000_000) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{wraps_at}\n")


def test_cost_counts_the_cpu_time_of_this_process(tmp_path: Path) -> None:
    meter = CostMeter(tmp_path)
    sum(number * number for number in range(3_000_000))
    cost = meter.cost()
    assert cost["cpu_seconds"] >= 0.1
    assert cost["wall_seconds"] >= 0.1


def test_cost_where_no_counter_can_be_read_has_no_joules_and_says_why(tmp_path: Path) -> None:
    cost = CostMeter(tmp_path / "nothing").cost()
    assert cost["package_joules"] is None
    assert "no readable RAPL counters" in cost["energy_note"]


def test_cost_adds_packages_across_the_wrap_and_leaves_their_parts_out(tmp_path: Path) -> None:
    _counter(tmp_path, "intel-rapl:0", 9_000_000)
    _counter(tmp_path, "intel-rapl:1", 1_000_000)
    _counter(tmp_path, "intel-rapl:0:0", 0)
    meter = CostMeter(tmp_path)
    _counter(tmp_path, "intel-rapl:0", 999_999)  # wrapped: 2 J
    _counter(tmp_path, "intel-rapl:1", 4_500_000)
    _counter(tmp_path, "intel-rapl:0:0", 5_000_000)
    assert meter.cost()["package_joules"] == 5.5


def test_cost_when_a_counter_goes_away_has_no_joules(tmp_path: Path) -> None:
    _counter(tmp_path, "intel-rapl:0", 1)
    meter = CostMeter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.cost()["package_joules"] is None
