"""The order of the stages: from the competition's files to a checked submission."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Table

from kaggle_digits.augmentation import bank
from kaggle_digits.config import loading
from kaggle_digits.config.loading import Config, dump
from kaggle_digits.data import digits_csv
from kaggle_digits.errors import UserError
from kaggle_digits.runs.fitting import START_SECONDS, Fitting, exit_seconds
from kaggle_digits.runs.summary import Results
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder, next_folder
from kaggle_digits.system.console import Reporter, duration
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training import backend, fit_spec, resume
from kaggle_digits.training import fit as fits

SAMPLED_VARIANTS = 12  # in the picture of augmented samples
# Of a time limit's rest, the part that drawing may take before training begins; the variants that
# are missing then are drawn when an epoch needs them.
BANK_SHARE = 0.5


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
        restart: delete what the run folder holds of an earlier run.
        allow_changed_versions: go on with other package versions.
    """

    config: Config
    name: str
    data: str | None
    out: Path | None
    root: Path
    cache: Path
    restart: bool = False
    allow_changed_versions: bool = False


def run(request: Request, reporter: Reporter, stop: TimeBudget) -> RunFolder:
    """Do the whole job; repeated, it reuses what is finished.

    Args:
        request: what was asked for.
        reporter: where progress goes.
        stop: the time there is.

    Returns:
        The run's folder with a checked `submission.csv`.

    Raises:
        Stopped: a signal came; nothing finished is lost.
        UserError: anything a person can mend; nothing finished is lost.
    """
    config = loading.without_tuning(request.config)
    request = replace(request, config=config)
    if request.restart:
        stop.advice = "repeat the command without --restart"
    backend_name = backend.name()
    cache = Cache(request.cache, notice=reporter.say)
    digits = resume.load_digits(config, request.data, cache, reporter)
    inputs = fit_spec.Inputs.of(digits.train_images, digits.train_labels, digits.test_images)
    folder = _choose_folder(request, digits, backend_name)
    with folder.locked():
        if request.restart:
            folder.clear()
        _run_in(folder, request, cache, digits, inputs, backend_name, stop, reporter)
    return folder


def _run_in(
    folder: RunFolder,
    request: Request,
    cache: Cache,
    digits: digits_csv.Digits,
    inputs: fit_spec.Inputs,
    backend_name: str,
    stop: TimeBudget,
    reporter: Reporter,
) -> None:
    """Do the job in a folder that no other process is at work in."""
    config = request.config
    split = resume.read_or_make_split(folder, inputs.train_labels, config, reporter)
    planned = fit_spec.plan(config, inputs, split, backend_name)
    statuses = resume.scan_fits(folder, planned, reporter, request.allow_changed_versions)
    resume.check_environment(folder, statuses, request.allow_changed_versions, reporter)
    todo = [standing.spec for standing in statuses if standing.to_do]
    finished = sum(standing.finished for standing in statuses)
    skipped = {each.spec.name: each.skipped for each in statuses if each.skipped}

    reporter.log_to(folder.log)
    reporter.say(
        f"data: {digits.source}: {len(inputs.train_labels):,} training rows, "
        f"{len(inputs.test_images):,} test rows, of which {digits.duplicates} also stand in train"
    )
    reporter.say(f"run folder: {folder.folder}")
    if finished:
        reporter.say(
            f"reused: {finished} of {len(planned)} fits, finished earlier with the same "
            "settings and data"
        )
    for name, reason in skipped.items():
        reporter.say(f"WARNING: {name} is left out: {reason}, in its last attempt too")
    for name in folder.changed_artefacts():
        reporter.say(f"differs from its checksum in manifest.json: {name}; it is made again")
    for spec in todo:
        folder.remove_fit(spec.member, spec.fold)  # what is left of a damaged one
    results = Results(folder, config, digits, [each.spec for each in statuses], skipped, stop)
    earlier = {} if finished else results.earlier_provisional()
    folder.note_reported(False)
    results.begin()
    # Whatever became of the summary files, they are true again.
    metrics = results.update() if finished or not todo else earlier
    if todo:
        inputs.put_into(cache)
        draw_seconds = _fill_banks(folder, cache, inputs, todo, stop, reporter)
        # What is drawn is kept: where no time is left to train, the next invocation has more.
        if stop.seconds_left() > START_SECONDS + exit_seconds(stop):
            fitting = Fitting(folder, cache, inputs, results, metrics, draw_seconds, stop, reporter)
            fitting.end_in_time()
            todo = fitting.run(todo)
            metrics = fitting.metrics
        if not todo and not metrics.get("fits_finished"):
            results.update()  # says that all fits were sick
    if not metrics:
        raise UserError(
            f"--time-limit: {duration(stop.limit)} are too short for a first submission; what is "
            f"done is kept, {stop.advice} with more time"
        )
    if todo:
        reporter.say(_what_is_left(todo, folder, stop))
    if not folder.submission.is_file():
        raise UserError(
            f"{folder.folder}: no submission yet, the answer of {metrics['fits_finished']} of "
            f"{metrics['fits_planned']} fits is not sane; {stop.advice} to go on"
        )
    reporter.show(_final_table(folder, metrics))
    if digits.demo:
        reporter.say(resume.DEMO_WARNING)
    if metrics["complete"]:
        folder.note_reported(True)


def _what_is_left(todo: list[fit_spec.FitSpec], folder: RunFolder, stop: TimeBudget) -> str:
    try:
        state = fits.read_state_facts(folder, todo[0].member, todo[0].fold)
    except files.DamagedError:
        state = None  # the fit's next process tells of it
    saved = f" ({state['epochs']} of {todo[0].settings.train.epochs} epochs saved)" if state else ""
    names = ", ".join([todo[0].name + saved, *(spec.name for spec in todo[1:])])
    return (
        f"time limit of {duration(stop.limit)}: ended after {duration(stop.seconds())}; left out "
        f"for now: {names}; {stop.advice} to go on"
    )


def _choose_folder(request: Request, digits: digits_csv.Digits, backend_name: str) -> RunFolder:
    wanted = dump(request.config).encode()

    def goes_on(folder: RunFolder) -> bool:
        if not folder.holds_config(wanted):
            return folder.is_new()
        manifest = files.read_json(folder.manifest)
        if not manifest:
            return True  # damaged; the fits have identities of their own, which are looked at
        same = manifest.get("data") == digits.hashes and manifest.get("backend") == backend_name
        # A complete run whose result nobody has seen was stopped in its last moment.
        return same and not (manifest.get("complete") and folder.was_reported())

    if request.out is None:
        chosen = next_folder(request.root, request.name, lambda path: goes_on(RunFolder(path)))
        return RunFolder(chosen)
    if request.out.exists() and not request.out.is_dir():
        raise UserError(f"--out {request.out}: expected a folder, found a file; give another path")
    folder = RunFolder(request.out)
    if not folder.is_ours():
        raise UserError(
            f"--out {request.out}: expected a new or empty folder, or one of a run, found other "
            "files, which a run might overwrite; give another path"
        )
    return folder


def _fill_banks(
    folder: RunFolder,
    cache: Cache,
    inputs: fit_spec.Inputs,
    specs: list[fit_spec.FitSpec],
    stop: TimeBudget,
    reporter: Reporter,
) -> float:
    """Draw what the fits will read; members with the same augmentation share a bank.

    Returns:
        What drawing the next variants would take at most, if some are missing yet, seconds.
    """
    by_bank: dict[str, list[fit_spec.FitSpec]] = {}
    for spec in specs:
        by_bank.setdefault(spec.bank_key, []).append(spec)
    keep_free = BANK_SHARE * stop.seconds_left()
    one_round = START_SECONDS
    for key, sharing in by_bank.items():
        start = time.monotonic()
        first = sharing[0]
        # Those first that are needed first.
        epochs = [(spec, epoch) for spec in sharing for epoch in range(spec.settings.train.epochs)]
        variants = list(dict.fromkeys(spec.variant_of_epoch(epoch) for spec, epoch in epochs))
        with reporter.bar(len(variants)) as show:
            drawn = bank.fill(
                cache,
                key,
                inputs.train_images,
                first.settings.augment,
                first.seed,
                variants,
                listener=lambda done, total, show=show: show(done, f"augmentation {done}/{total}"),
                stop=lambda: stop.limit is not None and stop.seconds_left() < keep_free,
            )
        seconds = time.monotonic() - start
        speed = f" at {drawn * len(inputs.train_labels) / seconds:,.0f} images/s" if drawn else ""
        missing = sum(not cache.has_variant(key, number) for number in variants)
        later = f", {missing} left for when they are needed" if missing else ""
        reporter.say(
            f"augmentation bank: {len(variants)} variants, {drawn} drawn now in "
            f"{duration(seconds)}{speed}{later}"
        )
        if drawn:
            one_round = max(one_round, seconds / drawn * (os.cpu_count() or 1))
        shown = [number for number in variants[:SAMPLED_VARIANTS] if cache.has_variant(key, number)]
        if shown and not folder.augmentation.is_file():
            _draw_samples(folder, inputs, [cache.read_variant(key, number) for number in shown])
    return one_round


def _draw_samples(folder: RunFolder, inputs: fit_spec.Inputs, variants: list[np.ndarray]) -> None:
    """Save a picture: a line a digit, first as it came, then as the bank has it."""
    import cv2

    rows = [np.flatnonzero(inputs.train_labels == label)[:1] for label in range(10)]
    columns = [images[np.concatenate(rows)] for images in (inputs.train_images, *variants)]
    picture = 255 - np.concatenate(columns, axis=2).reshape(-1, 28 * len(columns))
    enlarged = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    files.write_bytes(folder.augmentation, cv2.imencode(".png", enlarged)[1].tobytes())


def _final_table(folder: RunFolder, metrics: dict) -> Table:
    table = Table(title="Result", show_header=False)
    if metrics["provisional"]:
        table.add_row(
            "PROVISIONAL",
            f"from {metrics['provisional_fit']}, which is not finished; no out-of-fold figure yet",
        )
    else:
        low, high = metrics["oof_interval"]
        table.add_row(
            "out-of-fold accuracy",
            f"{metrics['oof_accuracy']:.5f} ({metrics['oof_errors']} of {metrics['oof_rows']:,} "
            f"wrong; 95 % interval {low:.5f} to {high:.5f})",
        )
        if metrics["optimistic"]:
            table.add_row("OPTIMISTIC", "a search chose these settings by the same rows")
        if untouched := metrics["untouched"]:
            low, high = untouched["interval"]
            table.add_row(
                "on rows the search left untouched",
                f"{untouched['accuracy']:.5f} ({untouched['errors']} of {untouched['rows']:,} "
                f"wrong; 95 % interval {low:.5f} to {high:.5f})",
            )
        for name, member in metrics["members"].items():
            table.add_row(
                f"member {name}", f"{member['accuracy']:.5f} ({len(member['fits'])} fits)"
            )
    if test := metrics.get("test"):
        table.add_row("test accuracy", f"{test['accuracy']:.5f} ({test['errors']} wrong)")
    if not metrics["provisional"]:
        low, high = metrics["expected_leaderboard"]
        table.add_row("expected leaderboard", f"{low:.5f} to {high:.5f} (95 %)")
        table.add_row("training speed", f"{metrics['images_per_second']:,.0f} images/s")
    if not metrics["complete"]:
        table.add_row(
            "fits finished", f"{metrics['fits_finished']} of {metrics['fits_planned']} so far"
        )
    for name, reason in metrics["skipped"].items():
        table.add_row("WARNING: left out", f"{name}: {reason}")
    table.add_row("wall time, all invocations", duration(metrics["wall_seconds"]))
    table.add_row(
        "of it saving, hashing, syncing",
        f"{metrics['saving_seconds']:.1f} s ({100 * metrics['saving_share']:.1f} %)",
    )
    table.add_row("peak memory, main process", f"{metrics['peak_memory_bytes'] / 2**30:.2f} GiB")
    if metrics["demo_data"]:
        table.add_row("submission", "DEMO DATA, NOT FOR UPLOAD")
    table.add_row("submission file", str(folder.submission))
    table.add_row("everything else", f"{folder.folder}/ (metrics.json, manifest.json, fits/ ...)")
    return table
