"""Fetch the raw files from their publishers: Kaggle with the user's own token, CrisisLex at a pinned commit."""

from __future__ import annotations

import shutil
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from training.data.resumable_fetch import READ_ONLY, fetch
from training.data.whole_files import written_whole
from training.errors import DatasetError

KAGGLE_COMPETITION = "nlp-getting-started"
KAGGLE_FILES = ("train.csv", "test.csv")
# Of 25 January 2024.
CRISISLEX_COMMIT = "d67cddd51131dbb28842209014f67cffe359ff42"
_CRISISLEX_URL = f"https://raw.githubusercontent.com/sajao/CrisisLex/{CRISISLEX_COMMIT}/data"
T6_EVENTS = ("2012_Sandy_Hurricane", "2013_Alberta_Floods", "2013_Boston_Bombings", "2013_Oklahoma_Tornado")
T26_EVENTS = (
    "2012_Costa_Rica_earthquake",
    "2012_Guatemala_earthquake",
    "2012_Italy_earthquakes",
    "2012_Philipinnes_floods",
    "2012_Typhoon_Pablo",
    "2012_Venezuela_refinery",
    "2013_Alberta_floods",
    "2013_Australia_bushfire",
    "2013_Bohol_earthquake",
    "2013_Boston_bombings",
    "2013_Brazil_nightclub_fire",
    "2013_Colorado_floods",
    "2013_NY_train_crash",
    "2013_Russia_meteor",
    "2013_Sardinia_floods",
    "2013_Savar_building_collapse",
    "2013_Singapore_haze",
    "2013_Spain_train_crash",
    "2013_Typhoon_Yolanda",
)
# The publisher's other events stay unread, so that a model can be checked on events that nobody here has seen. They
# lie beside the others: T6 Queensland floods, West Texas explosion; T26 Colorado wildfires, Glasgow helicopter crash,
# LA airport shootings, Lac-Megantic train crash, Manila floods, Queensland floods, West Texas explosion.

# Name in the raw folder -> path in the repository.
CRISISLEX_FILES: Mapping[str, str] = {
    **{f"crisislex/t6/{event}.csv": f"CrisisLexT6/{event}/{event}-ontopic_offtopic.csv" for event in T6_EVENTS},
    **{f"crisislex/t26/{event}.csv": f"CrisisLexT26/{event}/{event}-tweets_labeled.csv" for event in T26_EVENTS},
}


def download(folder: Path, hashes: Mapping[str, str] | None = None) -> None:
    """Fetch Kaggle's files and the CrisisLex events of the default recipe into `folder`, read-only; keep what is there.

    Kaggle's train.csv is not held against its hash here, since copies of it with other line ends go round: the data
    step compares the content of its rows (`training.data.data_lock.check_against`).

    Args:
        folder: is made when missing.
        hashes: name in the raw folder -> sha256 that the file must have, of a lock.

    Raises:
        DatasetError: there is no token, a publisher does not answer, or a file is another than the lock says; files
            that came whole stay, and so does the beginning of one that was interrupted: the next call goes on there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _download_kaggle(folder)
    for name, path in tqdm(CRISISLEX_FILES.items(), desc="CrisisLex", unit="file", disable=None):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(f"{_CRISISLEX_URL}/{urllib.parse.quote(path)}", target, (hashes or {}).get(name, ""))


def _download_kaggle(folder: Path) -> None:
    missing = [name for name in KAGGLE_FILES if not (folder / name).is_file()]
    if not missing:
        return
    try:
        import kagglehub  # takes seconds, so only where it is needed
    except ImportError as error:
        raise DatasetError(
            f"{missing} must come from Kaggle and kagglehub is not installed; install requirements/train.txt, or fetch "
            f"the files of the competition {KAGGLE_COMPETITION} by hand and use --from FOLDER"
        ) from error
    for name in missing:
        try:
            path = kagglehub.competition_download(KAGGLE_COMPETITION, path=name)
        except Exception as error:  # kagglehub raises types of its own for a token, rules and the network alike
            raise DatasetError(
                f"Kaggle does not hand out {name} ({type(error).__name__}: {error}); expected a token in "
                f"~/.kaggle/kaggle.json or KAGGLE_API_TOKEN, and the rules of {KAGGLE_COMPETITION} accepted on its page"
            ) from error
        with written_whole(folder / name) as partial:
            shutil.copyfile(path, partial)
            partial.chmod(READ_ONLY)
