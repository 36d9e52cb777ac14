"""The order of a search's stages: config and space -> trials -> the honest check -> best.yaml."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.config import loading
from kaggle_digits.config.loading import Config
from kaggle_digits.data import digits_csv, folds
from kaggle_digits.errors import UserError
from kaggle_digits.report import search_page, tables, tensorboard
from kaggle_digits.results.search_records import Findings, HoldoutComparison
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.system.console import Reporter, duration
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import backend, fit_spec, resume
from kaggle_digits.tuning import chief_worker, holdout_check, space
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.search_plan import (
    Request,
    check_identity,
    check_save,
    choose_folder,
    identity_of,
    rows_of_search,
)
from kaggle_digits.tuning.trial import FoldTrainer, SearchBounds, TimeLimitReached, TrialEvaluator

if TYPE_CHECKING:
    import keras_tuner

TRIALS = 20  # where nobody says how many; a grid has an end of its own
EXIT_SECONDS = 12.0  # for the page, which takes seconds on a busy machine, and the end
# The check is forecast from the trials' speeds; a machine may have become slower, and each fit has
# a start and an end.
CHECK_MARGIN, CHECK_FIT_SECONDS = 1.3, 15.0
RESERVE_SHARE = 0.5  # of a time limit that is kept free for the check at most


def tune(request: Request, reporter: Reporter, stop: TimeBudget) -> SearchFolder:
    """Search, check and export; repeated, it goes on where it was.

    Args:
        request: what was asked for.
        reporter: where progress goes.
        stop: the time there is.

    Returns:
        The search's folder with `best.yaml`.

    Raises:
        Stopped: a signal came; nothing finished is lost.
        UserError: anything a person can mend; nothing finished is lost.
    """
    ours = chief_worker.from_environment()
    wanted = space.declared(request.config)
    check_save(request.save)
    cache = Cache(request.cache, notice=reporter.say)
    digits = resume.load_digits(request.config, request.data, cache, reporter)
    identity = identity_of(request.config, digits)
    folder = choose_folder(request, identity)
    search = Search(request, wanted, digits, folder, cache, ours, reporter, stop)
    if ours and not ours.is_chief:
        search.work(identity)
        return folder
    with folder.locked():
        check_identity(folder, identity, request.allow_changed_versions)
        files.write_json(folder.identity, identity)
        reporter.log_to(folder.log)
        search.lead()
    return folder


class Search:
    """One process of a search, be it all of it, its chief, or a worker.

    Args:
        request: what was asked for.
        wanted: the space.
        digits: the data.
        folder: the search's folder.
        cache: holds the banks.
        ours: the cluster, None: this process is all there is.
        reporter: where progress goes.
        stop: the time there is.
    """

    def __init__(
        self,
        request: Request,
        wanted: space.Space,
        digits: digits_csv.Digits,
        folder: SearchFolder,
        cache: Cache,
        ours: chief_worker.Cluster | None,
        reporter: Reporter,
        stop: TimeBudget,
    ) -> None:
        self._request, self._space, self._digits = request, wanted, digits
        self._folder, self._cache, self._cluster = folder, cache, ours
        self._reporter, self._stop = reporter, stop
        self._config, self._tune = request.config, request.config.tune
        self._labels = digits.train_labels
        self._split = folds.stratified(self._labels, self._config.folds.count, self._config.seed)
        self._oracle: keras_tuner.Oracle | None = None
        self._doing = "starting"
        self._check: HoldoutComparison | None = None
        self._against: dict[str, HoldoutComparison] = {}
        self._seen = self.findings()
        self._check_seconds = self._forecast_check()

    # What each process does

    def lead(self) -> None:
        """Give out trials (and, alone, evaluate them), then check and export the best."""
        config, tune = self._config, self._tune
        self._say_what_is_searched()
        backend.configure(config.train.threads)
        from kaggle_digits.tuning import oracles

        self._oracle = oracles.make(
            tune.oracle,
            tune.objective,
            self._space.hyperparameters(),
            self._trials(),
            self._folds(),
            tune.num_initial_points or len(self._space.settings) + 1,
            config.seed,
        )
        oracles.load(self._oracle, self._folder.oracle)
        if ended := len(self._oracle.end_order):
            self._reporter.say(f"reused: {ended} trials, ended earlier")
        complete = True
        try:
            with self._reporter.live(lambda: tables.table(self._seen, self._doing)):
                # What is kept free of a time limit is the check's.
                for stage in (self._give_trials, self._make_checks):
                    try:
                        stage()
                    except TimeLimitReached:
                        complete = False
                    self._export()
        except Stopped:
            self._write_findings(complete=False)
            raise
        if not complete:
            self._reporter.say(
                f"time limit of {duration(self._stop.limit)}: ended after "
                f"{duration(self._stop.seconds())}; repeat the command to go on"
            )
        self._write_findings(complete)
        self._reporter.show(tables.result(self.findings()))
        if not self.findings().best():
            reasons = [trial.reason for trial in self.findings().trials if trial.reason]
            why = f" (the first: {reasons[0]})" if reasons else ""
            raise UserError(
                f"{self._folder.folder}: no trial has come to its end yet{why}; repeat the command "
                "with more time, or with another tune.space and --out"
            )
        self._reporter.say(f"best config: {self._folder.best}")
        self._reporter.say(f"page: {self._folder.page}")

    def _give_trials(self) -> None:
        from kaggle_digits.tuning import oracles

        if self._cluster:
            oracles.serve(self._oracle, self._cluster, self._watch_workers)
        else:
            self._evaluate_trials()

    def work(self, identity: dict[str, Any]) -> None:
        """TrialEvaluator trials that the chief gives out."""
        self._reporter.say(f"worker {self._cluster.tuner} of the chief at {self._cluster.address}")
        backend.configure(self._config.train.threads)
        try:
            self._evaluate_trials(partial(self._check_chief, identity), self._watch_chief)
        except TimeLimitReached:
            self._reporter.say(
                f"time limit of {duration(self._stop.limit)}: this worker ended; start it again "
                "with its KERASTUNER_TUNER_ID to go on with its trial"
            )

    def _check_chief(self, identity: dict[str, Any]) -> None:
        if not self._folder.identity.is_file():
            raise UserError(
                f"{self._folder.folder}: expected the chief's search folder, found none; give "
                "chief and workers the same --out, on a disk that all of them see"
            )
        check_identity(self._folder, identity, self._request.allow_changed_versions)

    def _watch_chief(self) -> None:
        if self._stop.seconds_left() < EXIT_SECONDS:
            raise TimeLimitReached

    def _evaluate_trials(
        self, check: Callable[[], None] = lambda: None, watch: Callable[[], None] = lambda: None
    ) -> None:
        from kaggle_digits.tuning import oracles

        rows, split = rows_of_search(
            self._labels, self._split, self._tune.holdout_folds, self._tune.rows, self._config.seed
        )
        is_worker = self._oracle is None
        reserve = (lambda: EXIT_SECONDS) if is_worker else self._reserve  # it makes no check
        trainer = self._trainer(rows, split, self._limits(), reserve)
        evaluate = TrialEvaluator(
            self._folder,
            self._config,
            trainer,
            self._limits(),
            self.findings,
            self._tell_news,
            self._reporter,
        )

        def evaluate_trial(trial: str, values: dict[str, Any]) -> float:
            settings = self._space.decode(values)
            self._doing = f"trial {trial}"
            planned = values.get("tuner/epochs", self._folds())
            return evaluate.evaluate(trial, settings, planned).objective

        oracle = self._oracle or oracles.make(
            "random", self._tune.objective, self._space.hyperparameters(), 1, 1, 1, 0
        )
        worker = self._cluster if is_worker else None
        oracles.Tuner(oracle, self._folder.oracle, evaluate_trial, worker, watch).search(check)

    def _watch_workers(self) -> None:
        self._tell_news()
        self._doing = f"{len(self._oracle.ongoing_trials)} workers at work"
        if self._stop.seconds_left() < self._reserve():
            raise TimeLimitReached

    # What is searched

    def _folds(self) -> int:
        return self._config.folds.count - self._tune.holdout_folds

    def _trials(self) -> int | None:
        given = self._request.trials or self._tune.trials
        return given or (None if self._tune.oracle == "grid" else TRIALS)

    def _limits(self) -> SearchBounds:
        return SearchBounds(self._request.seconds_per_fit, self._request.parameters)

    def _trainer(
        self,
        rows: np.ndarray,
        split: list[np.ndarray],
        limits: SearchBounds,
        reserve: Callable[[], float],
    ) -> FoldTrainer:
        images = self._digits.train_images
        inputs = fit_spec.Inputs.of(images[rows], self._labels[rows], images[:0])
        return FoldTrainer(
            inputs,
            split,
            self._cache,
            limits,
            self._stop,
            reserve,
            self._reporter,
            self._watch,
            self._request.allow_changed_versions,
        )

    def _say_what_is_searched(self) -> None:
        tune, say = self._tune, self._reporter.say
        say(f"data: {self._digits.source}: {len(self._labels):,} training rows")
        say(f"search folder: {self._folder.folder}")
        trials = f"{self._trials()} trials" if self._trials() else "all combinations"
        share = f", {100 * tune.row_fraction:g} % of their rows" if tune.row_fraction < 1 else ""
        epochs = (
            f", {100 * tune.epoch_fraction:g} % of the epochs" if tune.epoch_fraction < 1 else ""
        )
        kept = f"; {tune.holdout_folds} kept untouched for the check" if tune.holdout_folds else ""
        say(
            f"search: {tune.oracle}, {trials}, {tune.objective.replace('_', ' ')} on "
            f"{self._folds()} of {self._config.folds.count} folds{share}{epochs}{kept}; searched: "
            f"{', '.join(self._space.settings)}"
        )

    # What has been found

    def findings(self) -> Findings:
        """Return what the search has found so far, the trials in the order of their ids."""
        results = self._folder.read_results()
        return Findings(
            objective=self._tune.objective,
            keys=tuple(self._space.settings),
            start=self._space.start,
            trials=tuple(results[trial] for trial in sorted(results, key=int)),
            check=self._check,
            against=self._against,
            facts={
                "data": f"{self._digits.source}, {len(self._labels):,} training rows",
                "oracle": self._tune.oracle,
                "time, this invocation": duration(self._stop.seconds()),
            },
        )

    def _watch(self, doing: str) -> None:
        self._doing = f"{self._doing.partition(':')[0]}: {doing}"

    def _tell_news(self) -> None:
        """Say what has changed since the last call, and keep the best config's file true."""
        before = {trial.trial: trial for trial in self._seen.trials}
        self._seen = self.findings()
        if self._seen.trials == tuple(before.values()):
            return
        self._check_seconds = self._forecast_check()
        for trial in self._seen.trials:
            if trial != before.get(trial.trial) and (trial.folds or trial.reason):
                self._reporter.say(tables.line(self._seen, trial))
        self._export()

    def _export(self) -> None:
        """Write the best config."""
        findings = self.findings()
        best = findings.best()
        if not best:
            return
        content = holdout_check.best_yaml(self._config, findings, best, self._digits)
        files.write_bytes(self._folder.best, content.encode())
        if self._request.save:
            files.write_bytes(self._request.save, content.encode())

    def _write_findings(self, complete: bool) -> None:
        findings = self.findings()
        files.write_json(self._folder.findings, {"complete": complete} | asdict(findings))
        search_page.write_page(findings, f"Search from {self._request.name}", self._folder.page)
        tensorboard.write_log(findings, self._folder.tensorboard)

    # The honest check

    def _forecast_check(self) -> float:
        """Forecast the seconds that the check and the end of the process take."""
        best = self._seen.best()
        if not (self._tune.holdout_folds and best):
            return EXIT_SECONDS
        # Other configs are taken to be as fast as the best one; the start is rarely slower.
        compared = [
            loading.changed(self._config, best.settings),
            self._config,
            *self._request.against.values(),
        ]
        epochs = sum(each.member(name).train.epochs for each in compared for name in each.members)
        members = sum(len(each.members) for each in compared)
        rows = len(self._labels) * (1 - 1 / self._config.folds.count)
        seconds = CHECK_MARGIN * rows * epochs / best.images_per_second
        return EXIT_SECONDS + self._tune.holdout_folds * (seconds + CHECK_FIT_SECONDS * members)

    def _reserve(self) -> float:
        """Say how many seconds of a time limit are kept free."""
        limit = self._stop.limit
        return 0.0 if limit is None else min(self._check_seconds, RESERVE_SHARE * limit)

    def _make_checks(self) -> None:
        """Hold the best config against where it came from, on rows that the search never saw."""
        best = self.findings().best()
        if not best or not self._tune.holdout_folds:
            return
        # On all rows a fit takes longer than the limit of trials that may see fewer.
        rows = np.arange(len(self._labels))
        trainer = self._trainer(rows, self._split, SearchBounds(), lambda: EXIT_SECONDS)
        untouched = range(self._folds(), self._config.folds.count)

        def outcome(name: str, config: Config) -> holdout_check.Outcome | None:
            self._doing = f"check of {name}"
            return holdout_check.outcome(
                self._folder, trainer, name, config, untouched, self._reporter
            )

        found = outcome("the best", loading.changed(self._config, best.settings))
        start = outcome("the start", self._config)
        if found and start:
            self._check = holdout_check.compared(untouched, start, found)
        for name, config in self._request.against.items():
            same = {"seed": self._config.seed, "train.threads": self._config.train.threads}
            other = outcome(name, loading.changed(config, same))
            if found and other:
                self._against[name] = holdout_check.compared(untouched, other, found)
