"""Sentences of the model card that depend on how the model was trained, and on what was measured beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.evaluation.evaluation_rows import KAGGLE_RANDOM
from training.experiments.seeds import seeds_text
from training.data.splits import TRAIN

Training = Mapping[str, Any]
Evaluation = Mapping[str, Any]


def trained_part(training: Training) -> str:
    """Return what the adapter holds."""
    rank = training["lora"]["rank"]
    head = "and one linear head on the mean of the token vectors"
    if training.get("tuning") == "full":
        return f"every linear layer, tuned whole, its change kept as an update of rank {rank} in half precision; {head}"
    return f"LoRA of rank {rank} on every linear layer, {head}"


def cost(training: Training) -> str:
    """Return time and energy of the training."""
    trainer = training["recipe"]["trainer"]
    seconds = training["train_seconds"] + training.get("teacher_seconds", 0)
    text = f"{seconds / 60:.0f} minutes"
    if training.get("teacher_seconds"):
        text += f" ({training['teacher_seconds'] / 60:.0f} of them for the teachers)"
    elif training["recipe"]["data"].get("teacher_weight", 0):
        text += " (its teachers' scores were kept from an earlier training and are not counted)"
    text += f"; accelerator {trainer['accelerator']}, {trainer['threads']} thread(s), {trainer['precision']}"
    spent = training.get("cost")
    if spent is None:
        return text + "; energy was not measured"
    text += f"; {spent['cpu_seconds']:,.0f} CPU-seconds in all"
    if spent["package_joules"] is None:
        return f"{text}; energy {spent['energy_note']}"
    return f"{text}; {spent['package_joules'] / 3.6e6:.3f} kWh ({spent['energy_note']})"


def crowd(training: Training) -> str:
    """Declare the use of the crowd's agreement."""
    weight = training["recipe"]["data"].get("agreement_weight", 0)
    if not weight:
        return "The crowd's agreement (train_agreement.csv) was not used."
    return (
        "**The crowd's agreement was used** (train_agreement.csv: the share of the original crowd behind each label of "
        f"the train file, as Figure Eight published it): {training['softened_share']:.0%} of the training rows learn "
        f"it, with weight {weight:g} against the bare label."
    )


def teachers(training: Training) -> str:
    """Declare the teachers, if any."""
    weight = training["recipe"]["data"].get("teacher_weight", 0)
    if not weight:
        return "No teacher was used."
    teacher = training["recipe"]["teacher"]
    return (
        f"**Distilled**: the targets of Kaggle's training rows are mixed, with weight {weight:g}, with the scores of "
        f"{teacher['folds'] * teacher['seeds']} teachers of {teacher['num_hidden_layers']} layers of the same base, "
        "tuned on the same rows, none of which had read the row that it scores."
    )


def other_collections(training: Training) -> str:
    """Declare what joined Kaggle's rows."""
    data = training["recipe"]["data"]
    parts = [
        f"{data[f'{name}_per_event']:,} tweets of each of {', '.join(data[f'{name}_events'])} ({title})"
        for name, title in (("t6", "CrisisLexT6"), ("t26", "CrisisLexT26, English ones"))
        if data.get(f"{name}_per_event") and data.get(f"{name}_events")
    ]
    return "Trained on besides Kaggle's: " + "; ".join(parts) + "." if parts else "Nothing but Kaggle's was trained on."


def exclusions(training: Training) -> str:
    """Declare rows that were left out as wrongly labelled."""
    path = training["recipe"]["data"].get("exclusions", "")
    return f"Rows listed in {path} were left out of the training." if path else "No row was left out for its label."


def guarantee(training: Training) -> str:
    """Return what the thresholds promise."""
    found = training["calibration"]
    about = {"decided": "among all decided tweets", "side": "among the tweets decided on each side"}
    if "scope" not in found:
        return f"chosen for at most {found['max_error_share']:.0%} errors on each side"
    return (
        f"chosen by Learn-then-Test on {found['n']:,} tweets that are in neither training nor figures: with confidence "
        f"{found['confidence']:.0%} at most {found['max_error_share']:.0%} errors {about[found['scope']]}, on tweets "
        "like these"
    )


def scaling(training: Training) -> str:
    """Return how logits become scores."""
    text = f"temperature {training['temperature']}"
    if "bias" in training:
        text += f", bias {training['bias']} (within the head)"
    return f"{text}, fitted on {training['calibration']['n']:,} tweets that are in neither training nor figures"


def normaliser(training: Training) -> str:
    """Return the version of the normaliser, and that of the training where it was another."""
    used = training["normaliser_version"]
    trained_with = training.get("trained_with_normaliser", used)
    return used if trained_with == used else f"{used} (the weights were trained with normaliser {trained_with})"


def read_rows(training: Training) -> str:
    """Return how many rows an epoch reads, by collection."""
    rows = training["rows"][TRAIN]
    text = f"{sum(rows.values()):,} rows are read in each epoch ({', '.join(f'{n} {k:,}' for n, k in rows.items())}"
    repeats = training["recipe"]["data"].get("kaggle_repeats", 1)
    return f"{text}; Kaggle's each {repeats} times)" if repeats > 1 else f"{text})"


def risk_range(training: Training) -> str:
    """Return which limits of errors the model has thresholds for."""
    limits = [entry["max_error_share"] for entry in training["risks"]["decided"]]
    return f"{min(limits):.0%} to {max(limits):.0%}"


def seeds(evaluation: Evaluation) -> str:
    """Return what seeds move, or that it was not measured."""
    chance = "The intervals count chance of the rows only."
    if "seeds" not in evaluation:
        return f"One training, one seed. {chance} What another seed would move was not measured."
    return f"{chance} {seeds_text(evaluation['seeds'])}"


def label_ceiling(evaluation: Evaluation) -> str:
    """Return how far the labels themselves are in doubt."""
    split = evaluation["splits"][KAGGLE_RANDOM]
    share = split.get("disputed_share")
    if share is None:
        return "The labels themselves cap every figure; how far the crowd agreed on them was not at hand."
    return (
        f"The labels themselves cap every figure: the crowd was not of one mind on {share:.0%} of the "
        f"{split['rows']:,} rows of kaggle_random."
    )


SENTENCES = {
    sentence.__name__: sentence
    for sentence in (
        trained_part,
        cost,
        crowd,
        teachers,
        other_collections,
        exclusions,
        guarantee,
        scaling,
        normaliser,
        read_rows,
        risk_range,
    )
}
EVALUATION_SENTENCES = {sentence.__name__: sentence for sentence in (seeds, label_ceiling)}
