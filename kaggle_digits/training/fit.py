"""A fit specification -> a finished fit: train it, see whether it has diverged, predict, save."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.augmentation import bank
from kaggle_digits.errors import UserError
from kaggle_digits.results import record
from kaggle_digits.results.run_report import NET_FORMAT, NetSummary
from kaggle_digits.scoring.ensemble import FitPredictions
from kaggle_digits.storage import files, fit_files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.training import backend
from kaggle_digits.training.fit_spec import FitSpec, Inputs

if TYPE_CHECKING:
    import keras

    # Not at run time: they import the backend.
    from kaggle_digits.training.callbacks import Checkpoint, Hooks
    from kaggle_digits.training.train import TrainingResult

# A fit has diverged if it trained this many steps and, in the epoch whose weights it keeps, still
# gets fewer than this fraction of its own training images right: chance is 0.1, and any net that
# learns at all is far above.
DIVERGED_STEPS = 1000
DIVERGED_ACCURACY = 0.2
ATTEMPTS = 2


class OutOfMemory(UserError):
    """The memory is too small for a fit; the message names the batch size to set."""


@dataclass(frozen=True)
class FitResult:
    """A finished fit.

    Attributes:
        model: the net, from uint8 pixels to logits.
        heldout: (h, 10) float32 probabilities of the held-out rows.
        test: (m, 10) float32 probabilities of the test rows.
        training: what its training ended with.
        predict_seconds: wall time of both predictions.
        accelerators: names of the GPUs or TPUs that there were.
        net: what the net is made of; None: not known.
    """

    model: keras.Model
    heldout: np.ndarray
    test: np.ndarray
    training: TrainingResult
    predict_seconds: float
    accelerators: tuple[str, ...] = ()
    net: NetSummary | None = None


def train_fit(
    spec: FitSpec,
    inputs: Inputs,
    cache: Cache,
    checkpoint: Checkpoint | None = None,
    hooks: Hooks | None = None,
) -> TrainingResult:
    """Train one fit; needs nothing but the specification, its inputs and the cache.

    Args:
        spec: the fit.
        inputs: the arrays whose key the specification names.
        cache: holds the bank; a variant that is missing is drawn.
        checkpoint: what it resumes from, None: from the start.
        hooks: who hears of it and may end it.

    Returns:
        The trained net, not complete if it was stopped.

    Raises:
        OutOfMemory: the memory is too small.
    """
    backend.configure(spec.settings.train.threads)
    from kaggle_digits.training.batches import TrainingData
    from kaggle_digits.training.train import train

    if backend.name() != spec.backend:
        raise ValueError(f"{spec.name}: expected backend {spec.backend}, found {backend.name()}")
    if inputs.key != spec.inputs_key:
        raise ValueError(f"{spec.name}: expected inputs {spec.inputs_key}, found {inputs.key}")
    epochs = spec.settings.train.epochs

    def images(epoch: int) -> np.ndarray:
        wanted = spec.variants_of_epoch(epoch)
        # As a rule they are there already; else the next ones are drawn along, one on each core.
        if not all(cache.has_variant(spec.bank.key, number) for number in wanted):
            soon = range(epoch, min(epoch + environment.usable_cores(), epochs))
            variants = dict.fromkeys(chain.from_iterable(map(spec.variants_of_epoch, soon)))
            bank.fill(cache, spec.bank, inputs.train_images, variants)
        if len(wanted) == 1:
            return cache.read_variant(spec.bank.key, wanted[0])
        return bank.read_rows(
            cache, spec.bank, spec.variant_of_rows(epoch, len(inputs.train_labels))
        )

    rows = np.setdiff1d(np.arange(len(inputs.train_labels)), spec.heldout)
    data = TrainingData(images, inputs.train_labels, rows, inputs.train_images, spec.heldout)
    with memory_errors_explained(spec):
        return train(spec.settings, data, spec.seed_for("fit"), checkpoint, hooks)


@contextmanager
def memory_errors_explained(spec: FitSpec) -> Iterator[None]:
    """Turn any backend's way of saying "not enough memory" into one line for people.

    Args:
        spec: the fit in progress.

    Raises:
        OutOfMemory: names the batch size to set.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not backend.is_out_of_memory(error):
            raise
        size = spec.settings.train.batch_size
        raise OutOfMemory(
            f"{spec.name}: not enough memory for train.batch_size={size}; close other programs, "
            f"or repeat with --set train.batch_size={max(2, size // 2)} and another --out"
        ) from error


def finish_fit(spec: FitSpec, inputs: Inputs, trained: TrainingResult) -> FitResult:
    """Predict with a trained net.

    Args:
        spec: the fit.
        inputs: the arrays whose key the specification names.
        trained: what `train_fit` returned.

    Returns:
        The finished fit.
    """
    from kaggle_digits.training import models
    from kaggle_digits.training.train import predict

    start, test_shift = time.monotonic(), spec.settings.augment.test_shift
    return FitResult(
        model=trained.model,
        heldout=predict(trained.model, inputs.train_images[spec.heldout], test_shift),
        test=predict(trained.model, inputs.test_images, test_shift),
        training=trained,
        predict_seconds=time.monotonic() - start,
        accelerators=tuple(backend.accelerators()),
        net=models.summary(trained.model),
    )


def divergence_reason(trained: TrainingResult) -> str | None:
    """Return why a training has diverged, by itself alone; None if it has not."""
    last, kept = trained.history[-1] if trained.history else None, trained.kept
    if last and not math.isfinite(last["loss"]):
        return f"loss is {last['loss']} in epoch {last['epoch']}"
    if (
        trained.complete
        and trained.steps >= DIVERGED_STEPS
        and kept["accuracy"] < DIVERGED_ACCURACY
    ):
        accuracy = f"training accuracy is {kept['accuracy']:.3f}"
        if trained.kept_epoch:
            accuracy += f" in epoch {kept['epoch']}, the best,"
        return f"{accuracy} after {trained.steps} steps"
    return None


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
    import pandas as pd

    history = pd.DataFrame(result.training.history)
    writers = {
        fit_files.MODEL: result.model.save,
        fit_files.PREDICTIONS: lambda path: files.write_arrays(
            path, {"heldout": result.heldout, "test": result.test}
        ),
        fit_files.HISTORY: lambda path: history.to_csv(path, index=False, lineterminator="\n"),
    }
    facts = {
        "identity": spec.identity,
        "digest": spec.digest,
        "seconds": {"train": result.training.seconds, "predict": result.predict_seconds},
        "train_images": result.training.images,
        "packages": environment.package_versions(),
        "hardware": environment.hardware(),
        "accelerators": result.accelerators,
        "net": result.net and record.to_json(result.net, NET_FORMAT),
        **(more or {}),
    }
    folder.write_fit(spec.member, spec.fold, writers, facts)
    folder.remove_state(spec.member, spec.fold)


def read_predictions(folder: RunFolder, spec: FitSpec) -> FitPredictions:
    """Read what a finished fit predicts.

    Raises:
        DamagedError: a file of the fit is not as it was written, or missing.
    """
    arrays = folder.read_fit_arrays(spec.member, spec.fold)
    return FitPredictions(spec.member, spec.fold, spec.heldout, arrays["heldout"], arrays["test"])
