"""What comes before the first fit of a run: how its folder was begun, and the banks are drawn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from kaggle_digits.augmentation import bank
from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config, MemberSettings
from kaggle_digits.data.digits import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.report import samples
from kaggle_digits.runs import summary
from kaggle_digits.runs.figures import RunPlan
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter, count_of, duration
from kaggle_digits.system.time_budget import BANK_FRACTION, START_SECONDS, TimeBudget
from kaggle_digits.training import fit_spec, machine_settings
from kaggle_digits.training.fit_spec import FitSpec
from kaggle_digits.training.machine_settings import Begun

SAMPLED_VARIANTS = 12  # in the picture of augmented samples


def config_begun(folder: RunFolder) -> Config | None:
    """Return the config of the run in a folder; None where there is none, or it is damaged."""
    try:
        return loading.load(str(folder.config), say=lambda line: None)
    except UserError:
        return None


def begun_with(folder: RunFolder, config: Config | None) -> Begun:
    """Return the threads and the precisions of the run in a folder, as far as there is one.

    Args:
        folder: the run's folder.
        config: its config, see `config_begun`.
    """
    begun = machine_settings.begun_with(config)
    if begun.threads is not None:
        return begun
    # The config is damaged, but each fit has its own.
    found = {}
    for member, fold in folder.finished_fits():
        with suppress(UserError, files.DamagedError, KeyError, TypeError):
            settings = folder.read_fit(member, fold)["identity"]["settings"]
            found[member] = MemberSettings.from_identity(settings).train
    threads = next((train.threads for train in found.values()), None)
    return Begun(threads, {member: train.precision for member, train in found.items()})


def is_same_run(folder: RunFolder, config: Config, digits: Digits, backend_name: str) -> bool:
    """Return whether a run with this config, data and backend would continue the one in a folder.

    Args:
        folder: holds a run, which may be damaged.
        config: may have `auto` threads and precisions.
        digits: the data.
        backend_name: see `backend.name`.
    """
    begun = config_begun(folder)
    own = machine_settings.as_begun(
        loading.without_tuning(config), begun_with(folder, begun), asks=False
    )
    digest = summary.config_digest(own)
    manifest = files.read_json(folder.manifest)
    if not manifest:
        # Damaged; the fits have identities of their own, which are looked at.
        return begun is not None and summary.config_digest(begun) == digest
    wanted = {"data": digits.hashes, "backend": backend_name, "config": digest}
    return all(manifest.get(key) == value for key, value in wanted.items())


def fill_banks(
    plan: RunPlan,
    specs: Sequence[FitSpec],
    folder: RunFolder,
    cache: Cache,
    budget: TimeBudget,
    reporter: Reporter,
) -> float:
    """Draw what the fits will read; members with the same augmentation share a bank.

    Args:
        plan: what the run does.
        specs: the fits to train.
        folder: gets a picture of some variants.
        cache: holds the banks.
        budget: the time there is.
        reporter: where lines go.

    Returns:
        What drawing the next variants would take at most, if some are missing yet, seconds.
    """
    keep_free = BANK_FRACTION * budget.seconds_left()
    inputs = plan.inputs
    one_round = START_SECONDS
    for its_bank, variants in fit_spec.variants_by_bank(specs).items():
        start = time.monotonic()
        missing = sum(not cache.has_variant(its_bank.key, number) for number in variants)
        if missing:
            reporter.say(f"drawing {count_of(missing, 'augmented variant')} of the images")
        with reporter.bar(len(variants), "augmentation") as show:
            drawn = bank.fill(
                cache,
                its_bank,
                inputs.train_images,
                variants,
                listener=lambda done, total, show=show: show(done, f"augmentation {done}/{total}"),
                stop=lambda: budget.limit is not None and budget.seconds_left() < keep_free,
            )
        seconds = time.monotonic() - start
        speed = f" at {drawn * len(inputs.train_labels) / seconds:,.0f} images/s" if drawn else ""
        there = [number for number in variants if cache.has_variant(its_bank.key, number)]
        missing = len(variants) - len(there)
        later = f", {missing} left for when they are needed" if missing else ""
        reporter.say(
            f"augmentation bank: {count_of(len(variants), 'variant')}, {drawn} drawn now in "
            f"{duration(seconds)}{speed}{later}"
        )
        if drawn:
            one_round = max(one_round, seconds / drawn * environment.usable_cores())
        if there and not folder.augmentation.is_file():
            shown = [cache.read_variant(its_bank.key, each) for each in there[:SAMPLED_VARIANTS]]
            picture = samples.augmentation_picture(inputs.train_images, inputs.train_labels, shown)
            files.write_bytes(folder.augmentation, picture)
    return one_round
