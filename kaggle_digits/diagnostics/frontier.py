"""Measures what every second buys: runs of several lengths, beside those of other recipes.

Each point is a run like any other, in a folder of its own, and resumed like any other.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.config import auto, loading
from kaggle_digits.config.schema import AUTO, Config
from kaggle_digits.data import sources
from kaggle_digits.data.digits import Digits, read_digits
from kaggle_digits.diagnostics.baselines import TRAINING_FLOPS
from kaggle_digits.errors import UserError
from kaggle_digits.report.frontier_tables import frontier_picture, frontier_tables
from kaggle_digits.results import frontier_record, record
from kaggle_digits.results.frontier_record import Frontier, FrontierPoint
from kaggle_digits.runs import pipeline
from kaggle_digits.runs.run import Run
from kaggle_digits.storage import files
from kaggle_digits.storage.frontier_folder import FrontierFolder
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training import machine_settings

KIT, DEOTTE, PLAIN = "kaggle-digits", "Deotte's net", "a plain Keras CNN"
OWN = "yours"
# All points have the same rows held out, are computed in the same precision, and have the same
# threads: a backend keeps those of its start.
COMMON = {
    "seed": 2026,
    "folds.kind": "stratified",
    "folds.count": 5,
    "folds.repeats": 1,
    "folds.holdout": 0.1,
}
OF_THE_MACHINE = ("threads", "precision")
# Less time than this is not worth to begin a point with.
POINT_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """A point that is to be measured; the attributes are those of `FrontierPoint`."""

    name: str
    system: str
    config: str
    overrides: tuple[str, ...] = ()


def _lengths(system: str, stem: str, config: str, epochs: Sequence[int]) -> list[Plan]:
    return [Plan(f"{stem}-{count}", system, config, (f"train.epochs={count}",)) for count in epochs]


# About in the order of their cost, so that a run that is stopped has a table of the cheap ones. All
# nets of Deotte's and of the plain CNN are alike: one for each fold.
POINTS = (
    *_lengths(PLAIN, "plain", "peers/five-fold-cnn", (2, 5, 10)),
    *_lengths(KIT, "quick", "quick", (2, 4)),
    Plan("quick", KIT, "quick"),
    *_lengths(DEOTTE, "deotte", "peers/deotte-15", (2, 5, 10)),
    Plan("lunch-break", KIT, "lunch-break"),
    *_lengths(DEOTTE, "deotte", "peers/deotte-15", (20,)),
    *_lengths(PLAIN, "plain", "peers/five-fold-cnn", (20,)),
    Plan("standard", KIT, "standard"),
    *_lengths(DEOTTE, "deotte", "peers/deotte-15", (45,)),
)


@dataclass(frozen=True)
class FrontierOptions:
    """The options of `kaggle-digits bench --frontier`.

    Attributes:
        data: see `sources.find_source`.
        out: the folder of all runs.
        own: a config of the user's own as a further point: its name and the config, whose seed,
            folds, threads and precision do not count; it may not look at the rows held out.
        plans: what is measured.
        how_to_continue: what people do after a stop.
    """

    data: Path | None
    out: Path
    own: tuple[str, Config] | None = None
    plans: tuple[Plan, ...] = POINTS
    how_to_continue: str = "repeat the command"


def run(options: FrontierOptions, reporter: Reporter, budget: TimeBudget) -> Frontier:
    """Run what is not finished yet, as far as the time goes, and show what there is.

    Args:
        options: what was asked for.
        reporter: where progress and the tables go.
        budget: the time there is.

    Returns:
        What was measured, also by earlier calls.

    Raises:
        Stopped: a signal came; nothing finished is lost.
        UserError: anything a person can fix; nothing finished is lost.
    """
    folder = FrontierFolder(options.out)
    wanted = [(plan, loading.load(plan.config, plan.overrides)) for plan in options.plans]
    if options.own:
        name, config = options.own
        if config.picks_on_heldout:
            raise UserError(
                f"{name}: its training looks at the rows that it holds out, so that its "
                "accuracy would not compare; train for a fixed number of epochs"
            )
        wanted.insert(0, (Plan(f"own-{name}", OWN, name), config))
    wanted = [(plan, comparable(config)) for plan, config in wanted]
    before = _read(folder)
    digits = read_digits(sources.find_source(options.data))
    is_refused = False
    plans = [*_earlier({plan.name for plan, _ in wanted}, before), *wanted]
    try:
        for number, (plan, config) in enumerate(wanted, 1):
            run_folder = RunFolder(folder.run(plan.name))
            if not _is_complete(run_folder, config, digits):
                if budget.seconds_left() < POINT_SECONDS:
                    break
                reporter.say(f"point {number} of {len(wanted)}: {plan.system}, {plan.name}")
                _run_point(plan, config, folder, options, reporter, budget.rest())
                if not _is_complete(run_folder, config, digits):
                    break  # the time is up
                before = None
                _write(folder, _measured(folder, plans, digits, before))
            folder.remove_cache(plan.name)
    except UserError:
        is_refused = True  # what other settings or data have given stays in the record
        raise
    finally:
        # Also where the next point ran out of time, or is refused.
        frontier = _measured(folder, plans, digits, before)
        if frontier.points:
            if not is_refused:
                _write(folder, frontier)
            reporter.show(frontier_tables(frontier))
            reporter.say(f"record and picture: {folder.record}, {folder.picture}", important=True)
    return frontier


def comparable(config: Config) -> Config:
    """Return a config with the seed, the folds, the threads and the precision of all points."""
    config = loading.changed(loading.without_tuning(config), COMMON)
    for key in OF_THE_MACHINE:
        config = auto.for_all_members(config, key, AUTO)
    return config


def _run_point(
    plan: Plan,
    config: Config,
    folder: FrontierFolder,
    options: FrontierOptions,
    reporter: Reporter,
    budget: TimeBudget,
) -> None:
    run_options = pipeline.RunOptions(
        config,
        plan.name,
        data=options.data,
        out=folder.run(plan.name),
        cache=folder.cache(plan.name),
        how_to_continue=options.how_to_continue,
        report=False,
    )
    pipeline.run(run_options, reporter, budget)


def _read(folder: FrontierFolder) -> Frontier | None:
    """Read what earlier calls measured; None: nothing yet.

    Raises:
        UserError: on another machine, whose times do not compare.
    """
    values = files.read_json(folder.record)
    if not values:
        return None
    before = record.from_json(Frontier, values, frontier_record.FORMAT, folder.record)
    there, here = (machine["processor"] for machine in (before.machine, environment.description()))
    if there != here:
        raise UserError(
            f"{folder.record}: measured on {there}, here it is {here}; such times do not compare, "
            "use another --out"
        )
    return before


def _earlier(names: Collection[str], before: Frontier | None) -> list[tuple[Plan, None]]:
    """Return further points of one's own, of earlier calls; their configs are not known."""
    return [
        (Plan(point.name, point.system, point.config, point.overrides), None)
        for point in (before.points if before else ())
        if point.system == OWN and point.name not in names
    ]


def _is_complete(folder: RunFolder, config: Config, digits: Digits) -> bool:
    """Return whether a point's run has ended; one of other settings or data is left to `run`."""
    return bool(files.read_json(folder.manifest).get("complete")) and _is_of(folder, config, digits)


def _is_of(folder: RunFolder, config: Config | None, digits: Digits) -> bool:
    """Return whether a run is of these data, and of these settings where they are known."""
    if files.read_json(folder.manifest).get("data") != digits.hashes:
        return False
    if config is None:
        return True
    there = Run(folder.folder).config
    begun = machine_settings.begun_with(there)
    wanted = machine_settings.as_begun(config, begun, asks=False)
    return not loading.differences(there, wanted)


def _measured(
    folder: FrontierFolder,
    plans: Sequence[tuple[Plan, Config | None]],
    digits: Digits,
    before: Frontier | None,
) -> Frontier:
    """Read what all points have come to so far; `before`: nothing was measured since."""
    runs = [(plan, config, RunFolder(folder.run(plan.name))) for plan, config in plans]
    points = [
        _point(plan, run)
        for plan, config, run in runs
        if run.predictions.is_file() and _is_of(run, config, digits)
    ]
    return Frontier(
        points=tuple(points),
        machine=environment.description(),
        data=digits.source,
        date=before.date if before else time.strftime("%Y-%m-%d"),
        demo_data=digits.demo,
    )


def _point(plan: Plan, folder: RunFolder) -> FrontierPoint:
    found = Run(folder.folder)
    table = found.oof[found.oof.predicted >= 0]
    by_fold = (table.predicted == table.label).groupby(table.fold).mean()
    facts = [folder.read_fit(*fit) for fit in folder.finished_fits()]
    metrics = found.metrics
    return FrontierPoint(
        **vars(plan),
        complete=metrics.complete,
        folds=len(by_fold),
        accuracy=float(by_fold.mean()),
        accuracy_std=float(by_fold.std()) if len(by_fold) > 1 else 0.0,
        errors=metrics.oof_errors,
        rows=metrics.oof_rows,
        seconds=metrics.wall_seconds - metrics.reporting_seconds,
        image_passes=sum(fact["train_images"] for fact in facts),
        training_flops=float(
            sum(TRAINING_FLOPS * fact["net"]["flops"] * fact["train_images"] for fact in facts)
        ),
    )


def _write(folder: FrontierFolder, frontier: Frontier) -> None:
    files.write_json(folder.record, record.to_json(frontier, frontier_record.FORMAT))
    if any(point.complete for point in frontier.points):
        files.write_bytes(folder.picture, frontier_picture(frontier))
