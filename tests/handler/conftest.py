"""A stand-in for TorchServe's context, as thin as the handler's use of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from handler.tweets_handler import TweetsHandler


class FakeContext:
    """Keeps what the handler sets, per request index. Source: TorchServe 0.12 ts/context.py."""

    def __init__(self, model_dir: Path, config: dict[str, Any] | None = None, gpu_id: int | None = None) -> None:
        self.system_properties = {"model_dir": str(model_dir), "gpu_id": gpu_id}
        self.model_yaml_config = config
        self.model_name = "tweets"
        self.metrics: Any = None
        self.request_headers: dict[int, dict[str, Any]] = {}
        self.statuses: dict[int, int] = {}
        self.response_headers: dict[int, dict[str, str]] = {}

    def get_all_request_header(self, index: int) -> dict[str, Any]:
        return self.request_headers.get(index, {})

    def get_request_id(self, index: int) -> str:
        return f"request-{index}"

    def set_response_content_type(self, index: int, value: str) -> None:
        self.set_response_header(index, "content-type", value)

    def set_response_header(self, index: int, key: str, value: str) -> None:
        self.response_headers.setdefault(index, {})[key] = value

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        self.statuses[index] = code


@pytest.fixture
def model_dir(tiny_bundle_dir: Path, tmp_path: Path) -> Path:
    """An unpacked archive without its MAR-INF: the check of the code's place is a test of its own."""
    shutil.copytree(tiny_bundle_dir, tmp_path / "bundle")
    return tmp_path


@pytest.fixture(scope="session")
def handler(tiny_bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TweetsHandler:
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(tiny_bundle_dir, folder / "bundle")
    handler = TweetsHandler()
    handler.initialize(FakeContext(folder, {"handler": {"torch_threads": 1}}))
    return handler


@pytest.fixture
def context(tmp_path: Path) -> FakeContext:
    return FakeContext(tmp_path)
