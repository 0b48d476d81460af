"""A tiny base encoder and a small own-written data set, so that whole trainings take seconds."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from tests.built_once import built_once
from tests.conftest import ROOT
from tests.tiny_model import tiny_tokenizer
from tests.training.file_server import FileServer
from training.data.datamodule import read_table
from training.learning.settings import Settings, read_settings
from training.make_dataset import make_dataset

HERE = Path(__file__).parent
# Lightning 2.6 with torch 2.13, and torchmetrics' import of pkg_resources' successor: not ours to mend.
UPSTREAM_WARNINGS = ("ignore:.*LeafSpec.*is deprecated", "ignore:.*does not have many workers")

PLACES = ("Marlow", "Ellerton", "San Isidro", "Almera", "Harbor Point", "Redding Hill", "Mount Hale", "Carver", "Tolm")
DISASTERS = ("flood in", "fire in", "quake in", "storm hits", "bridge collapses in", "explosion near", "landslide at")
PLAIN = ("sunny walk in", "new cafe in", "concert near", "my cat visits", "homework in", "yoga at", "football in")


@pytest.hookimpl
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for line in UPSTREAM_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(line))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder like the base encoder's: two layers, 32 wide, random but fixed."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    config.to_json_file(str(folder / "config.json"), use_diff=False)
    torch.manual_seed(0)
    save_file(BertModel(config, add_pooling_layer=False).state_dict(), folder / "model.safetensors")
    return folder


def kaggle_rows() -> list[dict[str, Any]]:
    """Return 126 rows, half of them disasters; `place` makes near-duplicates rare."""
    rows = []
    for phrases, target in ((DISASTERS, 1), (PLAIN, 0)):
        for number, place in enumerate(PLACES):
            for phrase in phrases:
                text = f"{phrase} {place} " + " ".join(f"{word}{number * 7 % 10}" for word in (phrase[:3], place[:4]))
                rows.append({"id": len(rows) + 1, "keyword": "", "location": "", "text": text, "target": target})
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_t6(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Write rows of (id, text, label) in the form of the published files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    quoted = [f"'{identity}',\"{text.replace(chr(34), chr(34) * 2)}\",{label}" for identity, text, label in rows]
    path.write_text("\n".join(["tweet id, tweet, label", *quoted]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    """Raw files of all three collections."""
    folder = tmp_path / "raw"
    rows = kaggle_rows()
    write_csv(folder / "train.csv", rows)
    write_csv(folder / "train_agreement.csv", [{"id": row["id"], "agreement": 0.9} for row in rows])
    write_t6(
        folder / "crisislex" / "t6" / "2013_Test_Floods.csv",
        [
            (str(1000 + index), f'{word} number {index} "by the {place}" today', label)
            for index, (word, label, place) in enumerate(
                (word, label, place)
                for word, label in (("river rises over street", "on-topic"), ("nothing but pancakes", "off-topic"))
                for place in PLACES
            )
        ],
    )
    write_csv(
        folder / "crisislex" / "t26" / "2013_Test_quake.csv",
        [
            {
                "Tweet ID": 5000 + index,
                " Tweet Text": f"walls of {place} fell {index}",
                " Information Source": "Media",
                " Information Type": "Other",
                " Informativeness": label,
            }
            for index, (place, label) in enumerate(
                zip(
                    PLACES[:4],
                    ("Related and informative", "Not related", "Not applicable", "Related - but not informative"),
                    strict=True,
                )
            )
        ],
    )
    return folder


@pytest.fixture
def data_dir(raw_dir: Path, tmp_path: Path) -> Path:
    """Prepared table of `raw_dir`."""
    make_dataset(raw_dir, tmp_path / "processed")
    return tmp_path / "processed"


@pytest.fixture
def file_server(tmp_path: Path) -> Iterator[FileServer]:
    """Serves an empty folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = FileServer(folder)
    yield server
    server.close()


@pytest.fixture(scope="session")
def real_table_dir(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared table of the real tweets, made once a run; read-only."""
    return built_once(tmp_path_factory, "real-table", lambda folder: make_dataset(real_data, folder))


@pytest.fixture(scope="session")
def real_table(real_table_dir: Path) -> pd.DataFrame:
    """Read-only."""
    return read_table(real_table_dir)


def compose_settings(*overrides: str) -> Settings:
    with initialize_config_dir(str(ROOT / "training" / "configs"), version_base="1.3"):
        config = compose("config", overrides=[*overrides])
    content = OmegaConf.to_container(config, resolve=True)
    return read_settings(content)


@pytest.fixture
def tiny_settings(data_dir: Path, tmp_path: Path) -> Callable[..., Settings]:
    """Return a function: Hydra overrides -> settings of a training that takes about two seconds."""

    def settings(*overrides: str) -> Settings:
        return compose_settings(
            f"data_dir={data_dir}",
            f"output_dir={tmp_path / 'run'}",
            f"model_dir={tmp_path / 'model'}",
            "logger=none",
            "data=kaggle",
            "data.batch_size=8",
            "data.max_tokens=64",
            "model.num_hidden_layers=2",
            "model.learning.learning_rate=0.01",
            "model.learning.head_learning_rate=0.01",
            "callbacks.ema_decay=0.5",
            *overrides,
        )

    return settings
