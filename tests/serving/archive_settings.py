"""Other settings in an archive that is built already."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def copy_with_settings(archive: Path, target: Path, changes: Mapping[str, str]) -> None:
    """Copy an archive with other values in its model-config.yaml.

    Args:
        archive: the .mar to read.
        target: the .mar to write.
        changes: key -> value; each key must stand in the file.
    """
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "model-config.yaml":
                lines = content.decode("utf-8").splitlines()
                for key, value in changes.items():
                    (at,) = [index for index, line in enumerate(lines) if line.strip().startswith(f"{key}:")]
                    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
                    lines[at] = f"{indent}{key}: {value}"
                content = "\n".join(lines).encode()
            new.writestr(name, content)
