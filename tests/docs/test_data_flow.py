"""The picture of the README is what its command draws."""

from __future__ import annotations

from xml.etree import ElementTree

from docs.data_flow import BOXES, PICTURE, picture
from tests.conftest import ROOT


def test_the_committed_picture_is_what_the_command_draws() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture()


def test_the_picture_is_well_formed_and_its_folders_exist() -> None:
    assert ElementTree.fromstring(picture()).tag.endswith("svg")
    folders = [box.name for box in BOXES if box.name.endswith("/") and not box.name.startswith("build/")]
    assert folders
    assert all((ROOT / folder).is_dir() for folder in folders)
