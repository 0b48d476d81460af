"""Curves go where the settings say, or the run is refused before any time is lost."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.learning.curves import check_logger
from training.learning.settings import Settings
from training.train import train

MakeSettings = Callable[..., Settings]


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have a key; no test may use it."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_check_logger_without_its_package_is_refused(
    tiny_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == kind else find(name, *rest))
    with pytest.raises(TrainingError, match=f"logger is {kind}, which is not installed"):
        check_logger(tiny_settings(f"logger={kind}"))


def test_check_logger_of_wandb_online_without_a_key_is_refused(tiny_settings: MakeSettings, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no key for it was found.*use logger\.mode=offline"):
        check_logger(tiny_settings("logger=wandb"))
    (tmp_path / "netrc").write_text("machine another.example login user password secret\n")
    with pytest.raises(TrainingError, match="no key for it was found"):
        check_logger(tiny_settings("logger=wandb"))


@pytest.mark.parametrize("where", ["environment", "netrc", "own server"])
def test_check_logger_of_wandb_online_with_a_key_is_content(
    tiny_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "x")
    elif where == "netrc":
        (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    else:
        monkeypatch.setenv("WANDB_BASE_URL", "https://curves.example")
        (tmp_path / "netrc").write_text("machine curves.example login user password x\n")
    check_logger(tiny_settings("logger=wandb"))


def test_logger_wandb_takes_its_mode_from_the_variable_of_wandb(
    tiny_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_settings("logger=wandb").logger.mode == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tiny_settings("logger=wandb").logger.mode == "offline"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wandb 0.31 on its own dependencies
def test_train_with_wandb_offline_writes_a_run_without_a_tweet_and_ends_it(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")  # Lightning sets it too; this takes it back afterwards
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb_home"))
    train(tiny_settings("logger=wandb", "trainer.max_epochs=1", "model_dir="), tiny_base)
    assert wandb.run is None
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    content = run.read_bytes()
    assert b"train/loss" in content
    assert b"dev/f1" in content
    assert b"label_smoothing" in content
    assert str(tmp_path).encode() + b"/processed" not in content
    assert b"Ellerton" not in content
