"""Fit specifications -> finished fits: which fits a run has, their identity, their seeds.

A fit is one member on one fold. Its specification says all that its result depends on, and can be
written as JSON, so that a fit may run in this process, in another, or on another machine.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits import backend, bank, disk, machine, store
from kaggle_digits.config import Config, MemberSettings
from kaggle_digits.errors import UserError

if TYPE_CHECKING:
    from kaggle_digits import train  # at run time later: it brings the backend in

INPUT_ARRAYS = ("train_images", "train_labels", "test_images")


@dataclass(frozen=True)
class Inputs:
    """The arrays that fits read.

    Attributes:
        train_images: (n, 28, 28) uint8.
        train_labels: (n,) uint8, 0..9.
        test_images: (m, 28, 28) uint8.
        key: digest of the three.
        images_key: digest of `train_images`, which the bank is made from.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    key: str
    images_key: str

    @classmethod
    def of(cls, train_images: np.ndarray, train_labels: np.ndarray, test_images: np.ndarray):
        """Put arrays together with their digests."""
        arrays = tuple(map(np.ascontiguousarray, (train_images, train_labels, test_images)))
        return cls(*arrays, key=disk.digest(*arrays), images_key=disk.digest(arrays[0]))

    def put_into(self, cache: store.Cache) -> None:
        """Store the arrays, for `from_cache` in another process."""
        arrays = {name: getattr(self, name) for name in INPUT_ARRAYS}
        cache.arrays(f"inputs-{self.key}", lambda: arrays)

    @classmethod
    def from_cache(cls, cache: store.Cache, key: str) -> Inputs:
        """Load the arrays that have a digest; the specification of a fit names it."""

        def missing() -> disk.Arrays:
            raise UserError(
                f"{cache.folder}: has no sound data with digest {key}; repeat the run that made "
                "this fit's specification, with this --cache"
            )

        arrays = cache.arrays(f"inputs-{key}", missing)
        return cls.of(*(arrays[name] for name in INPUT_ARRAYS))


@dataclass(frozen=True)
class FitSpec:
    """All that a fit's result depends on.

    Attributes:
        member: the member's name.
        fold: from 0.
        attempt: from 1; a repeated fit has other random numbers.
        seed: the run's seed.
        settings: the member's resolved settings; `augment.variants` is a number.
        inputs_key: digest of the arrays, see `Inputs`.
        heldout_rows: training rows that the fit does not train on, sorted.
        bank_key: the bank that its epochs read.
        backend: the Keras backend's name.
    """

    member: str
    fold: int
    attempt: int
    seed: int
    settings: MemberSettings
    inputs_key: str
    heldout_rows: tuple[int, ...]
    bank_key: str
    backend: str

    @property
    def name(self) -> str:
        """The fit's name for people, folds counted from 1."""
        return f"{self.member} fold {self.fold + 1}"

    def to_json(self) -> dict[str, Any]:
        """Return the specification JSON-ready; `from_json` is the inverse."""
        return vars(self) | {
            "settings": self.settings.model_dump(mode="json"),
            "heldout_rows": list(self.heldout_rows),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FitSpec:
        """Read what `to_json` returned."""
        settings = MemberSettings.model_validate(values["settings"])
        return cls(**values | {"settings": settings, "heldout_rows": tuple(values["heldout_rows"])})

    def identity(self) -> dict[str, Any]:
        """Return everything the fit depends on by dotted key, the held-out rows as a digest."""
        values = self.to_json()
        values["heldout_rows"] = disk.digest_json(values["heldout_rows"])
        return _flat(values)

    def digest(self) -> str:
        """Return the identity as 32 hex digits."""
        return disk.digest_json(self.identity())

    def again(self) -> FitSpec:
        """Return the next attempt: other random numbers and half the learning rate."""
        halved = {"learning_rate": self.settings.train.learning_rate / 2}
        settings = self.settings.model_copy(
            update={"train": self.settings.train.model_copy(update=halved)}
        )
        return replace(self, attempt=self.attempt + 1, settings=settings)

    def seed_for(self, purpose: str) -> int:
        """Draw the seed of one purpose from (run seed, member, fold, attempt).

        Other members, their order and their number have no influence.
        """
        text = f"{self.seed}/{self.member}/{self.fold}/{self.attempt}/{purpose}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) >> 1

    def variant_of_epoch(self, epoch: int) -> int:
        """Say which variant of the bank an epoch (from 0) reads.

        Every fit goes through all variants in an order of its own before it repeats one.
        """
        count = self.settings.augment.variants
        order = np.random.default_rng(self.seed_for("variants")).permutation(count)
        return int(order[epoch % count])


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


def _flat(values: dict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def plan(config: Config, inputs: Inputs, split: list[np.ndarray], backend: str) -> list[FitSpec]:
    """List the fits of a run, member by member, all folds of the first member first.

    Args:
        config: the run's config.
        inputs: the arrays.
        split: held-out row sets.
        backend: the Keras backend's name.

    Returns:
        One specification a member and fold.
    """
    specs = []
    for member in config.members:
        settings = config.member(member)
        variants = settings.augment.variants or settings.train.epochs
        # What changes no result shall change no identity either.
        augment = settings.augment.canonical().model_copy(update={"variants": variants})
        settings = settings.model_copy(
            update={"augment": augment, "train": settings.train.canonical()}
        )
        key = bank.bank_key(inputs.images_key, settings.augment, config.seed)
        for fold, heldout in enumerate(split):
            spec = FitSpec(
                member=member,
                fold=fold,
                attempt=1,
                seed=config.seed,
                settings=settings,
                inputs_key=inputs.key,
                heldout_rows=tuple(heldout.tolist()),
                bank_key=key,
                backend=backend,
            )
            specs.append(spec)
    return specs


# Identity keys that a person has never written, and what to call them instead.
VERSIONS_KEY = "bank_key"  # all else that it depends on has keys of its own, which come first
KEYS_FOR_PEOPLE = {
    "inputs_key": "data (pixels and labels of train.csv, pixels of test.csv)",
    "heldout_rows": "folds.count (the rows that a fold holds out)",
    VERSIONS_KEY: "version of albumentations or OpenCV (--allow-changed-versions goes on)",
}


def check_identity(
    spec: FitSpec, found: dict[str, Any], where: str, allow_changed: bool = False
) -> None:
    """Refuse a fit that another specification made.

    Args:
        spec: what is wanted.
        found: the identity that the fit, finished or not, was made with.
        where: the fit's place, for the error message.
        allow_changed: other versions of the augmentation's packages are welcome.

    Raises:
        UserError: names the first key that differs, with both values.
    """
    for key, wanted in spec.identity().items():
        if allow_changed and key == VERSIONS_KEY:
            continue
        # Through JSON lists and tuples are alike.
        if disk.digest_json(found.get(key)) != disk.digest_json(wanted):
            found_value = (
                "" if key in KEYS_FOR_PEOPLE else f": {found.get(key)} there, {wanted} here"
            )
            raise UserError(
                f"{where}: this fit was made with another "
                f"{KEYS_FOR_PEOPLE.get(key, key.removeprefix('settings.'))}"
                f"{found_value}; give another --out, or the settings and data of that run"
            )


def train_fit(
    spec: FitSpec,
    inputs: Inputs,
    cache: store.Cache,
    listener: train.Listener | None = None,
    state: train.State | None = None,
    keep: Callable[[train.State], None] | None = None,
    stop: train.Stop | None = None,
) -> train.Trained:
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
    from kaggle_digits import train

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
    with memory_told(spec):
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
def memory_told(spec: FitSpec) -> Iterator[None]:
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


def finish_fit(spec: FitSpec, inputs: Inputs, trained: train.Trained) -> FitResult:
    """Predict with a trained net.

    Args:
        spec: the fit.
        inputs: the arrays whose key the specification names.
        trained: what `train_fit` returned.

    Returns:
        The finished fit.
    """
    from kaggle_digits import train

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
SICK_STEPS = 1000
SICK_ACCURACY = 0.2
ATTEMPTS = 2


def sickness(trained: train.Trained) -> str | None:
    """Tell why a fit is not fit for an ensemble, by its training alone; None if it is."""
    last = trained.history[-1] if trained.history else None
    if last and not math.isfinite(last["loss"]):
        return f"the loss was {last['loss']} in epoch {last['epoch']}"
    if trained.complete and trained.steps >= SICK_STEPS and last["accuracy"] < SICK_ACCURACY:
        return f"its training accuracy was {last['accuracy']:.3f} after {trained.steps} steps"
    return None


def note_sick(folder: store.RunFolder, spec: FitSpec, reason: str) -> None:
    """Note that an attempt was sick, so that it is never repeated."""
    try:
        attempts = folder.read_sick(spec.member, spec.fold) or []
    except disk.DamagedError:
        attempts = []
    attempts = [entry for entry in attempts if entry["attempt"] < spec.attempt]
    attempts.append({"attempt": spec.attempt, "fit": spec.digest(), "reason": reason})
    folder.write_sick(spec.member, spec.fold, attempts)
    folder.remove_state(spec.member, spec.fold)


def sick_attempts(folder: store.RunFolder, spec: FitSpec) -> list[str]:
    """Return why earlier attempts of a planned fit (attempt 1) were sick, in their order.

    Raises:
        disk.DamagedError: the note is not as it was written.
    """
    reasons = []
    for entry in folder.read_sick(spec.member, spec.fold) or []:
        if entry["fit"] != spec.digest():
            break  # of other settings
        reasons.append(entry["reason"])
        spec = spec.again()
    return reasons


@disk.counted()
def save_state(folder: store.RunFolder, spec: FitSpec, state: train.State) -> None:
    """Write what an unfinished fit goes on from, in place of what was there."""
    facts = {
        "fit": spec.digest(),
        "identity": spec.identity(),
        "epochs": state.epochs,
        "history": state.history,
        "packages": machine.package_versions(),
        "hardware": machine.hardware(),
    }
    arrays = {f"variable{number:04d}": array for number, array in enumerate(state.arrays)}
    facts_array = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    folder.write_state(spec.member, spec.fold, arrays | {"facts": facts_array})


def state_facts(folder: store.RunFolder, spec: FitSpec) -> dict | None:
    """Read the facts on what an unfinished fit goes on from, None where it starts from nothing.

    Raises:
        disk.DamagedError: the file is not as it was written.
    """
    facts = read_state_facts(folder, spec.member, spec.fold)
    return facts if facts and facts["fit"] == spec.digest() else None


def read_state_facts(folder: store.RunFolder, member: str, fold: int) -> dict | None:
    """Read the facts on what a fit goes on from, whatever its settings.

    Raises:
        disk.DamagedError: the file is not as it was written.
    """
    arrays = folder.read_state(member, fold)
    return None if arrays is None else json.loads(arrays["facts"].tobytes())


def load_state(folder: store.RunFolder, spec: FitSpec) -> train.State | None:
    """Read what an unfinished fit goes on from.

    Args:
        folder: the run's folder.
        spec: the fit.

    Returns:
        The state, or None where there is none of this very fit.

    Raises:
        disk.DamagedError: the file is not as it was written.
    """
    from kaggle_digits import train

    facts = state_facts(folder, spec)
    if facts is None:
        return None
    arrays = folder.read_state(spec.member, spec.fold)
    variables = [arrays[name] for name in sorted(arrays) if name != "facts"]
    return train.State(facts["epochs"], variables, facts["history"])


@disk.counted()
def save_fit(folder: store.RunFolder, spec: FitSpec, result: FitResult) -> None:
    """Write a finished fit's folder, whole or not at all.

    Args:
        folder: the run's folder.
        spec: the fit.
        result: what it ended with.
    """

    def write_history(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, result.history[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(result.history)

    files = {
        "model.keras": result.model.save,
        "predictions.npz": lambda path: disk.write_arrays(
            path, {"heldout": result.heldout, "test": result.test}
        ),
        "history.csv": write_history,
    }
    facts = {
        "identity": spec.identity(),
        "digest": spec.digest(),
        "seconds": {"train": result.train_seconds, "predict": result.predict_seconds},
        "train_images": result.train_images,
        "packages": machine.package_versions(),
        "hardware": machine.hardware(),
    }
    folder.write_fit(spec.member, spec.fold, files, facts)
    folder.remove_state(spec.member, spec.fold)
