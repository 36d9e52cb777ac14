"""The order of the stages: from the competition's files to a checked submission."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from kaggle_digits import backend, bank, data, disk, fits, folds, store
from kaggle_digits.config import Config, dump
from kaggle_digits.errors import UserError
from kaggle_digits.progress import Reporter, duration
from kaggle_digits.results import Results

if TYPE_CHECKING:
    from kaggle_digits import train

PRACTICE_WARNING = (
    "PRACTICE DATA: the competition's files were not found, so this run uses scikit-learn's small "
    "digits. Its submission is NOT for upload. Get the real files from "
    "https://www.kaggle.com/competitions/digit-recognizer/data and give their folder or zip with "
    "--data."
)
SAMPLED_VARIANTS = 12  # in the picture of augmented samples


@dataclass(frozen=True)
class Request:
    """What a person asked for with `kaggle-digits run`.

    Attributes:
        config: the resolved config.
        name: the config's name, for the run folder.
        data: value of --data, or None.
        out: the run folder, or None: choose one under `root`.
        root: where run folders are made.
        cache: the cache folder.
    """

    config: Config
    name: str
    data: str | None
    out: Path | None
    root: Path
    cache: Path


def run(request: Request, reporter: Reporter) -> store.RunFolder:
    """Do the whole job; repeated, it reuses what is finished.

    Args:
        request: what was asked for.
        reporter: where progress goes.

    Returns:
        The run's folder with a checked `submission.csv`.

    Raises:
        UserError: anything a person can mend; nothing finished is lost.
    """
    start = time.monotonic()
    config = request.config
    backend_name = backend.name()
    source = data.find_source(config.data.path if request.data is None else request.data)
    if source.practice:
        reporter.say(PRACTICE_WARNING)
    cache = store.Cache(request.cache, notice=reporter.say)
    digits = data.load(source, cache.arrays)
    data.check_class_counts(digits.train_labels, config.folds.count, digits.source)
    inputs = fits.Inputs.of(digits.train_images, digits.train_labels, digits.test_images)
    folder = _choose_folder(request, digits, backend_name)
    with folder.locked():
        _run_in(folder, request, cache, digits, inputs, backend_name, start, reporter)
    return folder


def _run_in(
    folder: store.RunFolder,
    request: Request,
    cache: store.Cache,
    digits: data.Digits,
    inputs: fits.Inputs,
    backend_name: str,
    start: float,
    reporter: Reporter,
) -> None:
    """Do the job in a folder that no other process is at work in."""
    config = request.config
    split = _read_or_make_split(folder, inputs, config, reporter)
    specs = fits.plan(config, inputs, split, backend_name)
    _refuse_other_fits(folder, specs)
    todo = [spec for spec in specs if not _is_finished(folder, spec, reporter)]

    reporter.log_to(folder.log)
    reporter.say(
        f"data: {digits.source}: {len(inputs.train_labels):,} training rows, "
        f"{len(inputs.test_images):,} test rows, of which {digits.duplicates} also stand in train"
    )
    reporter.say(f"run folder: {folder.folder}")
    if len(todo) < len(specs):
        reporter.say(f"reused: {len(specs) - len(todo)} of {len(specs)} fits, finished earlier")
    for name in folder.changed_artefacts():
        reporter.say(f"differs from its checksum in manifest.json: {name}; it is made again")
    for spec in todo:
        folder.remove_fit(spec.member, spec.fold)  # what is left of a damaged one
    results = Results(folder, config, digits, specs, start)
    results.begin()
    metrics = {}
    if len(todo) < len(specs):
        metrics = results.update()  # whatever became of the summary files, they are true again
    if todo:
        inputs.put_into(cache)
        _fill_banks(folder, cache, inputs, todo, reporter)
        metrics = _train_fits(folder, cache, inputs, todo, results, metrics, reporter)
    reporter.show(_final_table(folder, metrics))
    if digits.practice:
        reporter.say(PRACTICE_WARNING)


def _choose_folder(request: Request, digits: data.Digits, backend_name: str) -> store.RunFolder:
    wanted = dump(request.config)

    def goes_on(folder: store.RunFolder) -> bool:
        manifest = disk.read_json(folder.manifest)
        same = manifest.get("data") == digits.hashes and manifest.get("backend") == backend_name
        unfinished = manifest.get("complete") is False
        return unfinished and same and folder.config.read_text() == wanted

    if request.out is None:
        return store.next_run_folder(request.root, request.name, goes_on)
    if request.out.exists() and not request.out.is_dir():
        raise UserError(f"--out {request.out}: expected a folder, found a file; give another path")
    folder = store.RunFolder(request.out)
    if not folder.is_ours():
        raise UserError(
            f"--out {request.out}: expected a new or empty folder, or one of a run, found other "
            "files, which a run might overwrite; give another path"
        )
    return folder


def _read_or_make_split(
    folder: store.RunFolder, inputs: fits.Inputs, config: Config, reporter: Reporter
) -> list[np.ndarray]:
    """Return the split that the run folder holds, if it is this run's, or make it."""
    try:
        saved = folder.read_folds()
    except disk.DamagedError as damage:
        reporter.say(f"damaged: {damage.path}: {damage.reason}; it is made again")
        saved = None
    if saved is not None:
        split = folds.from_assignment(saved["folds"])
        found = str(saved["labels"]), len(split), int(saved["seed"])
        if found == (disk.digest(inputs.train_labels), config.folds.count, config.seed):
            return split
    return folds.stratified(inputs.train_labels, config.folds.count, config.seed)


def _is_finished(folder: store.RunFolder, spec: fits.FitSpec, reporter: Reporter) -> bool:
    """Tell whether a fit is there and sound; one of another config or other data is an error."""
    try:
        facts = folder.read_fit(spec.member, spec.fold)
        if facts is None:
            return False
        fits.check_identity(spec, facts["identity"], str(folder.fit_folder(spec.member, spec.fold)))
        folder.read_fit_arrays(spec.member, spec.fold)
    except disk.DamagedError as damage:
        reporter.say(f"damaged: {damage.path}: {damage.reason}; {spec.name} is trained again")
        return False
    return True


def _refuse_other_fits(folder: store.RunFolder, specs: list[fits.FitSpec]) -> None:
    """Refuse a folder with finished fits that this run has no place for."""
    planned = {folder.fit_folder(spec.member, spec.fold).name for spec in specs}
    if others := [name for name in folder.finished_fits() if name not in planned]:
        raise UserError(
            f"{folder.fits / others[0]}: this fit belongs to another run, its member or fold is "
            "not in this config (members, folds.count); give another --out, or the config of that "
            "run"
        )


def _fill_banks(
    folder: store.RunFolder,
    cache: store.Cache,
    inputs: fits.Inputs,
    specs: list[fits.FitSpec],
    reporter: Reporter,
) -> None:
    """Draw what the fits will read; members with the same augmentation share a bank."""
    by_bank: dict[str, list[fits.FitSpec]] = {}
    for spec in specs:
        by_bank.setdefault(spec.bank_key, []).append(spec)
    for key, sharing in by_bank.items():
        start = time.monotonic()
        first = sharing[0]
        variants = max(spec.settings.augment.variants for spec in sharing)
        with reporter.bar(variants) as show:
            drawn = bank.fill(
                cache,
                key,
                inputs.train_images,
                first.settings.augment,
                first.seed,
                variants,
                listener=lambda done, total, show=show: show(done, f"augmentation {done}/{total}"),
            )
        seconds = time.monotonic() - start
        speed = f" at {drawn * len(inputs.train_labels) / seconds:,.0f} images/s" if drawn else ""
        reporter.say(
            f"augmentation bank: {variants} variants, {drawn} drawn now in {duration(seconds)}"
            f"{speed}"
        )
        if not folder.augmentation.is_file():
            shown = range(min(SAMPLED_VARIANTS, variants))
            _draw_samples(folder, inputs, [cache.read_variant(key, number) for number in shown])


def _draw_samples(folder: store.RunFolder, inputs: fits.Inputs, variants: list[np.ndarray]) -> None:
    """Save a picture: a line a digit, first as it came, then as the bank has it."""
    import cv2

    rows = [np.flatnonzero(inputs.train_labels == label)[:1] for label in range(10)]
    columns = [images[np.concatenate(rows)] for images in (inputs.train_images, *variants)]
    picture = 255 - np.concatenate(columns, axis=2).reshape(-1, 28 * len(columns))
    enlarged = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    disk.write_bytes(folder.augmentation, cv2.imencode(".png", enlarged)[1].tobytes())


def _train_fits(
    folder: store.RunFolder,
    cache: store.Cache,
    inputs: fits.Inputs,
    specs: list[fits.FitSpec],
    results: Results,
    metrics: dict,
    reporter: Reporter,
) -> dict:
    """Train the fits in order; return the metrics, which were `metrics`, after the last."""
    backend.configure(specs[0].settings.train.threads)  # first of all, for its start is quiet
    forecast = _Forecast(specs, len(inputs.train_labels))
    for spec in specs:
        accuracy = metrics.get("oof_accuracy")
        so_far = f", out-of-fold accuracy so far {accuracy:.5f}" if accuracy else ""

        def keep(state: train.State, spec: fits.FitSpec = spec) -> None:
            fits.save_state(folder, spec, state)
            results.note_seconds()

        with reporter.bar(100) as show:
            result = fits.run_fit(
                spec,
                inputs,
                cache,
                partial(_report, reporter, show, forecast, spec, so_far),
                state=_read_state(folder, spec, reporter),
                keep=keep,
            )
        fits.save_fit(folder, spec, result)
        metrics = results.update()
        own = metrics["members"][spec.member]["fits"][f"fold{spec.fold + 1}"]
        reporter.say(
            f"{spec.name} finished: {own['errors']} of {own['rows']} held-out rows wrong, accuracy "
            f"{own['accuracy']:.5f}, out-of-fold accuracy so far {metrics['oof_accuracy']:.5f}"
        )
    return metrics


def _read_state(
    folder: store.RunFolder, spec: fits.FitSpec, reporter: Reporter
) -> train.State | None:
    """Find out where a fit that was cut off goes on."""
    try:
        state = fits.load_state(folder, spec)
    except disk.DamagedError as damage:
        reporter.say(f"damaged: {damage.path}: {damage.reason}; {spec.name} starts over")
        return None
    if state:
        reporter.say(f"{spec.name} goes on after epoch {state.epochs}, saved before it was cut off")
    return state


def _report(
    reporter: Reporter,
    show: Callable[[float, str], None],
    forecast: _Forecast,
    spec: fits.FitSpec,
    so_far: str,
    epochs_done: float,
    entry: dict | None,
) -> None:
    """Tell of a step of a fit; `entry` is the history's line at the end of an epoch."""
    epochs = spec.settings.train.epochs
    share, speed, seconds_left = forecast.at(spec, epochs_done / epochs)
    left = f"{duration(seconds_left)} left" if speed else "time left not known yet"
    at = f"{spec.name}, epoch {math.ceil(epochs_done)}/{epochs}"
    show(100 * share, f"{at}{so_far}, {speed:,.0f} images/s, {left}")
    if entry:
        reporter.say(
            f"{at}: loss {entry['loss']:.4f}, training accuracy {entry['accuracy']:.4f}, "
            f"{entry['images_per_second']:,.0f} images/s, {left}"
        )


class _Forecast:
    """Forecasts how long the fits still take from the images that they have yet to see."""

    def __init__(self, specs: list[fits.FitSpec], rows: int) -> None:
        self._before: dict[str, float] = {}
        self._images: dict[str, float] = {}
        self._total = 0.0
        self._first: tuple[float, float] | None = None
        for spec in specs:
            images = (rows - len(spec.heldout_rows)) * spec.settings.train.epochs
            self._before[spec.name], self._images[spec.name] = self._total, images
            self._total += images

    def at(self, spec: fits.FitSpec, share: float) -> tuple[float, float, float]:
        """Look ahead when `share` of a fit is done.

        Returns:
            (share of all work done, images a second with all that is not training, seconds left).
        """
        now = time.monotonic()
        images = self._before[spec.name] + share * self._images[spec.name]
        # From the first call on: what an earlier process did took none of this one's time.
        start, images_before = self._first = self._first or (now, images)
        speed = (images - images_before) / max(now - start, 1e-9)
        left = (self._total - images) / speed if speed else 0.0
        return images / self._total, speed, left


def _final_table(folder: store.RunFolder, metrics: dict) -> Table:
    table = Table(title="Result", show_header=False)
    low, high = metrics["oof_interval"]
    table.add_row(
        "out-of-fold accuracy",
        f"{metrics['oof_accuracy']:.5f} ({metrics['oof_errors']} of {metrics['oof_rows']:,} wrong; "
        f"95 % interval {low:.5f} to {high:.5f})",
    )
    for name, member in metrics["members"].items():
        table.add_row(f"member {name}", f"{member['accuracy']:.5f} ({len(member['fits'])} fits)")
    if test := metrics.get("test"):
        table.add_row("test accuracy", f"{test['accuracy']:.5f} ({test['errors']} wrong)")
    low, high = metrics["expected_leaderboard"]
    table.add_row("expected leaderboard", f"{low:.5f} to {high:.5f} (95 %)")
    table.add_row("training speed", f"{metrics['images_per_second']:,.0f} images/s")
    table.add_row("wall time, all invocations", duration(metrics["wall_seconds"]))
    table.add_row("peak memory, main process", f"{metrics['peak_memory_bytes'] / 2**30:.2f} GiB")
    if metrics["practice_data"]:
        table.add_row("submission", "PRACTICE DATA, NOT FOR UPLOAD")
    table.add_row("submission file", str(folder.submission))
    table.add_row("everything else", f"{folder.folder}/ (metrics.json, manifest.json, fits/ ...)")
    return table
