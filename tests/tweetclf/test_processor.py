"""What the processor can do is read as the kernel tells it, and nothing is assumed where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tweetclf.engines import processor

AVX512 = "avx2 avx512f avx512bw avx512dq avx512vl"
needs_flags = pytest.mark.skipif(not processor.instructions(), reason="no flags in /proc/cpuinfo; they are x86's")


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Let the processor have these instructions, written as Linux writes them."""
    path = tmp_path / "cpuinfo"
    core = f"processor\t: 0\nmodel name\t: Nobody's\nflags\t\t: fpu {request.param}\npower management:\n\n"
    path.write_text(core * 2, encoding="ascii")
    monkeypatch.setattr(processor, "CPU_INFO", path)
    monkeypatch.setattr(processor, "instructions", processor.instructions.__wrapped__)
    return str(request.param)


@pytest.mark.parametrize(
    ("flags", "fast", "step"),
    [
        ("avx2", False, 8),
        ("avx2 avx_vnni", True, 8),
        ("avx2 avx512f", False, 8),  # not all that 512 bits ask for
        (AVX512, False, 16),
        (f"{AVX512} avx512_vnni", True, 16),
        ("sse4_2", False, 16),
    ],
    indirect=["flags"],
)
@pytest.mark.usefixtures("flags")
def test_processor_is_judged_by_its_instructions(fast: bool, step: int) -> None:
    assert processor.fast_in_int8() is fast
    assert processor.length_step() == step


def test_instructions_are_none_where_the_kernel_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "missing")
    assert processor.instructions.__wrapped__() == frozenset()
    (tmp_path / "missing").write_text("processor : 0\nFeatures : fp asimd\n", encoding="ascii")
    assert processor.instructions.__wrapped__() == frozenset()


@needs_flags
def test_processor_of_this_machine_is_what_torch_takes_it_for() -> None:
    capabilities = torch.cpu.get_capabilities()
    assert processor.fast_in_int8() == any(capabilities.get(name) for name in processor.INT8_INSTRUCTIONS)
    assert (processor.length_step() == 8) == (torch.backends.cpu.get_cpu_capability() == "AVX2")
