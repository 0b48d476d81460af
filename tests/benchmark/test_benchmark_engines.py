"""Tweets, limits and engines of the benchmark, on the tiny classifier."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from benchmark import run as benchmark
from benchmark.engines.limits import Shape, measure_limit, supported_precisions
from benchmark.engines.tweets import keep_distinct, read_tweets
from tests.conftest import ROOT
from tests.tiny_model import TinyClassifier, tiny_tokenizer

PROGRAM = "benchmark.engines.engine_process"


def test_the_arithmetic_of_a_tweet_is_what_torch_counts_in_the_encoder() -> None:
    encoder = TinyClassifier(99).encoder
    encoder.set_attn_implementation("eager")  # torch does not count inside its fused attention on a CPU
    ids = torch.ones(1, 11, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert Shape(layers=2, hidden=32, intermediate=64).flop(11) == counter.get_total_flops()


@pytest.mark.parametrize("precision", supported_precisions())
def test_a_limit_is_measured_for_each_precision_of_this_cpu(precision: str) -> None:
    assert measure_limit(precision, Shape(layers=1, hidden=64, intermediate=128)) > 0


def test_texts_that_differ_in_links_names_numbers_and_case_only_are_one() -> None:
    texts = ["Flood in Marlow http://a.b/1", "flood in marlow!", "@me Flood in Marlow 2", "Fire in Marlow", "http://a"]
    assert keep_distinct(texts) == ("Flood in Marlow http://a.b/1", "Fire in Marlow")


def test_own_tweets_are_taken_and_made_distinct_when_there_are_no_real_ones() -> None:
    tweets = read_tweets(None)
    assert "own-written" in tweets.source
    assert len(set(tweets.distinct)) == len(tweets.distinct) > 4_000
    assert tweets.stream == ()


def test_real_tweets_are_read_in_the_order_of_their_files_with_the_crisis_stream(tmp_path: Path) -> None:
    (tmp_path / "crisislex" / "t6").mkdir(parents=True)
    (tmp_path / "test.csv").write_text('id,text\n1,"Flood, in Marlow"\n2,flood in marlow\n')
    (tmp_path / "train.csv").write_text("id,text\n3,Fire\n")
    (tmp_path / "crisislex" / "t6" / "a.csv").write_text("tweet id, tweet, label\n'1',\"RT flood, a\",x\n'2',RT b,x\n")
    tweets = read_tweets(tmp_path)
    assert tweets.distinct == ("Flood, in Marlow", "Fire")
    assert tweets.stream == ("RT flood, a", "RT b")
    assert "real" in tweets.source


def test_engines_are_measured_with_the_archives_own_code_and_compared_with_their_limit(
    tmp_path: Path, tiny_bundle_dir: Path, tiny_classifier: TinyClassifier
) -> None:
    archive, merged = tmp_path / "archive", tmp_path / "merged"
    shutil.copytree(tiny_bundle_dir, archive / "bundle")
    shutil.copytree(ROOT / "tweetclf", archive / "tweetclf")
    # Its own random weights, since the baseline pads to more positions than the tiny classifier has.
    config = {**tiny_classifier.encoder.config.to_dict(), "max_position_embeddings": 160}
    BertModel(BertConfig.from_dict(config), add_pooling_layer=False).save_pretrained(merged)
    save_file(
        {name: value.detach() for name, value in tiny_classifier.head.named_parameters()}, merged / "head.safetensors"
    )
    tiny_tokenizer().save(str(merged / "tokenizer.json"))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": 128}
    (merged / "tokenizer_config.json").write_text(json.dumps(facts))
    (tmp_path / "tweets.json").write_text(json.dumps([f"flood in the river {letter}" for letter in "abcdefgh"]))
    settings = {
        "archive": str(archive),
        "merged": str(merged),
        "tweets_file": str(tmp_path / "tweets.json"),
        "handler": {},
        "rounds": 2,
        "seconds": 0.01,
        "singles": 3,
    }
    result = subprocess.run(
        [sys.executable, "-m", PROGRAM],
        input=json.dumps(settings),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    rows = {row["engine"]: row for row in found["engines"]}
    assert "torchscript" in rows
    assert set(found["limits"]) == set(supported_precisions())
    share = rows["torchscript"]["share_of_limit"]
    assert 0 < share["low"] <= share["median"] <= share["high"] < 1.5
    assert len(share["values"]) == 2
    assert found["shape"] == {"layers": 2, "hidden": 32, "intermediate": 64}


def test_the_benchmark_says_what_to_do_when_there_is_no_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["--quick"], root=tmp_path) == 1
    assert "make archive" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model_store").mkdir()
    (tmp_path / "model_store" / "tweets.mar").write_bytes(b"")
    assert benchmark.main(["--device", "cuda"], root=tmp_path) == 1
    assert "finds no GPU here" in capsys.readouterr().err
