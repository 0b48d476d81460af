"""A tiny random classifier as a real bundle, so that most tests need neither base model nor server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertModel

from export.archive import write_archive
from export.quantize import quantize
from export.trace import trace
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root
from tweetclf.bundle import Bundle, load_bundle, sha256_of
from tweetclf.text import NORMALISER_VERSION, normalise

ROOT = Path(__file__).resolve().parent.parent
MAX_TOKENS = 32
SCORE_STEP = 1.01e-4  # one step of the last decimal of a score, and the rounding of its difference

# Own-written; the last is longer than MAX_TOKENS.
GOLDEN_TEXTS = (
    "Flood water is over the bridge in Marlow, families on roofs",
    "this mixtape is fire",
    "Bomberos evac\u00faan el barrio por el incendio \U0001f525 http://example.org/a",
    "the river and the fire and the storm and the quake " * 6,
)


class TinyClassifier(nn.Module):
    """A two-layer BERT with mean pooling and a head, random but fixed."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=128,  # as many as the proof of the trace needs
            initializer_range=0.5,
        )
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(32, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None].to(hidden.dtype)
        return self.head((hidden * weights).sum(1) / weights.sum(1))


def tiny_tokenizer() -> Tokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789#@&%+=.,!?'"]
    pieces += [f"##{piece}" for piece in "abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces += ["the", "flood", "fire", "river", "http", "user", "storm", "quake", "and", "is", "in", "on"]
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.fixture(scope="session")
def tiny_classifier() -> TinyClassifier:
    return TinyClassifier(tiny_tokenizer().get_vocab_size()).eval()


def write_tiny_bundle(folder: Path, classifier: TinyClassifier, version: str = "2026.01.01-tiny") -> Path:
    """Write a whole bundle of the tiny classifier into a new folder."""
    folder.mkdir(parents=True)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.jit.save(trace(classifier), str(folder / "model.pt"))
    lines = []
    for text in GOLDEN_TEXTS:
        ids = tokenizer.encode(normalise(text)).ids
        ids = ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]
        with torch.no_grad():
            logits = classifier(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64))
        lines.append(json.dumps({"text": text, "input_ids": ids, "probabilities": logits.softmax(-1)[0].tolist()}))
    (folder / "golden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts = {
        "format_version": 1,
        "model_version": version,
        "labels": ["not_disaster", "disaster"],
        "max_tokens": MAX_TOKENS,
        "normaliser_version": NORMALISER_VERSION,
        "temperature": 1.5,
        "thresholds": {"not_disaster_below": 0.3, "disaster_from": 0.7},
        "dev": {"f1": 0.5},
        "files": {name: sha256_of(folder / name) for name in ("golden.jsonl", "model.pt", "tokenizer.json")},
    }
    (folder / "bundle.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle_dir(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: TinyClassifier) -> Path:
    """Read-only: copy it before changing it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", tiny_classifier)


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_dir: Path) -> Bundle:
    return load_bundle(tiny_bundle_dir)


@pytest.fixture(scope="session")
def tiny_archive(tiny_bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real handler and classifier around the tiny model: everything but its size is as in production; read-only."""
    archive = tmp_path_factory.mktemp("tiny-archive") / "tweets.mar"
    write_archive(tiny_bundle_dir, archive, "2026.01.01-tiny")
    return archive


@pytest.fixture(scope="session")
def tried_archive(tiny_archive: Path) -> Path:
    """The archive put under fire: `TRIED_ARCHIVE` (`make fuzz`, `make chaos`: the real one), else the tiny one."""
    return Path(os.environ.get("TRIED_ARCHIVE", tiny_archive))


@pytest.fixture(scope="session")
def tiny_int8_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle_dir: Path, tiny_classifier: TinyClassifier
) -> Bundle:
    """The tiny bundle with its int8 network, made once a session, since nncf needs seconds; read-only."""
    folder = Path(shutil.copytree(tiny_bundle_dir, tmp_path_factory.mktemp("int8") / "bundle"))
    samples = [list(sample.input_ids) for sample in load_bundle(folder).golden]
    quantize(tiny_classifier, samples, folder / "model_int8.xml")
    facts = json.loads((folder / "bundle.json").read_text())
    facts["files"] |= {name: sha256_of(folder / name) for name in ("model_int8.xml", "model_int8.bin")}
    (folder / "bundle.json").write_text(json.dumps(facts))
    return load_bundle(folder)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real tweets, which are never part of the project."""
    folder = Path(os.environ.get("DISASTER_TWEETS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "test.csv").is_file():
        pytest.skip(f"no real tweets in {folder}; set DISASTER_TWEETS_DATA to a folder with train.csv and test.csv")
    return folder


@pytest.fixture(scope="session")
def real_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, exported once a session: `bundle/`, `store/tweets.mar` with what lies beside it, `keys/`."""
    folder = tmp_path_factory.mktemp("real")
    options = ["--bundle", str(folder / "bundle"), "--archive", str(folder / "store" / "tweets.mar")]
    options += ["--keys", str(folder / "keys")]
    subprocess.run([sys.executable, "-m", "export", *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def real_archive(real_build: Path) -> Path:
    """Read-only."""
    return real_build / "store" / "tweets.mar"


@pytest.fixture(scope="session")
def real_bundle_dir(real_build: Path) -> Path:
    """Read-only."""
    return real_build / "bundle"


@pytest.fixture(scope="session")
def server(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    """Started by the user's bare command; do not stop or reconfigure it."""
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("server") / "root", ports)
    shutil.copyfile(real_archive, root / "model_store" / "tweets.mar")
    with TorchServeProcess.start(root, ports, Path("model_store")) as process:
        process.wait_ready(timeout_s=120)
        yield process
