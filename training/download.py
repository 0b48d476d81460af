"""Fetch the raw files from their publishers: Kaggle with the user's own token, CrisisLex at a pinned commit."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

from training.errors import DatasetError

KAGGLE_COMPETITION = "nlp-getting-started"
KAGGLE_FILES = ("train.csv", "test.csv")
CRISISLEX_COMMIT = "d67cddd"
_CRISISLEX_URL = f"https://raw.githubusercontent.com/sajao/CrisisLex/{CRISISLEX_COMMIT}/data"
# event as this project names it -> path in the repository; other events of T6 are kept for checking.
T6_FILES = {
    f"{event}.csv": f"CrisisLexT6/{event}/{event}-ontopic_offtopic.csv"
    for event in ("2012_Sandy_Hurricane", "2013_Alberta_Floods", "2013_Boston_Bombings", "2013_Oklahoma_Tornado")
}
TIMEOUT_S = 60


def download(folder: Path) -> None:
    """Fetch Kaggle's files and the four T6 events of the default recipe into `folder`; keep what is there.

    Raises:
        DatasetError: kagglehub or a token is missing, or a publisher does not answer; files that came whole
            stay, so that the next call goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _download_kaggle(folder)
    target = folder / "crisislex" / "t6"
    target.mkdir(parents=True, exist_ok=True)
    for name, path in tqdm(T6_FILES.items(), desc="CrisisLexT6", unit="file", disable=None):
        _fetch(f"{_CRISISLEX_URL}/{urllib.parse.quote(path)}", target / name)


def _download_kaggle(folder: Path) -> None:
    missing = [name for name in KAGGLE_FILES if not (folder / name).is_file()]
    if not missing:
        return
    try:
        import kagglehub
    except ImportError as error:
        raise DatasetError(
            f"{missing} must come from Kaggle and kagglehub is not installed; run `pip install kagglehub`, or fetch "
            f"the files of the competition {KAGGLE_COMPETITION} by hand and use --from FOLDER"
        ) from error
    for name in missing:
        try:
            path = kagglehub.competition_download(KAGGLE_COMPETITION, path=name)
        except Exception as error:  # kagglehub raises types of its own for a token, rules and the network alike
            raise DatasetError(
                f"Kaggle does not hand out {name} ({type(error).__name__}: {error}); expected a token in "
                f"~/.kaggle/kaggle.json and the rules of {KAGGLE_COMPETITION} accepted on its page"
            ) from error
        shutil.copyfile(path, folder / name)


def _fetch(url: str, path: Path) -> None:
    if path.is_file():
        return
    # A file appears under its name only when it is whole.
    partial = path.with_suffix(".partial")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, partial.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        partial.unlink(missing_ok=True)
        raise DatasetError(
            f"{url} cannot be fetched ({error}); expected CrisisLex at commit {CRISISLEX_COMMIT}; check the network "
            "and call again, or use --from FOLDER"
        ) from error
    partial.replace(path)
