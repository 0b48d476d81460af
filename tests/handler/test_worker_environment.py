"""Which variables of the server's environment its workers inherit."""

from __future__ import annotations

import re

import pytest

from ops.settings.properties import read_properties
from tests.conftest import ROOT

# Java matches the whole name (TorchServe 0.12, util/messages/EnvironmentUtils.java); this pattern means the same in
# both languages.
PATTERN = next(
    entry.value
    for entry in read_properties((ROOT / "config.properties").read_text(encoding="utf-8"))
    if entry.key == "blacklist_env_vars"
)


@pytest.mark.parametrize(
    "name",
    [
        *("API_KEY", "APIKEY", "apikey", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "GITHUB_TOKEN", "TOKEN"),
        *("PGPASSWORD", "DBPASS", "MYSQL_PASSWORD", "SSH_PASSPHRASE", "GOOGLE_APPLICATION_CREDENTIALS", "HF_TOKENS"),
        *("TOKENIZERS_PARALLELISM_TOKEN", "MY_TOKENIZERS_PARALLELISM", "tokenizers_key"),
    ],
)
def test_variable_that_looks_like_a_secret_is_not_inherited(name: str) -> None:
    assert re.fullmatch(PATTERN, name)


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS", "PATH", "LC_ALL", "TMPDIR", "OV_CPU_MAX_ISA", "PYTHONPATH"]
)
def test_variable_that_a_worker_needs_is_inherited(name: str) -> None:
    assert not re.fullmatch(PATTERN, name)
