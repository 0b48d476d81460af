"""The stages of a Dockerfile, as dockerfile-parse reads its instructions."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str


@dataclass
class Stage:
    """One `FROM name AS base` with what follows it."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> str:
        """Return the text of the last instruction of a name, which is the one that counts; "" where there is none."""
        return next((one.text for one in reversed(self.instructions) if one.name == name), "")

    def words(self, name: str) -> list[str]:
        """Return ENTRYPOINT, CMD or HEALTHCHECK's command, which this project writes as JSON lists."""
        text = self.last(name)
        return [str(word) for word in json.loads(text[text.index("[") :])]


def read_dockerfile(file: Path) -> list[Stage]:
    with file.open("rb") as content:
        lines = DockerfileParser(fileobj=content).structure
    stages: list[Stage] = []
    for line in (line for line in lines if line["instruction"] != "COMMENT"):
        if line["instruction"] == "FROM":
            words = line["value"].split()
            stages.append(Stage(words[-1], words[0]))
        else:
            stages[-1].instructions.append(Instruction(line["instruction"], line["value"]))
    return stages


def assignments(text: str) -> dict[str, str]:
    """Read `A=b C=d` of ENV or LABEL."""
    return dict(word.split("=", 1) for word in shlex.split(text))


def copy_words(text: str) -> tuple[str | None, list[str], str]:
    """Read COPY: the stage of --from, the sources, the target."""
    words = shlex.split(text)
    origin = words.pop(0).partition("=")[2] if words[0].startswith("--from=") else None
    return origin, words[:-1], words[-1]
