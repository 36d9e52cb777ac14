"""The stages of a run in their order: from the competition's files to a checked submission."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data.digits import Digits, load_digits
from kaggle_digits.errors import UserError
from kaggle_digits.report import run_tables
from kaggle_digits.results.joined import refuse_joined
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import figures, preparation, summary
from kaggle_digits.runs.costs import Clock
from kaggle_digits.runs.figures import RunPlan
from kaggle_digits.runs.progress import RunProgress, fraction_done, what_is_left
from kaggle_digits.runs.report_schedule import Reports
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.locked_folder import next_folder
from kaggle_digits.storage.run_folder import SUBMISSIONS, RunFolder
from kaggle_digits.system.console import Reporter, duration
from kaggle_digits.system.time_budget import START_SECONDS, TimeBudget, end_process
from kaggle_digits.training import (
    advice,
    backend,
    engine,
    fit,
    fit_spec,
    machine_settings,
    resume,
    user_callbacks,
)
from kaggle_digits.training.engine import EngineOptions, FitOutcome, Workplace
from kaggle_digits.training.fit_spec import Inputs
from kaggle_digits.training.resume import FitStatus, RunState

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class RunOptions:
    """The options of `kaggle-digits run`, of `extend`, and of the Python function `run`.

    Attributes:
        config: the config; what is `auto` in it is settled when the folder is known.
        name: the config's name, for the run folder and the manifest.
        data: see `sources.find_source`; None: search for the competition's files.
        out: the run folder; None: choose one under `root`.
        cache: the cache folder.
        root: where run folders are made.
        restart: delete what the run folder holds of an earlier run.
        allow_changed_versions: continue with other package versions.
        allow_leak: accept test rows that are also in the training data.
        callbacks: factories of Keras callbacks beside those that the config names.
        how_to_continue: what people do after a stop.
        report: make the report of the run, see `reporting`.
    """

    config: Config
    name: str
    data: Path | None
    out: Path | None
    cache: Path
    root: Path = SUBMISSIONS
    restart: bool = False
    allow_changed_versions: bool = False
    allow_leak: bool = False
    callbacks: tuple[Callable[[], keras.callbacks.Callback], ...] = ()
    how_to_continue: str = "repeat the command"
    report: bool = True


@dataclass(frozen=True, eq=False)
class _Job:
    """What all stages of a run read."""

    folder: RunFolder
    plan: RunPlan
    cache: Cache
    options: RunOptions
    budget: TimeBudget
    reporter: Reporter
    clock: Clock
    reports: Reports


def run(options: RunOptions, reporter: Reporter, budget: TimeBudget) -> RunFolder:
    """Do the whole job; repeated, it reuses what is finished.

    Args:
        options: what was asked for.
        reporter: where progress goes.
        budget: the time there is.

    Returns:
        The run's folder with a checked `submission.csv`.

    Raises:
        Stopped: a signal came; nothing finished is lost.
        UserError: anything a person can fix; nothing finished is lost.
    """
    with _planned(options, reporter, budget) as (job, notes):
        _run_in(job, notes)
    return job.folder


def prepare(options: RunOptions, reporter: Reporter, budget: TimeBudget) -> RunFolder:
    """Do what comes before the first fit: check the data, split it, draw the augmented images.

    `run` with the same options goes on from there.

    Args:
        options: see `run`.
        reporter: see `run`.
        budget: see `run`.

    Returns:
        The run's folder, in which a run has begun.

    Raises:
        Stopped: see `run`.
        UserError: see `run`.
    """
    with _planned(options, reporter, budget) as (job, notes):
        state, _ = _begin(job, notes)
        with job.clock.timed("drawing"):
            preparation.fill_banks(job.plan, state.to_do, job.folder, job.cache, budget, reporter)
        job.clock.note()
    return job.folder


@contextmanager
def _planned(
    options: RunOptions, reporter: Reporter, budget: TimeBudget
) -> Iterator[tuple[_Job, list[str]]]:
    """Load the data and plan the run, in a folder that no other process works in meanwhile.

    Yields:
        The job, and lines for people on it.
    """
    saved_before = files.io_seconds()
    config = loading.without_tuning(options.config)
    callback_names = (*config.callbacks, *map(_name_of, options.callbacks))
    own = (user_callbacks.checked(_name_of(each), each) for each in options.callbacks)
    factories = (*user_callbacks.load(config.callbacks), *own)
    options = replace(options, config=config, callbacks=factories)
    backend_name = backend.name()
    cache = Cache(options.cache, notice=reporter.say)
    given = config.data.path if options.data is None else options.data
    digits = load_digits(given, config.folds, cache, reporter.say)
    digits.refuse_leak(allowed=options.allow_leak)
    folder = _choose_folder(options, digits, backend_name)
    with folder.locked():
        if options.restart:
            folder.clear()
        refuse_joined(folder)
        notes = []
        begun = preparation.begun_with(folder, preparation.config_begun(folder))
        config = machine_settings.resolved(config, begun, "run", notes.append)
        options = replace(options, config=config)
        notes += loading.capped_warmups(config)
        inputs = Inputs(digits.train_images, digits.train_labels, digits.test_images)
        split, split_notes = resume.read_or_make_split(
            folder, inputs.train_labels, config.folds, config.seed
        )
        plan = RunPlan(
            config,
            digits,
            inputs,
            split,
            specs=fit_spec.plan(config, inputs, split, backend_name),
            callbacks=callback_names,
            config_name=options.name,
        )
        clock, notes = Clock(folder, budget, saved_before), [*notes, *split_notes]
        reports = Reports(folder, digits, budget, clock, reporter.say, options.report)
        yield _Job(folder, plan, cache, options, budget, reporter, clock, reports), notes


def _name_of(factory: Callable) -> str:
    return getattr(factory, "__qualname__", type(factory).__qualname__)


def _choose_folder(options: RunOptions, digits: Digits, backend_name: str) -> RunFolder:
    def continues_in(path: Path) -> bool:
        folder = RunFolder(path)
        if not folder.may_be_used():
            return False
        manifest = files.read_json(folder.manifest)
        if not manifest and not folder.has_config():
            return folder.is_new()
        # A complete run whose result nobody has seen was stopped in its last moment.
        if manifest.get("complete") and folder.was_reported():
            return False
        return preparation.is_same_run(folder, options.config, digits, backend_name)

    if options.out is None:
        return RunFolder(next_folder(options.root, options.name, continues_in))
    folder = RunFolder(options.out)
    folder.check_usable()
    return folder


def _run_in(job: _Job, notes: list[str]) -> None:
    """Do the job in a folder that no other process works in."""
    state, metrics = _begin(job, notes)
    with ExitStack() as until_the_end:
        _train_and_report(job, state, metrics, until_the_end)


def _begin(job: _Job, notes: list[str]) -> tuple[RunState, RunMetrics | None]:
    """Write what is known before the first fit, and make the summary of finished ones true."""
    folder, plan = job.folder, job.plan
    state, before = _scan(job, notes), folder.digest_of_result()
    resume.clear_leftovers(folder, state)
    metrics = None if state.finished else summary.earlier_provisional(folder, state)
    folder.note_reported(False)
    summary.begin(folder, plan, state)
    if state.finished or state.is_complete:
        # Whatever became of the summary files, they are true again.
        metrics = summary.update(folder, plan, state, job.clock)
    if state.to_do or folder.digest_of_result() != before:
        job.reports.discard()
    return state, metrics


def _train_and_report(
    job: _Job, state: RunState, metrics: RunMetrics | None, until_the_end: ExitStack
) -> None:
    """Do what is left as far as the time goes, and show what the run has come to."""
    folder, plan, say = job.folder, job.plan, job.reporter.say
    if state.to_do:
        machine_settings.start_backend(plan.config, job.reporter)
        is_limited, rows = job.budget.limit is not None, len(plan.inputs.train_labels)
        for line in advice.warnings(state.to_do, rows, is_limited):
            say(line)
        with job.clock.timed("drawing"):
            draw_seconds = preparation.fill_banks(
                plan, state.to_do, folder, job.cache, job.budget, job.reporter
            )
        # What is drawn is kept: where no time is left to train, the next invocation has more.
        if job.budget.seconds_left() > START_SECONDS + job.budget.exit_seconds():
            until_the_end.enter_context(job.budget.enforced(lambda: _leave(job)))
            state, metrics = _run_fits(job, state, metrics, draw_seconds)
    if metrics is None:
        raise UserError(
            f"--time-limit: {duration(job.budget.limit)} is too short for a first submission; what "
            f"is done is kept, {job.options.how_to_continue} with more time"
        )
    if state.to_do:
        left = what_is_left(state.to_do, folder, job.budget, job.options.how_to_continue)
        job.reporter.say(left, important=True)
    if not folder.submission.is_file():
        raise UserError(
            f"{folder.folder}: no submission yet, the predictions of {metrics.fits_finished} of "
            f"{metrics.fits_planned} fits are not sane; {job.options.how_to_continue} to continue"
        )
    with job.reporter.bar(1, "making the report"):
        report = job.reports.at_end()
    how_to_continue = job.options.how_to_continue
    job.reporter.show(
        run_tables.run_result(metrics, folder.folder, folder.submission, how_to_continue, report)
    )
    if metrics.complete:
        folder.note_reported(True)


def _scan(job: _Job, notes: list[str]) -> RunState:
    """Find out how far the run is, begin its log and say what is there already."""
    folder, plan, say = job.folder, job.plan, job.reporter.say
    allow_changed = job.options.allow_changed_versions
    state = resume.scan_fits(folder, plan.specs, allow_changed)
    warnings = resume.check_environment(folder, state.fits, allow_changed)
    job.reporter.log_to(folder.log)
    if plan.digits.warning:
        say(plan.digits.warning)
    say(
        f"data: {plan.digits.source}: {len(plan.inputs.train_labels):,} training rows, "
        f"{plan.duplicates_across_folds} of them duplicates across folds; "
        f"{len(plan.inputs.test_images):,} test rows, {plan.digits.leaked_rows} also in train"
    )
    if split := plan.unusual_split:
        say(f"split: {split}")
    say(f"run folder: {folder.folder}")
    for note in (*notes, *state.notes, *warnings):
        say(note)
    if plan.callbacks:
        say(
            f"callbacks: {', '.join(plan.callbacks)}; they are no part of a fit's identity, so "
            "finished fits are reused whether or not they had them"
        )
    if state.finished:
        say(
            f"reused: {len(state.finished)} of {len(state.fits)} fits, finished earlier with the "
            "same settings and data"
        )
    for name, reason in state.skipped.items():
        say(f"WARNING: {name} is skipped: it diverged in its last attempt too ({reason})")
    for name in folder.changed_artefacts():
        say(f"differs from its checksum in manifest.json: {name}; it is made again")
    return state


def _run_fits(
    job: _Job, state: RunState, metrics: RunMetrics | None, draw_seconds: float
) -> tuple[RunState, RunMetrics | None]:
    """Run the fits that are to do, and update the summary after each."""
    engine_options = EngineOptions(
        reserve=job.budget.exit_seconds(),
        has_result=bool(state.finished),
        provisional_epochs=metrics.provisional_epochs if metrics else 0.0,
        draw_seconds=draw_seconds,
        callbacks=job.options.callbacks,
    )
    workplace = Workplace(job.folder, job.cache)
    done = fraction_done(state.to_do, state.specs, len(job.plan.inputs.train_labels))
    with job.reporter.bar(100, f"{state.to_do[0].name}: compiling") as show:
        show(100 * done, f"{state.to_do[0].name}: compiling")
        events = RunProgress(job.reporter, show, job.budget, job.clock, done)
        events.metrics = metrics
        outcomes = engine.run(
            state.to_do, job.plan.inputs, workplace, job.budget, events, engine_options
        )
        with closing(outcomes):
            for outcome in outcomes:
                with fit.memory_errors_explained(outcome.spec):
                    state, events.metrics = _take(job, state, events.metrics, outcome)
                job.reports.after_fit(is_last=not state.to_do)
                job.clock.note()  # also where an outcome changes no figure
    if state.is_complete and not state.finished:
        summary.update(job.folder, job.plan, state, job.clock)  # says that all have diverged
    return state, events.metrics


def _take(
    job: _Job, state: RunState, metrics: RunMetrics | None, outcome: FitOutcome
) -> tuple[RunState, RunMetrics | None]:
    """Write what a fit's outcome changes."""
    spec, say = outcome.spec, job.reporter.say
    if outcome.status == "unfinished":
        state = state.with_fit(FitStatus(spec))
        if outcome.provisional is None:
            return state, metrics
        test, epochs = outcome.provisional.test, outcome.provisional.epochs
        if problem := summary.why_no_submission(job.plan, test):
            say(f"no provisional submission yet: {problem}")
            return state, metrics
        found = figures.summarise_provisionally(job.plan, state, spec, test, epochs)
        summary.write_submission(job.folder, job.plan, test)
        metrics = summary.write_metrics(job.folder, job.plan, state, job.clock, found)
        say(f"provisional submission: from {spec.name}, which is not finished")
        return state, metrics
    if outcome.status == "skipped":
        state = state.with_fit(FitStatus(spec, skipped=outcome.reason))
        say(
            f"WARNING: {spec.name} is skipped: it diverged in its last attempt too "
            f"({outcome.reason})"
        )
        if state.finished:
            metrics = summary.update(job.folder, job.plan, state, job.clock)
        return state, metrics
    state = state.with_fit(FitStatus(spec, finished=True))
    metrics = summary.update(job.folder, job.plan, state, job.clock)
    own = metrics.members[spec.member].fits[f"fold{spec.fold + 1}"]
    if own is None:
        say(f"{spec.name} finished: trained on all {metrics.train_rows:,} rows, no rows held out")
        return state, metrics
    covered = f", {metrics.rows_covered}" if job.plan.unusual_split and metrics.rows_covered else ""
    say(
        f"{spec.name} finished: {own.errors:,} of {own.rows:,} held-out rows wrong, accuracy "
        f"{own.accuracy:.5f}, out-of-fold accuracy so far {metrics.oof_accuracy:.5f}{covered}"
    )
    return state, metrics


def _leave(job: _Job) -> None:
    """End the process in time, whatever its main thread is doing; all that counts is saved."""
    if not job.folder.submission.is_file():
        return
    job.reporter.say(
        f"time limit of {duration(job.budget.limit)}: ended in the middle of a step; what is "
        f"finished is in the submission, whole epochs are saved; {job.options.how_to_continue} to "
        "continue",
        important=True,
    )
    sys.stdout.flush()
    end_process(0)
