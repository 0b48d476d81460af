"""Linear layers whose weights an engine may bring into the layout of its CPU after loading.

`torch.nn.functional.linear` takes MKL for float32, which uses half of the vector width of an AMD CPU; oneDNN uses
all of it, but only through operators of its own and on weights that it has laid out (docs/log.md has the rates).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from export.packed import PackedLayer, PackedNetwork


class PrepackableLinear(nn.Module):
    """A linear layer, with GELU where it follows; to be scripted, since its branch is taken at run time.

    Args:
        linear: its parameters are shared, not copied.
        gelu: whether the exact GELU follows.
    """

    def __init__(self, linear: nn.Linear, gelu: bool) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.activation = "gelu" if gelu else "none"

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (..., outputs).

        Args:
            hidden: (..., inputs) floating.

        Source: torch 2.13, aten/src/ATen/native/mkldnn/Linear.cpp: "none" as the algorithm is the exact GELU.
        """
        if self.weight.is_mkldnn:
            return torch.ops.mkldnn._linear_pointwise(hidden, self.weight, self.bias, self.activation, [], "none")
        result = functional.linear(hidden, self.weight, self.bias)
        return functional.gelu(result) if self.activation == "gelu" else result


def make_prepackable(network: PackedNetwork) -> PackedNetwork:
    """Replace the four linear layers of every layer, in place, and return the network."""
    for layer in network.layers:
        assert isinstance(layer, PackedLayer)
        for name in ("qkv", "attention_out", "feed_in", "feed_out"):
            gelu = name == "feed_in"
            setattr(layer, name, torch.jit.script(PrepackableLinear(getattr(layer, name), gelu)))
        layer.activation = nn.Identity()
    return network
