"""Read the part of the Dockerfile language that this repository's Dockerfile uses."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = ("ARG", "ENV", "LABEL", "WORKDIR", "COPY", "RUN", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD")


class DockerfileError(ValueError):
    """The file says something that this program does not understand; the message names it."""


@dataclass(frozen=True)
class Instruction:
    """One line after the joining of continued ones."""

    name: str
    text: str


@dataclass
class Stage:
    """One `FROM` with what follows it.

    Args:
        name: after AS, or the number of the stage.
        base: an image, or the name of a stage before.
        instructions: in order.
    """

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> str | None:
        """Return the text of the last instruction of a name; it is the one that counts."""
        found = [one.text for one in self.instructions if one.name == name]
        return found[-1] if found else None

    def words(self, name: str) -> list[str]:
        """Return ENTRYPOINT, CMD or HEALTHCHECK's command, which this project writes as JSON lists."""
        text = self.last(name)
        if text is None:
            return []
        return [str(word) for word in json.loads(text[text.index("[") :])]


def read_dockerfile(file: Path) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Raises:
        DockerfileError: an instruction that is not in `KNOWN`, or one before the first FROM.
    """
    text = "\n".join(
        line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    )
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            words = rest.split()
            stages.append(Stage(words[2] if len(words) == 3 else str(len(stages)), words[0]))
        elif name in KNOWN and stages:
            # A secret is optional in this repository's Dockerfile, and the stand-in hands none over.
            text = re.sub(r"^(--mount=type=secret,\S+\s+)+", "", rest.strip()) if name == "RUN" else rest.strip()
            stages[-1].instructions.append(Instruction(name, text))
        else:
            raise DockerfileError(f"{file}: {name!r} is not understood here; expected FROM first, then one of {KNOWN}")
    return stages


def assignments(text: str) -> dict[str, str]:
    """Read `A=b C=d` of ENV or ARG; an ARG without a value has an empty one."""
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: value for name, _, value in pairs}


def copy_words(text: str) -> tuple[str | None, list[str], str]:
    """Read COPY: the stage of --from, the sources, the target."""
    words = shlex.split(text)
    origin = None
    while words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        if name != "--from":
            raise DockerfileError(f"COPY {name} is not understood here; expected --from")
        origin = value
    return origin, words[:-1], words[-1]
