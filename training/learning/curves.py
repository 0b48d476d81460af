"""Where the curves of a training go: TensorBoard, a CSV file, Weights & Biases, or nowhere."""

from __future__ import annotations

import importlib.util
import netrc
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from training.errors import TrainingError
from training.learning.experiment_file import MACHINE_BOUND

if TYPE_CHECKING:
    from training.learning.settings import Settings

WANDB = "wandb"
_WANDB_HOST = "https://api.wandb.ai"


def check_logger(settings: Settings) -> None:
    """Raise TrainingError, before any time is lost, when the curves cannot go where the settings say."""
    kind = settings.logger.kind
    package = {"tensorboard": "tensorboard", WANDB: "wandb"}.get(kind)
    if package and importlib.util.find_spec(package) is None:
        raise TrainingError(f"logger is {kind}, which is not installed; install it, or use logger=csv")
    if kind == WANDB and settings.logger.mode == "online" and not _wandb_key_is_set():
        raise TrainingError(
            "logger is wandb and no key for it was found; expected WANDB_API_KEY or what `wandb login` writes; set it, "
            "or use logger.mode=offline and `wandb sync` later"
        )


def make_logger(settings: Settings) -> Logger | bool:
    """Return Lightning's logger, or False for none; what it writes lies in the run's output folder."""
    output = Path(settings.output_dir)
    if settings.logger.kind == "csv":
        return CSVLogger(output, name="csv", version="")
    if settings.logger.kind == "tensorboard":
        return TensorBoardLogger(output, name="tensorboard", version="")
    return _wandb_logger(settings, output) if settings.logger.kind == WANDB else False


def close_logger(settings: Settings) -> None:
    """End the run at Weights & Biases: the next training of this process, in a search, must not go on with it."""
    if settings.logger.kind == WANDB:
        import wandb

        wandb.finish()


def _wandb_logger(settings: Settings, output: Path) -> Logger:
    # wandb takes a second to import, and only those who ask for it need it.
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(
        project=settings.logger.project,
        save_dir=output,
        offline=settings.logger.mode == "offline",
        log_model=False,  # what is served comes from model/ alone
        # The recipe and the curves leave the machine; its console, code, packages and load do not.
        settings=wandb.Settings(
            console="off", save_code=False, disable_git=True, x_disable_meta=True, x_disable_stats=True, silent=True
        ),
    )
    logger.log_hyperparams(_recipe(settings))
    return logger


def _recipe(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in asdict(settings).items() if key not in MACHINE_BOUND}


def _wandb_key_is_set() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _WANDB_HOST).hostname or ""
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
