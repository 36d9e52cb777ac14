"""Config, data and folds -> fit specifications: which fits a run has, their identity, their seeds.

A fit is one member on one fold. Its specification holds all that its result depends on and can be
pickled, so that a fit may run in this process, in another, or on another machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from kaggle_digits.augmentation.bank import Bank
from kaggle_digits.config.schema import AUTO, Augment, Config, MemberSettings
from kaggle_digits.config.section import SETTINGS_FORMAT
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files

# Of a fit's identity; the second number is raised when the same settings train other nets.
FORMAT = f"{SETTINGS_FORMAT}.1"


@dataclass(frozen=True, eq=False)
class Inputs:
    """The arrays that fits read.

    Attributes:
        train_images: (n, 28, 28) uint8.
        train_labels: (n,) uint8, 0..9.
        test_images: (m, 28, 28) uint8.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray

    @cached_property
    def key(self) -> str:
        """Digest of the three arrays."""
        return files.digest(self.train_images, self.train_labels, self.test_images)

    @cached_property
    def images_key(self) -> str:
        """Digest of `train_images`, which the bank is made from."""
        return files.digest(self.train_images)


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
        bank: the bank that its epochs read.
        backend: the Keras backend's name.
    """

    member: str
    fold: int
    attempt: int
    seed: int
    settings: MemberSettings
    inputs_key: str
    heldout_rows: tuple[int, ...]
    bank: Bank
    backend: str

    @property
    def name(self) -> str:
        """The fit's name for people, folds counted from 1."""
        return f"{self.member} fold {self.fold + 1}"

    @cached_property
    def heldout(self) -> np.ndarray:
        """The held-out rows, (h,) int64."""
        return np.array(self.heldout_rows, np.int64)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the fit depends on, JSON-ready; a setting at its default is no part of it."""
        return {
            "format": FORMAT,
            "member": self.member,
            "fold": self.fold,
            "attempt": self.attempt,
            "seed": self.seed,
            "settings": self.settings.identity(),
            "inputs_key": self.inputs_key,
            "heldout_rows": files.digest(self.heldout),
            "bank_key": self.bank.key,
            "backend": self.backend,
        }

    @cached_property
    def digest(self) -> str:
        """The identity as 32 hex digits."""
        return files.digest_json(self.identity)

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
        return _seed_of(f"{self.seed}/{self.member}/{self.fold}/{self.attempt}/{purpose}")

    def variants_of_epoch(self, epoch: int) -> list[int]:
        """List the variants of the bank that an epoch (from 0) reads.

        Every fit goes through all variants in an order of its own before it repeats one; with
        `variant_order: own` each row does, and an epoch reads all variants.
        """
        count = self.settings.augment.variants
        if self.settings.augment.variant_order == "own":
            return list(range(count))
        order = np.random.default_rng(self.seed_for("variants")).permutation(count)
        return [int(order[epoch % count])]

    def variant_of_rows(self, epoch: int, rows: int) -> np.ndarray:
        """Return each row's variant in an epoch (from 0) of `variant_order: own`.

        Args:
            epoch: from 0.
            rows: number of rows, those that are held out included.

        Returns:
            (rows,) integers. In as many epochs as there are variants a row has each of them once.
        """
        count = self.settings.augment.variants
        orders = np.tile(np.arange(count), (rows, 1))
        generator = np.random.default_rng(self.seed_for("variants"))
        return generator.permuted(orders, axis=1, out=orders)[:, epoch % count]


def variants_by_bank(specs: Iterable[FitSpec]) -> dict[Bank, list[int]]:
    """List the variants that fits read, by bank, those first that are needed first."""
    found: dict[Bank, dict[int, None]] = {}
    for spec in specs:
        variants = found.setdefault(spec.bank, {})
        for epoch in range(spec.settings.train.epochs):
            variants.update(dict.fromkeys(spec.variants_of_epoch(epoch)))
    return {bank: list(variants) for bank, variants in found.items()}


def bank_variants(config: Config) -> int:
    """Count the variants that a run draws; members with the same augmentation may share a bank."""
    variants: dict[Bank, int] = {}
    for member in config.members:
        augment = canonical(config.member(member)).augment
        bank = _bank(augment, "", config.seed, member)
        variants[bank] = max(augment.variants, variants.get(bank, 0))
    return sum(variants.values())


def plan(config: Config, inputs: Inputs, split: list[np.ndarray], backend: str) -> list[FitSpec]:
    """List the fits of a run, member by member, all folds of the first member first.

    Args:
        config: the run's config.
        inputs: the arrays.
        split: held-out row sets.
        backend: the Keras backend's name.

    Returns:
        One specification for each member and fold.

    Raises:
        ValueError: `train.threads` is no number yet, or a precision is `auto`.
    """
    if AUTO in (config.train.threads, *config.precisions.values()):
        raise ValueError("train: expected a config without auto, see machine_settings.as_begun")
    return [
        FitSpec(
            member=member,
            fold=fold,
            attempt=1,
            seed=config.seed,
            settings=settings,
            inputs_key=inputs.key,
            heldout_rows=tuple(heldout.tolist()),
            bank=bank,
            backend=backend,
        )
        for member in config.members
        for settings in [canonical(config.member(member))]
        for bank in [_bank(settings.augment, inputs.images_key, config.seed, member)]
        for fold, heldout in enumerate(split)
    ]


def _bank(augment: Augment, images_key: str, seed: int, member: str) -> Bank:
    """Return the bank that a member reads; one of its own has other random numbers."""
    drawn_with = _seed_of(f"{seed}/{member}/bank") if augment.bank == "own" else seed
    return Bank(images_key, augment.of_bank(), drawn_with)


def _seed_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) >> 1


def canonical(settings: MemberSettings) -> MemberSettings:
    """Return settings that give the same fits, with what changes no result at its default."""
    settings = settings.canonical()
    augment, epochs = settings.augment, settings.train.epochs
    changes = {
        "variants": augment.variants or epochs,
        "clean_epochs": min(augment.clean_epochs, epochs),  # more are all of them
    }
    augment = augment.model_copy(update=changes).canonical()
    return settings.model_copy(update={"augment": augment})


# Identity keys that a person has never written, and what to call them instead.
VERSIONS_KEY = "bank_key"  # compared last: all else that it depends on has keys of its own
KEYS_FOR_PEOPLE = {
    "inputs_key": "data (pixels and labels of train.csv, pixels of test.csv)",
    "heldout_rows": "folds.count or kind (the rows that a fold holds out)",
    VERSIONS_KEY: "version of albumentations or OpenCV (--allow-changed-versions continues)",
}


def check_identity(
    spec: FitSpec, found: dict[str, Any], where: str, allow_changed: bool = False
) -> None:
    """Refuse a fit that another specification made.

    Args:
        spec: what is wanted.
        found: the identity that the fit, finished or not, was made with.
        where: the fit's place, for the error message.
        allow_changed: accept other versions of the augmentation's packages.

    Raises:
        UserError: names the first key that differs, with both values.
    """
    here = full = flattened(spec.identity | {"settings": spec.settings.model_dump(mode="json")})
    try:
        settings = MemberSettings.from_identity(found.get("settings", {}))
        there = flattened(found | {"settings": settings.model_dump(mode="json")})
    except UserError:  # of a version with other settings: the identities are compared as they are
        there, here = flattened(found), flattened(spec.identity)
    for key in sorted(here | there, key=lambda key: key == VERSIONS_KEY):
        if allow_changed and key == VERSIONS_KEY:
            continue
        # Through JSON lists and tuples are alike.
        same = files.digest_json(there.get(key)) == files.digest_json(here.get(key))
        if not same or (key in there) != (key in here):
            values = f": {there.get(key)} there, {full.get(key)} here"
            name = KEYS_FOR_PEOPLE.get(key, key.removeprefix("settings.") + values)
            raise UserError(
                f"{where}: this fit was made with another {name}; give the settings and data of "
                "that run, or another folder"
            )


def flattened(values: dict, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:  # an empty one is a value too
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
