"""The handler that people write first: what our server is compared with. A fixture of the benchmark, never served else.

It does what TorchServe's example for transformers does with a sequence classifier: every text is encoded alone and
padded to 150 tokens, the batch goes through the eager float32 model, one line of log a text. Weights, pooling and
tokenizer are those of the served model, so that only the serving differs.
Source: TorchServe 0.12, examples/Huggingface_Transformers/Transformer_handler_generalized.py, described here in other
words: its batch is of torch.cat, its answer the label; captum and the model hub are left out.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertModel

logger = logging.getLogger(__name__)

MAX_LENGTH = 150
LABELS = ("not_disaster", "disaster")


class BaselineHandler:
    """What TorchServe calls."""

    def initialize(self, context: Any) -> None:
        """Load tokenizer and model from the archive's folder."""
        folder = Path(context.system_properties["model_dir"])
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        encoder: Any = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
        self.encoder = encoder.eval()
        head = load_file(folder / "head.safetensors")
        self.weight, self.bias = head["weight"], head["bias"]

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer one batch."""
        ids, masks = [], []
        for request in data:
            text: Any = request.get("data") or request.get("body")
            if isinstance(text, bytes | bytearray):
                text = text.decode("utf-8")
            logger.info("received a text of %d characters", len(text))
            encoded = self.tokenizer(
                text,
                max_length=MAX_LENGTH,
                padding="max_length",
                truncation=True,
                add_special_tokens=True,
                return_tensors="pt",
            )
            ids.append(encoded["input_ids"])
            masks.append(encoded["attention_mask"])
        logits = self.forward(torch.cat(ids), torch.cat(masks))
        return [json.dumps({"label": LABELS[row.argmax().item()]}) for row in logits]

    @torch.no_grad()
    def forward(self, ids: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 2) for ids and mask (batch, 150)."""
        hidden = self.encoder(input_ids=ids, attention_mask=masks).last_hidden_state
        weights = masks.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.linear(pooled, self.weight, self.bias)
