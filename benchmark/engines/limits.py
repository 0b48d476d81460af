"""What the processor can do at most: matrix products of the model's own shapes, and what a tweet costs of them.

The products are oneDNN's with packed weights, the fastest known for torch on a CPU; the figure for a precision is the
best over the model's two shapes and two sizes. Rates are per second of processor time, so other work on the machine
does not count, as far as it leaves caches and clock alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

PRECISIONS = ("fp32", "bf16", "int8")
ROWS = (512, 2048)  # tokens of a matrix product
SECONDS_PER_SHAPE = 0.12


@dataclass(frozen=True)
class Shape:
    """What of a BERT encoder decides its arithmetic.

    Args:
        layers: blocks.
        hidden: width of a token.
        intermediate: width inside the feed-forward part.
    """

    layers: int
    hidden: int
    intermediate: int

    def flop(self, tokens: int) -> float:
        """Return the multiplications and additions for one tweet of so many real tokens, nothing padded.

        Per layer and token four products hidden x hidden and two hidden x intermediate; attention adds two products
        of tokens x hidden each. Embedding, norms, GELU and head are left out: they are no matrix products.
        """
        per_token = 2 * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)
        attention = 2 * 2 * tokens * self.hidden
        return float(self.layers * tokens * (per_token + attention))


def supported_precisions() -> tuple[str, ...]:
    """Return those of `PRECISIONS` for which this CPU has instructions of its own."""
    has = torch.cpu.get_capabilities()
    found = ["fp32"]
    # oneDNN is asked as well: it does the work, and ONEDNN_MAX_CPU_ISA may hide instructions from it.
    if (has.get("avx512_bf16") or has.get("amx_bf16")) and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        found.append("bf16")
    if any(has.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")):
        found.append("int8")
    return tuple(found)


def measure_limit(precision: str, shape: Shape) -> float:
    """Return the best rate of one core in GFLOP/s of processor time.

    Args:
        precision: one of `PRECISIONS`; int8 is unsigned times signed, with float32 results.
        shape: of the model.
    """
    best = 0.0
    for inner, outer in ((shape.hidden, shape.intermediate), (shape.intermediate, shape.hidden)):
        for rows in ROWS:
            product = _product(precision, rows, inner, outer)
            best = max(best, 2 * rows * inner * outer / _seconds_each(product) / 1e9)
    return best


def _product(precision: str, rows: int, inner: int, outer: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    if precision == "int8":
        values = torch.randint(0, 255, (rows, inner), generator=generator, dtype=torch.uint8)
        weight = torch.randint(-127, 127, (outer, inner), generator=generator, dtype=torch.int8)
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        scales, zeros = torch.full((outer,), 0.01), torch.zeros(outer, dtype=torch.int32)
        return lambda: torch.ops.onednn.qlinear_pointwise(
            *(values, 0.02, 128, packed, scales, zeros, None),
            *(1.0, 0, torch.float32, "none", [], "none"),
        )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    inputs = torch.randn(rows, inner, generator=generator).to(dtype)
    weight = torch.randn(outer, inner, generator=generator).to(dtype)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return lambda: torch.ops.mkldnn._linear_pointwise(inputs, packed, None, "none", [], "none")


def _seconds_each(call: Callable[[], object]) -> float:
    """Return the processor time of one call, the best of rounds of a few."""
    with torch.inference_mode():
        call()
        best, ends = float("inf"), time.process_time() + SECONDS_PER_SHAPE
        gives_up = time.perf_counter() + 4 * SECONDS_PER_SHAPE  # on a machine with other work
        while best == float("inf") or (time.process_time() < ends and time.perf_counter() < gives_up):
            start = time.process_time()
            for _ in range(4):
                call()
            best = min(best, (time.process_time() - start) / 4)
    return best


def measure_cuda_limit(device: str) -> float:
    """Return the best rate of a GPU in half precision in GFLOP/s, for square products of 8,192."""
    size, calls = 8192, 20
    left = torch.randn(size, size, device=device, dtype=torch.float16)
    for _ in range(3):
        left @ left
    best = 0.0
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        for _ in range(calls):
            left @ left
        end.record()
        torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 * calls / (start.elapsed_time(end) / 1000) / 1e9)
    return best
