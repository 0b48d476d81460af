"""Write the served model's weights as transformers reads them: run as a program, once a benchmark.

    python -m benchmark.engines.merged_weights model build/benchmark/merged
    python -m benchmark.engines.merged_weights whole build/benchmark/whole

A baseline has the same weights as the model that it is compared with, or, of the word `whole`, the base encoder as it
comes with a head that calls everything a disaster: what the goals were set against, of which only the speed says
something. In a process of its own, since it needs the training package and half a gigabyte for a moment.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertModel

from training.model.base_encoder import resolve_base_encoder
from training.model.model import load_merged

HEAD_FILE = "head.safetensors"
WHOLE = "whole"


def main(model: str, target: Path) -> None:
    """Write encoder, head and tokenizer of a model folder, its adapter merged, or of the whole base encoder."""
    encoder, linear = _whole() if model == WHOLE else _merged(Path(model))
    target.mkdir(parents=True, exist_ok=True)
    encoder.save_pretrained(target)
    head = {name: tensor.detach().contiguous() for name, tensor in linear.named_parameters()}
    save_file(head, target / HEAD_FILE)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (resolve_base_encoder() / name).is_file():
            shutil.copyfile(resolve_base_encoder() / name, target / name)


def _merged(model_dir: Path) -> tuple[BertModel, torch.nn.Module]:
    classifier, _ = load_merged(model_dir)
    return classifier.encoder, classifier.head


def _whole() -> tuple[BertModel, torch.nn.Module]:
    encoder = BertModel.from_pretrained(resolve_base_encoder(), add_pooling_layer=False)
    head = torch.nn.Linear(encoder.config.hidden_size, 2)
    with torch.no_grad():  # a drawn head would call the tweet of the start check a disaster by chance only
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 1.0]))
    return encoder, head


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
