"""Write the data card of a prepared table: `python -m training.reports.data_card`.

Text by hand in data_card_template.md, every number from the report beside the card; no tweet in either.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.model.base_encoder import TOKENIZER_FILE, resolve_base_encoder
from training.data.data_lock import LOCK_FILE, read_lock
from training.reports.data_plots import plot_data
from training.reports.data_report import data_report
from training.reports.data_tables import TABLES
from training.data.datamodule import read_table
from training.data.download import CRISISLEX_COMMIT
from training.data.encoding import TweetEncoder
from training.errors import DatasetError, TrainingError
from training.make_dataset import REPORT_FILE
from training.reports.model_card import fill_template
from training.data.whole_files import written_whole

TEMPLATE_FILE = "data_card_template.md"
CHUNK_TWEETS = 1024
_NO_LIMIT = 1 << 20  # tokens: lengths are reported before anything is cut

EXAMPLE = """example:
  python -m training.make_dataset --from ~/disaster-data && python -m training.reports.data_card
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write report, plots and card; return the exit status (0 done, 1 refused)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.reports.data_card",
        description="Count what the prepared table holds; write the counts, plots and the data card, without a tweet.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=Path("data/processed"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/data"), help="report and plots (default: %(default)s)")
    parser.add_argument("--card", type=Path, default=Path("docs/data_card.md"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        write_card(options.data, resolve_base_encoder() / TOKENIZER_FILE, options.out, options.card)
    except TrainingError as error:
        print(f"no data card: {error}", file=sys.stderr)
        return 1
    print(options.card)
    return 0


def write_card(data_dir: Path, tokenizer: Path, out: Path, card: Path) -> dict[str, Any]:
    """Write report.json and the plots into `out`, and the card; return the report.

    Args:
        data_dir: what the data step wrote.
        tokenizer: of the base encoder, for lengths.
        out: is made when missing.
        card: is replaced.

    Raises:
        DatasetError: the prepared table is missing, damaged or not of this version, or the disk is full.
    """
    table = read_table(data_dir)
    try:
        prepared = json.loads((data_dir / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{data_dir / REPORT_FILE} is missing or no JSON; expected the data step's report; run "
            "`python -m training.make_dataset` again"
        ) from error
    encoder = TweetEncoder(tokenizer, _NO_LIMIT)
    texts = table["normalised"].tolist()
    tokens: list[int] = []
    for start in tqdm(range(0, len(texts), CHUNK_TWEETS), desc="count tokens", unit="chunk", disable=None):
        tokens += map(len, encoder.encode(texts[start : start + CHUNK_TWEETS]))
    report = data_report(table, prepared, read_lock(data_dir / LOCK_FILE), tokens)
    with written_whole(out / REPORT_FILE) as path:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plots = plot_data(out, report)
    text = card_text(report, plots, Path(os.path.relpath(out, card.parent)))
    with written_whole(card) as path:
        path.write_text(text, encoding="utf-8")
    return report


def card_text(report: Mapping[str, Any], plots: Sequence[str], folder: Path) -> str:
    """Return the card as Markdown.

    Args:
        report: of `data_report`.
        plots: file names.
        folder: where report and plots lie, as seen from the card.
    """
    facts = {"data": report, "source": {"crisislex_commit": CRISISLEX_COMMIT, "folder": folder.as_posix()}}
    tables: dict[str, Callable[[], str]] = {name: partial(table, report) for name, table in TABLES.items()}
    tables["plots"] = lambda: "\n".join(f"![{Path(name).stem}]({(folder / name).as_posix()})" for name in plots)
    template = (files("training.reports") / TEMPLATE_FILE).read_text(encoding="utf-8")
    return fill_template(template, facts, tables)


if __name__ == "__main__":
    sys.exit(main())
