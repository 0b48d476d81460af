"""The errors that stop data preparation or training with a message for the reader."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot start or go on; says what was found, what was expected and what to do."""


class LossError(TrainingError):
    """The loss of a training is not finite: its settings are bad, and those of another may be good."""


class DatasetError(TrainingError):
    """A raw or prepared table is not what it must be; names file, line and column."""
