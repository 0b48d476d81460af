"""The traced TorchScript network: float32 or bfloat16 on the CPU, half precision on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tweetclf.engines import warm_up_shapes
from tweetclf.engines.allocator import keep_freed_memory
from tweetclf.engines.cuda_graphs import GraphedNetwork
from tweetclf.engines.packing import pack
from tweetclf.errors import BundleError

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of a probability, against the float32 training process; tests/tweetclf/test_torchscript.py measures bfloat16's.
TOLERANCES = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
CPU_STEP = 8  # packed tokens; oneDNN builds a kernel for every number of rows that it meets, in 2 ms


class TorchScriptEngine:
    """Run `model.pt` on one device.

    Args:
        model_path: a module traced by the export step; its submodule `network` takes the fields of
            `packing.Packed` and returns logits (batch, 2).
        device: `cpu`, or `cuda:N` as TorchServe assigns it.
        precision: `auto` is float32 on the CPU and float16 on a GPU; or a key of DTYPES.
        threads: of this process's torch from now on, >= 1; 0 leaves them as they are.
        cuda_graphs: run recorded CUDA graphs on a GPU; of no effect on the CPU.

    Raises:
        BundleError: the file is no such module, the device is not there, or it cannot do the precision.
    """

    name = "torchscript"

    def __init__(
        self,
        model_path: Path,
        device: str = "cpu",
        precision: str = "auto",
        threads: int = 0,
        cuda_graphs: bool = False,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = device
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        if on_gpu and not torch.cuda.is_available():
            raise BundleError(f"device is {device}; torch finds no GPU here; expected cpu, or a CUDA build of torch")
        self.precision = ("float16" if on_gpu else "float32") if precision == "auto" else precision
        if self.precision == "float16" and not on_gpu:
            raise BundleError("precision is float16 and the device a CPU; expected float32 or bfloat16 there")
        if self.precision == "bfloat16" and not on_gpu and not computes_bfloat16():
            raise BundleError(
                "precision is bfloat16 and this CPU has no instructions for it; expected avx512bw with avx512vl and "
                "avx512dq, or avx_ne_convert: set handler.precision to auto or float32 in model-config.yaml"
            )
        self.tolerance = TOLERANCES[self.precision]
        self.batch_tokens = 16_384 if on_gpu else 512
        try:
            module = torch.jit.load(str(model_path), map_location=self._device).eval()  # type: ignore[no-untyped-call]
            network = module.network
        except (RuntimeError, AttributeError) as error:
            raise BundleError(f"{model_path.name} cannot be loaded as TorchScript; export again") from error
        network = network.to(DTYPES[self.precision])
        self._graphs: GraphedNetwork | None = None
        if on_gpu:
            network = torch.jit.freeze(network)
            if cuda_graphs:
                self._graphs = GraphedNetwork(network, self._device)
        else:
            keep_freed_memory()
            # Not frozen: constants cannot hold weights in oneDNN's layout.
            _prepack(network)
        self._network = network

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32 for one micro-batch."""
        if self._graphs is not None:
            return self._graphs.logits(input_ids)
        with torch.inference_mode():
            fields = (torch.from_numpy(field) for field in pack(input_ids, packed_step=CPU_STEP))
            result = self._network(*(field.to(self._device) for field in fields))
            return np.asarray(result.float().cpu().numpy(), dtype=np.float32)

    def warm_up(self, max_tokens: int) -> None:
        """Run every usual shape once: the first run of a shape is the slow one."""
        for tweets, tokens in warm_up_shapes(self.batch_tokens, max_tokens):
            self.logits([[0] * tokens] * tweets)


def computes_bfloat16() -> bool:
    """Tell whether this CPU can run the network in bfloat16.

    oneDNN is asked, and not /proc/cpuinfo: it does the work, and ONEDNN_MAX_CPU_ISA may hide instructions from it.

    Source: torch 2.13, aten/src/ATen/native/mkldnn/Linear.cpp, `bf16 path needs the cpu support ...`.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return True  # torch's own kernels, which need no instruction of their own
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _prepack(network: torch.nn.Module) -> None:
    """Lay the weights of the linear layers out for this CPU, where torch has oneDNN.

    A layer whose weights oneDNN does not take keeps them as they are: the answers are the same, at a lower speed.

    Source: torch 2.13, torch/_inductor/mkldnn_ir.py, which packs the weights of compiled models by the same operator.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    with torch.no_grad():
        for module in network.modules():
            if not str(module.original_name).startswith("Prepackable"):
                continue
            plain = module.weight
            assert isinstance(plain, torch.Tensor)
            try:
                module.weight = torch.ops.mkldnn._reorder_linear_weight(plain.detach(), None)
            except RuntimeError as error:
                logger.warning("oneDNN does not take the weights (%s): they stay as they are", error)
                return
