"""Draw the way of a tweet through the repository: `python -m docs.data_flow` writes docs/data_flow.svg.

The boxes have a fill of their own and the arrows a grey that is seen on white and on black, so that one picture serves
both themes of a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

PICTURE = Path(__file__).with_suffix(".svg")
WIDTH, HEIGHT = 900, 330
BOX_WIDTH, BOX_HEIGHT = 160, 56
COLUMNS = (20, 253, 487, 720)  # left edges
ROWS = (34, 146, 258)  # upper edges
FILLS = {"data": "#ffe2a8", "code": "#bcd9ff", "file": "#c9ecc8"}
INK, GREY = "#1b1f24", "#7d8590"


@dataclass(frozen=True)
class Box:
    """One station of the way.

    Args:
        name: first line, what it is called in the repository.
        does: second line.
        kind: key of FILLS.
        column: index in COLUMNS.
        row: index in ROWS.
    """

    name: str
    does: str
    kind: str
    column: int
    row: int

    @property
    def left(self) -> int:
        """Left edge, pixels."""
        return COLUMNS[self.column]

    @property
    def middle(self) -> int:
        """Middle of the height, pixels."""
        return ROWS[self.row] + BOX_HEIGHT // 2


TITLES = ("train, once", "build", "answer")
BOXES = (
    Box("raw tweets", "not in the repository", "data", 0, 0),
    Box("training/", "splits, teachers, student", "code", 1, 0),
    Box("model/", "adapter, thresholds", "file", 2, 0),
    Box("export/", "merge, trace, int8", "code", 0, 1),
    Box("build/bundle/", "networks, tokenizer", "file", 1, 1),
    Box("tweets.mar", "signed archive", "file", 2, 1),
    Box("ops/", "verify, start, replace", "code", 3, 1),
    Box("client/, curl", "tweets as any body", "data", 0, 2),
    Box("gateway", "nginx: TLS, keys, limits", "code", 1, 2),
    Box("TorchServe", "queue, batches", "code", 2, 2),
    Box("handler/", "tweetclf: score, decision", "code", 3, 2),
)


def box(station: Box) -> str:
    """Return a box with its two lines."""
    x, y, centre = station.left, ROWS[station.row], station.left + BOX_WIDTH // 2
    return (
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" fill="{FILLS[station.kind]}"/>'
        f'<text x="{centre}" y="{y + 24}" font-weight="bold" fill="{INK}">{escape(station.name)}</text>'
        f'<text x="{centre}" y="{y + 43}" font-size="12" fill="{INK}">{escape(station.does)}</text>'
    )


def arrow(points: list[tuple[int, int]], both_ways: bool = False) -> str:
    """Return a line through points with a head at its end, and at its start too where answers come back."""
    path = " ".join(f"{x},{y}" for x, y in points)
    start = ' marker-start="url(#head)"' if both_ways else ""
    return f'<polyline points="{path}" fill="none" stroke="{GREY}" stroke-width="2" marker-end="url(#head)"{start}/>'


def to_the_next_row(start: Box, end: Box) -> str:
    """Return an arrow from below one box to above another, through the middle of the gap."""
    x, over = start.left + BOX_WIDTH // 2, end.left + BOX_WIDTH // 2
    upper, lower = ROWS[start.row] + BOX_HEIGHT, ROWS[end.row]
    return arrow([(x, upper), (x, upper + 14), (over, upper + 14), (over, lower - 4)])


def picture() -> str:
    """Return the picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="15" text-anchor="middle">',
        "<title>From raw tweets to an answer</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/></marker></defs>',
    ]
    for title, top in zip(TITLES, ROWS, strict=True):
        parts.append(f'<text x="{COLUMNS[0]}" y="{top - 8}" text-anchor="start" fill="{GREY}">{title}</text>')
    for left, right in pairwise(BOXES):
        if left.row == right.row:
            ends = [(left.left + BOX_WIDTH + 4, left.middle), (right.left - 4, right.middle)]
            parts.append(arrow(ends, both_ways=left.row == 2))
    by_name = {station.name: station for station in BOXES}
    parts.append(to_the_next_row(by_name["model/"], by_name["export/"]))
    parts.append(to_the_next_row(by_name["ops/"], by_name["TorchServe"]))
    parts += [box(station) for station in BOXES]
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
