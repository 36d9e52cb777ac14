"""Config, data and folds -> fit specifications: which fits a run has, their identity, their seeds.

A fit is one member on one fold. Its specification says all that its result depends on, and can be
written as JSON, so that a fit may run in this process, in another, or on another machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kaggle_digits.augmentation import bank
from kaggle_digits.config.loading import Config
from kaggle_digits.config.schema import MemberSettings
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache

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
        return cls(*arrays, key=files.digest(*arrays), images_key=files.digest(arrays[0]))

    def put_into(self, cache: Cache) -> None:
        """Store the arrays, for `from_cache` in another process."""
        arrays = {name: getattr(self, name) for name in INPUT_ARRAYS}
        cache.arrays(f"inputs-{self.key}", lambda: arrays)

    @classmethod
    def from_cache(cls, cache: Cache, key: str) -> Inputs:
        """Load the arrays that have a digest; the specification of a fit names it."""

        def missing() -> files.Arrays:
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
        values["heldout_rows"] = files.digest_json(values["heldout_rows"])
        return flattened(values)

    def digest(self) -> str:
        """Return the identity as 32 hex digits."""
        return files.digest_json(self.identity())

    def next_attempt(self) -> FitSpec:
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


def flattened(values: dict, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:  # an empty one is a value too
            flat |= flattened(value, f"{prefix}{key}.")
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
        if files.digest_json(found.get(key)) != files.digest_json(wanted):
            found_value = (
                "" if key in KEYS_FOR_PEOPLE else f": {found.get(key)} there, {wanted} here"
            )
            raise UserError(
                f"{where}: this fit was made with another "
                f"{KEYS_FOR_PEOPLE.get(key, key.removeprefix('settings.'))}"
                f"{found_value}; give another --out, or the settings and data of that run"
            )
