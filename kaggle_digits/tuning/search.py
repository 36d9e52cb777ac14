"""The stages of a search in their order: space -> trials -> holdout check -> best.yaml."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data import folds
from kaggle_digits.data.digits import load_digits
from kaggle_digits.errors import UserError
from kaggle_digits.report import search_page, search_tables, tensorboard
from kaggle_digits.results.search_records import HoldoutComparison, SearchRecord
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.system.console import Reporter, count_of, duration
from kaggle_digits.system.time_budget import (
    RESERVE_FRACTION,
    SEARCH_EXIT_SECONDS,
    Stopped,
    TimeBudget,
)
from kaggle_digits.training import advice, backend, machine_settings, user_callbacks
from kaggle_digits.training.fit_spec import Inputs
from kaggle_digits.tuning import chief_worker, details, holdout_check, space
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.search_plan import (
    SearchJob,
    TuneOptions,
    as_begun,
    begin,
    check_save,
    check_searchable,
    choose_folder,
    for_best,
    rows_of_search,
)
from kaggle_digits.tuning.trial import TrialEvaluator
from kaggle_digits.tuning.trial_fits import (
    SearchProgress,
    TimeLimitReached,
    TrialFailed,
    TrialFits,
)

if TYPE_CHECKING:
    import keras_tuner


def tune(options: TuneOptions, reporter: Reporter, budget: TimeBudget) -> SearchFolder:
    """Search, check and export; repeated, it continues where it was.

    However often it is interrupted, a search in one process ends with the same trials and the same
    `best.yaml`, unless `max_seconds_per_fit` is given: what is too slow depends on the machine's
    load. With several workers the trials depend on the order in which the earlier ones end.

    Args:
        options: what was asked for.
        reporter: where progress goes.
        budget: the time there is.

    Returns:
        The search's folder with `best.yaml`.

    Raises:
        Stopped: a signal came; nothing finished is lost.
        UserError: anything a person can fix; nothing finished is lost.
    """
    config = options.config
    cluster = chief_worker.from_environment()
    check_searchable(options)
    search_space = space.from_config(config)
    check_save(options.save)
    for each in (config, *options.against.values()):
        user_callbacks.load(each.callbacks)  # one that cannot be imported is refused now
    cache = Cache(options.cache, notice=reporter.say)
    given = config.data.path if options.data is None else options.data
    digits = load_digits(given, config.folds, cache, reporter.say)
    folder = choose_folder(options, digits)
    if digits.warning:
        reporter.say(digits.warning)
    job = SearchJob(options, config, search_space, digits, folder, cache, cluster, budget, reporter)
    if cluster and not cluster.is_chief:
        Search(job).run_worker()
        return folder
    with folder.locked():
        job = begin(job)
        for line in loading.capped_warmups(job.config):
            reporter.say(line)
        reporter.log_to(folder.log)
        Search(job).run_chief()
    return folder


class Search:
    """One process of a search, be it all of it, its chief, or a worker.

    Args:
        job: what it works on.
    """

    def __init__(self, job: SearchJob) -> None:
        self._job = job
        self._folder, self._budget, self._reporter = job.folder, job.budget, job.reporter
        labels = job.digits.train_labels
        self._split = folds.stratified(labels, self._config.folds.count, self._config.seed)
        self._oracle: keras_tuner.Oracle | None = None
        self._progress = SearchProgress(job.reporter)
        self._check: HoldoutComparison | None = None
        self._against: dict[str, HoldoutComparison] = {}
        self._seen = self.record()
        self._check_seconds = self._forecast_check()

    @property
    def _config(self) -> Config:
        return self._job.config

    # What each process does

    def run_chief(self) -> None:
        """Give out trials (and, alone, evaluate them), then check and export the best."""
        tune = self._config.tune
        for line in details.what_is_searched(self._job):
            self._reporter.say(line)
        machine_settings.start_backend(self._config, self._reporter)
        from kaggle_digits.tuning import oracles

        self._oracle = oracles.make(
            tune.oracle,
            self._job.objective,
            self._job.space.hyperparameters(),
            self._job.max_trials,
            self._job.folds,
            tune.num_initial_points or len(self._job.space.parameters) + 1,
            self._config.seed,
        )
        oracles.load(self._oracle, self._folder.oracle)
        if ended := len(self._oracle.end_order):
            self._reporter.say(f"reused: {count_of(ended, 'trial')}, ended earlier")
        complete = True
        try:
            with self._reporter.live(self._table):
                # What is kept free of a time limit is the check's.
                for stage in (
                    self._give_trials,
                    lambda: self._export(self.record()),
                    self._make_checks,
                ):
                    try:
                        stage()
                    except TimeLimitReached:
                        complete = False
        except Stopped:
            self._write_record(complete=False)
            raise
        if not complete:
            self._reporter.say(
                f"time limit of {duration(self._budget.limit)}: ended after "
                f"{duration(self._budget.seconds())}; {self._job.options.how_to_continue} to "
                "continue",
                important=True,
            )
        record = self._write_record(complete)
        folder, command = self._folder, details.next_command(self._job)
        self._reporter.show(search_tables.search_result(record, command, folder.best, folder.page))
        if not record.best():
            reasons = [trial.reason for trial in record.trials if trial.reason]
            why = f" (the first: {reasons[0]})" if reasons else ""
            raise UserError(
                f"{folder.folder}: no trial has come to its end yet{why}; repeat with more "
                "time, or with another tune.space and --out"
            )

    def _table(self) -> object:
        detail = f": {self._progress.detail}" if self._progress.detail else ""
        return search_tables.SearchProgress(self._seen, f"{self._progress.stage}{detail}")

    def _give_trials(self) -> None:
        from kaggle_digits.tuning import oracles

        if self._job.cluster:
            oracles.serve(self._oracle, self._job.cluster, self._watch_workers)
        else:
            self._evaluate_trials()

    def run_worker(self) -> None:
        """Evaluate trials that the chief gives out."""
        cluster = self._job.cluster
        self._reporter.say(f"worker {cluster.tuner} of the chief at {cluster.address}")
        backend.load()

        def check() -> None:
            if not self._folder.identity.is_file():
                raise UserError(
                    f"{self._folder.folder}: expected the chief's search folder, found none; give "
                    "chief and workers the same --out, on a disk that all of them see"
                )
            self._job = as_begun(self._job)
            machine_settings.start_backend(self._config, self._reporter)

        def watch() -> None:
            if self._budget.seconds_left() < SEARCH_EXIT_SECONDS:
                raise TimeLimitReached

        try:
            self._evaluate_trials(check, watch)
        except TimeLimitReached:
            self._reporter.say(
                f"time limit of {duration(self._budget.limit)}: this worker ended; start it again "
                "with its KERASTUNER_TUNER_ID to continue its trial",
                important=True,
            )

    def _watch_workers(self) -> None:
        self._report_news()
        at_work = count_of(len(self._oracle.ongoing_trials), "worker")
        self._progress.begin(f"{at_work} at work")
        if self._budget.seconds_left() < self._reserve():
            raise TimeLimitReached

    def _evaluate_trials(
        self, check: Callable[[], None] = lambda: None, watch: Callable[[], None] = lambda: None
    ) -> None:
        from kaggle_digits.tuning import oracles

        options, tune = self._job.options, self._config.tune
        rows, split = rows_of_search(
            self._job.digits.train_labels,
            self._split,
            tune.holdout_folds,
            tune.row_fraction,
            self._config.seed,
        )
        is_worker = self._oracle is None
        reserve = (lambda: SEARCH_EXIT_SECONDS) if is_worker else self._reserve  # it has no check
        fits = replace(
            self._fits(rows, split, reserve), seconds_per_fit=options.max_seconds_per_fit
        )

        if not is_worker:
            specs = [spec for fold in fits.plan(self._config, range(len(split))) for spec in fold]
            times = (self._job.max_trials or 1) * tune.epoch_fraction
            is_limited = self._budget.limit is not None
            for line in advice.warnings(specs, len(rows), is_limited, times):
                self._reporter.say(line)

        @cache  # a worker has its threads and precision not before the chief answers
        def evaluator() -> TrialEvaluator:
            return TrialEvaluator(self._folder, self._config, fits, options.max_parameters)

        def evaluate(trial: str, values: dict[str, Any]) -> float:
            self._progress.begin(f"trial {trial}")
            planned = values.get("tuner/epochs", self._job.folds)
            results = evaluator().evaluate(trial, self._job.space.decode(values), planned)
            with closing(results):
                for each in results:
                    result = each
                    self._report_news()
            if result.status in ("failed", "out of bounds"):
                raise TrialFailed(result.reason, result.status)
            return result.objective

        oracle = self._oracle or oracles.make(
            "random", self._job.objective, self._job.space.hyperparameters(), 1, 1, 1, 0
        )
        worker = self._job.cluster if is_worker else None
        oracles.Tuner(oracle, self._folder.oracle, evaluate, worker, watch).search(check)

    def _fits(
        self, rows: np.ndarray, split: list[np.ndarray], reserve: Callable[[], float]
    ) -> TrialFits:
        digits = self._job.digits
        images = digits.train_images
        return TrialFits(
            Inputs(images[rows], digits.train_labels[rows], images[:0]),
            split,
            self._job.cache,
            self._budget,
            reserve,
            self._progress,
            allow_changed_versions=self._job.options.allow_changed_versions,
        )

    # What has been found

    def record(self) -> SearchRecord:
        """Return what the search has found so far, the trials in the order of their ids."""
        results = self._folder.read_results(self._reporter.say)
        rows = len(self._job.digits.train_labels)
        return SearchRecord(
            objective=self._job.objective,
            keys=tuple(self._job.space.parameters),
            start=self._job.space.start,
            trials=tuple(results[trial] for trial in sorted(results, key=int)),
            check=self._check,
            against=self._against,
            facts={
                "data": f"{self._job.digits.source}, {count_of(rows, 'training row')}",
                "oracle": self._config.tune.oracle,
                "time, this invocation": duration(self._budget.seconds()),
            },
        )

    def _report_news(self) -> None:
        """Say what has changed since the last call, and keep the best config's file true."""
        before, self._seen = self._seen.trials, self.record()
        if self._seen.trials == before:
            return
        self._check_seconds = self._forecast_check()
        ended = sum(trial.status != "running" for trial in self._seen.trials)
        for trial in self._seen.trials:
            if trial in before or not (trial.folds or trial.reason):
                continue
            text = search_tables.line(self._seen, trial)
            if trial.status == "running":
                self._reporter.progress(text, ended / (self._job.max_trials or math.inf))
            else:
                self._reporter.say(text)
        self._export(self._seen)

    def _export(self, record: SearchRecord) -> None:
        """Write the best config."""
        best = record.best()
        if not best:
            return
        content = holdout_check.best_yaml(for_best(self._job), record, best, self._job.digits)
        files.write_bytes(self._folder.best, content.encode())
        if self._job.options.save:
            files.write_bytes(self._job.options.save, content.encode())

    def _write_record(self, complete: bool) -> SearchRecord:
        record = details.added(replace(self.record(), complete=complete), self._job)
        self._folder.write_record(record)
        title, command = f"Search from {self._job.options.name}", details.next_command(self._job)
        search_page.write_page(record, title, self._folder.page, command)
        tensorboard.write_log(record, self._folder.tensorboard)
        return record

    # The holdout check

    def _forecast_check(self) -> float:
        return SEARCH_EXIT_SECONDS + holdout_check.forecast_seconds(
            self._config,
            self._seen.best(),
            self._job.options.against.values(),
            len(self._job.digits.train_labels),
        )

    def _reserve(self) -> float:
        """Return how many seconds of a time limit are kept free."""
        limit = self._budget.limit
        return 0.0 if limit is None else min(self._check_seconds, RESERVE_FRACTION * limit)

    def _make_checks(self) -> None:
        """Compare the best config with where it came from, on rows that the search never saw."""
        best = self.record().best()
        if not best or not self._config.tune.holdout_folds:
            return
        # On all rows a fit takes longer than the limit of trials that may see fewer.
        rows = np.arange(len(self._job.digits.train_labels))
        fits = self._fits(rows, self._split, lambda: SEARCH_EXIT_SECONDS)
        holdout = range(self._job.folds, self._config.folds.count)

        def evaluate(name: str, config: Config) -> holdout_check.HoldoutOutcome | None:
            self._progress.begin(f"check of {name}")
            return holdout_check.evaluate(self._folder, fits, name, config, holdout)

        found = evaluate("the best", loading.changed(self._config, best.settings))
        start = evaluate("the start", self._config)
        if found and start:
            self._check = holdout_check.compare(holdout, start, found)
        for name, config in self._job.options.against.items():
            other = evaluate(name, config)
            if found and other:
                self._against[name] = holdout_check.compare(holdout, other, found)
