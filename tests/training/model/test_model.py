"""The merged model is the trained one; adapters of another model are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT
from training.model.model import (
    ADAPTER_FILE,
    AdapterError,
    LoraSettings,
    TweetClassifier,
    adapter_tensors,
    add_lora,
    load_base,
    load_merged,
    low_rank_tensors,
    merge_adapter,
    save_adapter,
    stored,
    tune_fully,
)

LORA = LoraSettings(rank=4, alpha=8)


@pytest.fixture
def trained(tiny_base: Path) -> TweetClassifier:
    """A classifier whose low-rank matrices and head are far from where they start."""
    classifier = add_lora(TweetClassifier(load_base(tiny_base, 2, dropout=0.1), dropout=0.1), LORA)
    generator = torch.Generator().manual_seed(1)
    for parameter in classifier.parameters():
        if parameter.requires_grad:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return classifier.eval()


@pytest.fixture
def model_dir(trained: TweetClassifier, tmp_path: Path) -> Path:
    save_adapter(adapter_tensors(trained), tmp_path / "model")
    facts = {"num_hidden_layers": 2, "lora": {"scale": LORA.scale}}
    (tmp_path / "model" / "training.json").write_text(json.dumps(facts))
    return tmp_path / "model"


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(4, 60, (5, 12), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(12)[None] < torch.tensor([12, 1, 5, 9, 3])[:, None]).long()
    return ids * mask, mask


def test_load_merged_equals_the_unmerged_model(trained: TweetClassifier, model_dir: Path, tiny_base: Path) -> None:
    merged, facts = load_merged(model_dir, tiny_base)
    assert facts["num_hidden_layers"] == 2
    assert not merged.training
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    with torch.no_grad():
        expected = trained(*_batch())
        found = merged(*_batch())
        untrained = TweetClassifier(load_base(tiny_base, 2)).eval()(*_batch())
    assert found.shape == (5, 2)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 1e-5
    assert float((untrained - expected).abs().max()) > 0.1


def test_save_adapter_in_half_precision_moves_logits_little(
    trained: TweetClassifier, model_dir: Path, tiny_base: Path
) -> None:
    full = (model_dir / ADAPTER_FILE).stat().st_size
    save_adapter(stored(adapter_tensors(trained)), model_dir)
    assert (model_dir / ADAPTER_FILE).stat().st_size < 0.7 * full
    assert load_file(model_dir / ADAPTER_FILE)["head.weight"].dtype == torch.float32
    merged, _ = load_merged(model_dir, tiny_base)
    with torch.no_grad():
        assert float((merged(*_batch()) - trained(*_batch())).abs().max()) < 1e-2


def test_forward_never_reads_padding(trained: TweetClassifier) -> None:
    ids, mask = _batch()
    with torch.no_grad():
        expected = trained(ids, mask)
        alone = torch.cat(
            [trained(ids[row : row + 1, : mask[row].sum()], mask[row : row + 1, : mask[row].sum()]) for row in range(5)]
        )
        assert torch.allclose(trained(ids + 5 * (1 - mask), mask), expected, atol=1e-6)
    assert torch.allclose(alone, expected, atol=1e-5)


def test_add_lora_trains_all_linear_layers_and_the_head_only(trained: TweetClassifier) -> None:
    names = [name for name, parameter in trained.named_parameters() if parameter.requires_grad]
    assert len(names) == 2 * 6 * 2 + 2  # layers x linear layers x (A, B), head weight and bias
    assert all(".lora_" in name or name.startswith("head.") for name in names)
    assert not trained.encoder.embeddings.word_embeddings.weight.requires_grad


def test_adapter_tensors_without_lora_are_refused(tiny_base: Path) -> None:
    with pytest.raises(AdapterError, match="no LoRA layers"):
        adapter_tensors(TweetClassifier(load_base(tiny_base, 2)))


@pytest.fixture
def tuned(tiny_base: Path) -> TweetClassifier:
    """A classifier all of whose trained weights are far from where they start."""
    classifier = tune_fully(TweetClassifier(load_base(tiny_base, 2)))
    generator = torch.Generator().manual_seed(3)
    for parameter in classifier.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return classifier.eval()


def _merged(tuned: TweetClassifier, base: Path, rank: int) -> TweetClassifier:
    plain = TweetClassifier(load_base(base, 2)).eval()
    return merge_adapter(TweetClassifier(load_base(base, 2)).eval(), low_rank_tensors(tuned, plain, rank), 1.0)


def _weight_error(tuned: TweetClassifier, merged: TweetClassifier) -> float:
    pairs = zip(tuned.encoder.parameters(), merged.encoder.parameters(), strict=True)
    return sum(float((left - right).detach().square().sum()) for left, right in pairs)


def test_tune_fully_trains_every_layer_and_no_embedding(tuned: TweetClassifier) -> None:
    frozen = [name for name, parameter in tuned.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(name.startswith("encoder.embeddings.") for name in frozen)


def test_low_rank_tensors_of_full_rank_make_the_tuned_model(tuned: TweetClassifier, tiny_base: Path) -> None:
    whole = _merged(tuned, tiny_base, 32)  # 32 wide: nothing is cut off
    with torch.no_grad():
        assert float((whole(*_batch()) - tuned(*_batch())).abs().max()) < 1e-3
    errors = [_weight_error(tuned, _merged(tuned, tiny_base, rank)) for rank in (1, 4, 16)]
    assert errors[0] > errors[1] > errors[2] > 1000 * _weight_error(tuned, whole)


def test_low_rank_tensors_hold_biases_and_norms_whole(tuned: TweetClassifier, tiny_base: Path) -> None:
    tensors = low_rank_tensors(tuned, TweetClassifier(load_base(tiny_base, 2)), 4)
    assert tensors["encoder.encoder.layer.0.attention.self.query.lora_A"].shape == (4, 32)
    assert tensors["encoder.encoder.layer.1.output.dense.lora_B"].shape == (32, 4)
    deltas = [name for name in tensors if name.endswith(".delta")]
    assert len(deltas) == 2 * (6 + 4)  # layers x (biases of linear layers, weight and bias of two norms)
    assert {tensor.dtype for name, tensor in stored(tensors).items() if "head" not in name} == {torch.float16}


@pytest.mark.parametrize(("change", "message"), [("drop", "lacks"), ("extra", "1 tensors too many"), ("head", "head")])
def test_load_merged_of_an_adapter_of_another_model_is_refused(
    model_dir: Path, tiny_base: Path, change: str, message: str
) -> None:
    tensors = load_file(model_dir / ADAPTER_FILE)
    if change == "drop":
        del tensors["encoder.encoder.layer.1.output.dense.lora_B"]
    elif change == "extra":
        tensors["encoder.encoder.layer.2.output.dense.lora_B"] = torch.zeros(1)
    else:
        del tensors["head.bias"]
    save_file(tensors, model_dir / ADAPTER_FILE)
    with pytest.raises(AdapterError, match=message):
        load_merged(model_dir, tiny_base)


@pytest.mark.parametrize("name", [ADAPTER_FILE, "training.json"])
def test_load_merged_without_a_file_names_it(model_dir: Path, tiny_base: Path, name: str) -> None:
    (model_dir / name).unlink()
    with pytest.raises(AdapterError, match=f"{name} is missing"):
        load_merged(model_dir, tiny_base)


@pytest.mark.parametrize("layers", [0, 3])
def test_load_base_of_layers_that_are_not_there_is_refused(tiny_base: Path, layers: int) -> None:
    with pytest.raises(AdapterError, match=f"num_hidden_layers is {layers}; the base encoder has 2"):
        load_base(tiny_base, layers)


def test_load_base_of_fewer_layers_keeps_the_first(tiny_base: Path) -> None:
    one, two = load_base(tiny_base, 1), load_base(tiny_base, 2)
    assert len(one.encoder.layer) == 1
    first = "encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(one.state_dict()[first], two.state_dict()[first])


def test_model_import_brings_no_trainer() -> None:
    code = (
        "import sys, training.model.model, training.model.base_encoder;"
        "print([name for name in ('lightning', 'peft', 'pandas', 'sklearn', 'hydra') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
