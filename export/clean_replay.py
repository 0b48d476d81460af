"""Run inside an unpacked archive, in a process that sees nothing else of the project.

Called by verify.py as `python -I clean_replay.py FOLDER`; prints one JSON object. It does what TorchServe
does: the folder on the path, the handler imported by its bare name, initialize, handle.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class ReplayContext:
    """As much of TorchServe's context as the handler uses."""

    def __init__(self, folder: Path, model_yaml_config: dict[str, Any]) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.model_yaml_config = model_yaml_config
        self.model_name = "tweets"
        self.statuses: dict[int, int] = {}

    def get_all_request_header(self, index: int) -> dict[str, str]:
        """Return no headers, as for gRPC."""
        return {}

    def get_request_id(self, index: int) -> str:
        """Return a name for the request."""
        return f"replay-{index}"

    def set_response_content_type(self, index: int, value: str) -> None:
        """Ignore the header."""

    def set_response_header(self, index: int, key: str, value: str) -> None:
        """Ignore the header."""

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        """Keep the status."""
        self.statuses[index] = code


def replay(folder: Path) -> dict[str, Any]:
    """Load the handler of an unpacked archive and let it answer the golden texts."""
    sys.path.insert(0, str(folder))
    import yaml
    from tweets_handler import TweetsHandler

    handler = TweetsHandler()
    config = yaml.safe_load((folder / "model-config.yaml").read_text(encoding="utf-8"))
    context = ReplayContext(folder, config)
    handler.initialize(context)
    lines = (folder / "bundle" / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    bodies = handler.handle([{"data": json.dumps({"text": text}).encode()} for text in texts], context)
    return {
        "texts": texts,
        "answers": [json.loads(body) for body in bodies],
        "statuses": context.statuses,
        "facts": SimpleNamespace(**json.loads(handler.describe_handle())).golden,
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    }


if __name__ == "__main__":
    print(json.dumps(replay(Path(sys.argv[1]).resolve())))
