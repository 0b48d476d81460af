"""Run the network on a GPU as recorded graphs, one a bucket of shapes.

A small network is launched as some hundred kernels; their launches, not their work, would set the pace for a few
tweets. A graph launches them all at once, but for one shape only: lengths and numbers are rounded up to buckets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from tweetclf.engines.packing import Packed, pack

MAX_GRAPHS = 96  # each keeps its activations; the one not used for longest goes first
WARM_UP_RUNS = 3  # TorchScript specialises in its first two runs, and may not while a graph is recorded

Run = Callable[[], torch.Tensor]
Recorder = Callable[[Run], tuple[Callable[[], object], torch.Tensor]]


class Bucket(NamedTuple):
    """Shapes of one graph, each a power of two: packed tokens, tweets, width of the grid."""

    packed: int
    tweets: int
    width: int


def bucket_of(input_ids: Sequence[Sequence[int]]) -> Bucket:
    """Return the smallest bucket that holds a micro-batch; widths from 16 on, packed tokens from 32 on."""
    lengths = [len(ids) for ids in input_ids]
    return Bucket(_power(max(sum(lengths), 32)), _power(len(lengths)), _power(max(*lengths, 16)))


class GraphedNetwork:
    """A network with its recorded graphs; not safe for use by several threads.

    Args:
        network: takes the fields of `packing.Packed` on the device, returns logits (tweets, 2).
        device: where it runs.
        record: makes a graph of a run; replaced where there is no GPU.
    """

    def __init__(
        self, network: Callable[..., torch.Tensor], device: torch.device, record: Recorder | None = None
    ) -> None:
        self._network = network
        self._device = device
        self._record = record or CudaRecorder()
        self._graphs: OrderedDict[Bucket, _Graph] = OrderedDict()

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32 for one micro-batch."""
        bucket = bucket_of(input_ids)
        graph = self._graphs.get(bucket)
        if graph is None:
            if len(self._graphs) >= MAX_GRAPHS:
                self._graphs.popitem(last=False)
            graph = self._graphs[bucket] = _Graph(self._network, bucket, self._device, self._record)
        self._graphs.move_to_end(bucket)
        return graph.run(pack(input_ids, packed_step=bucket.packed, length_step=bucket.width))


class _Graph:
    """One bucket: fixed inputs on the device, page-locked ones on the host, the recorded run between them."""

    def __init__(
        self, network: Callable[..., torch.Tensor], bucket: Bucket, device: torch.device, record: Recorder
    ) -> None:
        grid = (bucket.tweets, bucket.width)
        fixed = [torch.zeros(bucket.packed, dtype=torch.int32) for _ in range(4)]
        fixed[2] = torch.zeros(grid, dtype=torch.int32)
        fixed += [torch.zeros(bucket.tweets, 1, 1, bucket.width), torch.zeros(*grid, 1)]
        self._host = [field.pin_memory() if device.type == "cuda" else field for field in fixed]
        self._inputs = [field.to(device, copy=True) for field in fixed]
        with torch.inference_mode():
            self._replay, self._output = record(lambda: network(*self._inputs).float())
        self._result = torch.empty(self._output.shape, pin_memory=device.type == "cuda")
        self._on_cuda = device.type == "cuda"

    def run(self, packed: Packed) -> npt.NDArray[np.float32]:
        """Return logits of the tweets of a micro-batch; what is left of the bucket computes something of no use."""
        tweets = len(packed.packed_row_of_cell)
        with torch.inference_mode():
            for field, host, inputs in zip(packed, self._host, self._inputs, strict=True):
                host[: len(field)].copy_(torch.from_numpy(field))
                inputs[: len(field)].copy_(host[: len(field)], non_blocking=True)
            self._replay()
            self._result.copy_(self._output, non_blocking=True)
            if self._on_cuda:
                torch.cuda.current_stream().synchronize()  # releases the interpreter: the next tweets are tokenised
        return np.array(self._result[:tweets].numpy(), dtype=np.float32)


class CudaRecorder:
    """Record runs as CUDA graphs that share one pool of memory.

    They may share it because one graph runs at a time and its result is copied before the next one runs.

    Source: torch 2.13, notes/cuda.html#cuda-graphs: warm up on another stream, then capture; "Sharing memory across
    captures".
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> tuple[Callable[[], object], torch.Tensor]:
        """Record a run.

        Args:
            run: works on tensors that stay where they are.

        Returns:
            What replays it, and the tensor that then holds the result.
        """
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = run()
        return graph.replay, output


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()
