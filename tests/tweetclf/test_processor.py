"""What the processor can do is read as the kernel tells it, and nothing is assumed where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support import old_processor
from tweetclf.engines import processor

AVX512 = "avx2 avx512f avx512bw avx512dq avx512vl"
VARIABLE = processor.CPU_INFO_VARIABLE
needs_flags = pytest.mark.skipif(not processor.instructions(), reason="no flags in /proc/cpuinfo; they are x86's")


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Let the processor have these instructions, written as Linux writes them."""
    path = tmp_path / "cpuinfo"
    core = f"processor\t: 0\nmodel name\t: Nobody's\nflags\t\t: fpu {request.param}\npower management:\n\n"
    path.write_text(core * 2, encoding="ascii")
    monkeypatch.setenv(VARIABLE, str(path))
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
        # What a virtual machine or a broken kernel may tell: an instruction without those that it needs.
        ("avx2 avx512_vnni", False, 8),
        ("avx2 avx512f avx512_vnni", False, 8),
        ("avx_vnni", False, 16),
        (f"{AVX512} amx_int8", False, 16),
        (f"{AVX512} amx_tile amx_int8 avx512_vnni", True, 16),
        ("", False, 16),
    ],
    indirect=["flags"],
)
@pytest.mark.usefixtures("flags")
def test_processor_is_judged_by_its_instructions(fast: bool, step: int) -> None:
    assert processor.fast_in_int8() is fast
    assert processor.length_step() == step


@pytest.mark.parametrize(
    "content",
    [
        None,  # macOS
        "",
        "processor : 0\nBogoMIPS : 50.00\nFeatures : fp asimd asimddp i8mm bf16\nCPU part : 0xd40\n",  # ARM
        "vendor_id : IBM/S390\nfeatures : esan3 zarch vx\n",
        "flags avx2 avx_vnni\n",
    ],
)
def test_instructions_are_none_where_the_kernel_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content, encoding="ascii")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cpuinfo"))
    assert processor.instructions.__wrapped__() == frozenset()


def test_instructions_of_unlike_cores_are_those_that_all_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("flags : avx2 avx_vnni\n\nflags : avx2\nvmx flags : ept\n", encoding="ascii")
    monkeypatch.setenv(VARIABLE, str(path))
    assert processor.instructions.__wrapped__() == {"avx2"}


@needs_flags
def test_processor_of_this_machine_is_what_torch_takes_it_for() -> None:
    width = torch.backends.cpu.get_cpu_capability()
    assert (processor.length_step() == 8) == (width == "AVX2")
    # torch tells all that the processor has, and does not know what is hidden from it.
    capabilities = {} if old_processor.asked() else torch.cpu.get_capabilities()
    assert processor.fast_in_int8() == any(capabilities.get(name) for name in processor.INT8_INSTRUCTIONS)
