"""Write the served model's weights as transformers reads them: run as a program, once a benchmark.

    python scripts/benchmarks/merged_weights.py model build/benchmark/merged

The baseline must have the same weights as the model that it is compared with. In a process of its own, since it needs
the training room and half a gigabyte for a moment.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from training.base_encoder import resolve_base_encoder
from training.model import load_merged

HEAD_FILE = "head.safetensors"


def main(model_dir: Path, target: Path) -> None:
    """Merge the adapter and write encoder, head and tokenizer."""
    classifier, _ = load_merged(model_dir)
    target.mkdir(parents=True, exist_ok=True)
    classifier.encoder.save_pretrained(target)
    head = {name: tensor.detach().contiguous() for name, tensor in classifier.head.named_parameters()}
    save_file(head, target / HEAD_FILE)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (resolve_base_encoder() / name).is_file():
            shutil.copyfile(resolve_base_encoder() / name, target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
