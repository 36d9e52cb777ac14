"""Fit specifications -> finished fits: train one, save it, go on with it, or find it sick."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.augmentation import bank
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.training import backend
from kaggle_digits.training.fit_spec import FitSpec, Inputs

if TYPE_CHECKING:
    from kaggle_digits.training import train  # at run time later: it brings the backend in


@dataclass(frozen=True)
class FitResult:
    """A finished fit.

    Attributes:
        model: the net, a `keras.Model` from uint8 pixels to logits.
        heldout: (h, 10) float32 probabilities of the held-out rows.
        test: (m, 10) float32 probabilities of the test rows.
        history: one dict an epoch.
        train_seconds: wall time of the epochs.
        predict_seconds: wall time of both predictions.
        train_images: images that went through training.
    """

    model: Any
    heldout: np.ndarray
    test: np.ndarray
    history: list[dict[str, float]]
    train_seconds: float
    predict_seconds: float
    train_images: int


def train_fit(
    spec: FitSpec,
    inputs: Inputs,
    cache: Cache,
    listener: train.Listener | None = None,
    state: train.Checkpoint | None = None,
    keep: Callable[[train.Checkpoint], None] | None = None,
    stop: train.MustStop | None = None,
) -> train.TrainingResult:
    """Train one fit; needs nothing but the specification, its inputs and the cache.

    Args:
        spec: the fit.
        inputs: the arrays whose key the specification names.
        cache: holds the bank; a variant that is not there is drawn.
        listener: see `train.train`.
        state: see `train.train`.
        keep: see `train.train`.
        stop: see `train.train`.

    Returns:
        The trained net, not complete if it was stopped.

    Raises:
        UserError: memory does not suffice.
    """
    backend.configure(spec.settings.train.threads)
    from kaggle_digits.training import train

    if backend.name() != spec.backend:
        raise ValueError(f"{spec.name}: made for {spec.backend}, found {backend.name()}")
    if inputs.key != spec.inputs_key:
        raise ValueError(f"{spec.name}: made for inputs {spec.inputs_key}, given {inputs.key}")
    augment, epochs = spec.settings.augment, spec.settings.train.epochs

    def images(epoch: int) -> np.ndarray:
        wanted = spec.variant_of_epoch(epoch)
        # As a rule it is there already; else the next ones are drawn with it, one a core.
        if not cache.has_variant(spec.bank_key, wanted):
            soon = range(epoch, min(epoch + (os.cpu_count() or 1), epochs))
            wanted_soon = dict.fromkeys(map(spec.variant_of_epoch, soon))
            bank.fill(cache, spec.bank_key, inputs.train_images, augment, spec.seed, wanted_soon)
        return cache.read_variant(spec.bank_key, wanted)

    heldout = np.array(spec.heldout_rows, np.int64)
    with memory_errors_explained(spec):
        return train.train(
            spec.settings,
            images=images,
            labels=inputs.train_labels,
            rows=np.setdiff1d(np.arange(len(inputs.train_labels)), heldout),
            clean=inputs.train_images,
            seed=spec.seed_for("fit"),
            listener=listener,
            state=state,
            keep=keep,
            stop=stop,
        )


@contextmanager
def memory_errors_explained(spec: FitSpec) -> Iterator[None]:
    """Turn any backend's way of saying "not enough memory" into one line for people.

    Args:
        spec: the fit at work.

    Raises:
        UserError: memory did not suffice; names the batch size to set.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not backend.is_out_of_memory(error):
            raise
        size = spec.settings.train.batch_size
        raise UserError(
            f"{spec.name}: the memory does not suffice for train.batch_size={size}; close other "
            f"programs, or repeat with --set train.batch_size={max(2, size // 2)} and another --out"
        ) from error


def finish_fit(spec: FitSpec, inputs: Inputs, trained: train.TrainingResult) -> FitResult:
    """Predict with a trained net.

    Args:
        spec: the fit.
        inputs: the arrays whose key the specification names.
        trained: what `train_fit` returned.

    Returns:
        The finished fit.
    """
    from kaggle_digits.training import train

    start = time.monotonic()
    heldout = np.array(spec.heldout_rows, np.int64)
    return FitResult(
        model=trained.model,
        heldout=train.predict(trained.model, inputs.train_images[heldout]),
        test=train.predict(trained.model, inputs.test_images),
        history=trained.history,
        train_seconds=trained.seconds,
        predict_seconds=time.monotonic() - start,
        train_images=trained.images,
    )


# A fit is sick if it trained this many steps and still gets fewer than this share of its own
# training images right: chance is 0.1, and any net that learns at all is far above.
DIVERGED_STEPS = 1000
DIVERGED_ACCURACY = 0.2
ATTEMPTS = 2


def divergence_reason(trained: train.TrainingResult) -> str | None:
    """Tell why a fit is not fit for an ensemble, by its training alone; None if it is."""
    last = trained.history[-1] if trained.history else None
    if last and not math.isfinite(last["loss"]):
        return f"the loss was {last['loss']} in epoch {last['epoch']}"
    if (
        trained.complete
        and trained.steps >= DIVERGED_STEPS
        and last["accuracy"] < DIVERGED_ACCURACY
    ):
        return f"its training accuracy was {last['accuracy']:.3f} after {trained.steps} steps"
    return None


def note_divergence(folder: RunFolder, spec: FitSpec, reason: str) -> None:
    """Note that an attempt was sick, so that it is never repeated."""
    try:
        attempts = folder.read_failures(spec.member, spec.fold) or []
    except files.DamagedError:
        attempts = []
    attempts = [entry for entry in attempts if entry["attempt"] < spec.attempt]
    attempts.append({"attempt": spec.attempt, "fit": spec.digest(), "reason": reason})
    folder.write_failures(spec.member, spec.fold, attempts)
    folder.remove_state(spec.member, spec.fold)


def diverged_attempts(folder: RunFolder, spec: FitSpec) -> list[str]:
    """Return why earlier attempts of a planned fit (attempt 1) were sick, in their order.

    Raises:
        files.DamagedError: the note is not as it was written.
    """
    reasons = []
    for entry in folder.read_failures(spec.member, spec.fold) or []:
        if entry["fit"] != spec.digest():
            break  # of other settings
        reasons.append(entry["reason"])
        spec = spec.next_attempt()
    return reasons


@files.timed_io()
def save_state(folder: RunFolder, spec: FitSpec, state: train.Checkpoint) -> None:
    """Write what an unfinished fit goes on from, in place of what was there."""
    facts = {
        "fit": spec.digest(),
        "identity": spec.identity(),
        "epochs": state.epochs,
        "history": state.history,
        "packages": environment.package_versions(),
        "hardware": environment.hardware(),
    }
    arrays = {f"variable{number:04d}": array for number, array in enumerate(state.arrays)}
    facts_array = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    folder.write_state(spec.member, spec.fold, arrays | {"facts": facts_array})


def state_facts(folder: RunFolder, spec: FitSpec) -> dict | None:
    """Read the facts on what an unfinished fit goes on from, None where it starts from nothing.

    Raises:
        files.DamagedError: the file is not as it was written.
    """
    facts = read_state_facts(folder, spec.member, spec.fold)
    return facts if facts and facts["fit"] == spec.digest() else None


def read_state_facts(folder: RunFolder, member: str, fold: int) -> dict | None:
    """Read the facts on what a fit goes on from, whatever its settings.

    Raises:
        files.DamagedError: the file is not as it was written.
    """
    arrays = folder.read_state(member, fold)
    return None if arrays is None else json.loads(arrays["facts"].tobytes())


def resume(folder: RunFolder, spec: FitSpec, say: Callable[[str], None]) -> train.Checkpoint | None:
    """Find out where a fit that was cut off goes on, and tell.

    Args:
        folder: the run's folder.
        spec: the fit.
        say: is called with a line for people.

    Returns:
        The state, or None: it starts.
    """
    try:
        state = load_state(folder, spec)
    except files.DamagedError as damage:
        say(f"damaged: {damage.path}: {damage.reason}; {spec.name} starts over")
        return None
    if state:
        say(f"{spec.name} goes on after epoch {state.epochs}, saved before it was cut off")
    return state


def load_state(folder: RunFolder, spec: FitSpec) -> train.Checkpoint | None:
    """Read what an unfinished fit goes on from.

    Args:
        folder: the run's folder.
        spec: the fit.

    Returns:
        The state, or None where there is none of this very fit.

    Raises:
        files.DamagedError: the file is not as it was written.
    """
    from kaggle_digits.training import train

    facts = state_facts(folder, spec)
    if facts is None:
        return None
    arrays = folder.read_state(spec.member, spec.fold)
    variables = [arrays[name] for name in sorted(arrays) if name != "facts"]
    return train.Checkpoint(facts["epochs"], variables, facts["history"])


@files.timed_io()
def save_fit(
    folder: RunFolder, spec: FitSpec, result: FitResult, more: Mapping[str, Any] | None = None
) -> None:
    """Write a finished fit's folder, whole or not at all.

    Args:
        folder: the run's folder.
        spec: the fit.
        result: what it ended with.
        more: further facts for `fit.json`.
    """

    def write_history(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, result.history[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(result.history)

    writers = {
        "model.keras": result.model.save,
        "predictions.npz": lambda path: files.write_arrays(
            path, {"heldout": result.heldout, "test": result.test}
        ),
        "history.csv": write_history,
    }
    facts = {
        "identity": spec.identity(),
        "digest": spec.digest(),
        "seconds": {"train": result.train_seconds, "predict": result.predict_seconds},
        "train_images": result.train_images,
        "packages": environment.package_versions(),
        "hardware": environment.hardware(),
        **(more or {}),
    }
    folder.write_fit(spec.member, spec.fold, writers, facts)
    folder.remove_state(spec.member, spec.fold)
