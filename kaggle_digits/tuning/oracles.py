"""KerasTuner's oracles that survive a kill, and its chief and workers that survive a restart.

The only module that depends on the inside of KerasTuner (1.4.8); the rest of a search sees trials
with values. Each method says what it changes of the stock oracle, and why.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import keras_tuner
import numpy as np
from keras_tuner.engine import base_tuner
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief, oracle_client

from kaggle_digits.errors import UserError
from kaggle_digits.results.search_records import Objective
from kaggle_digits.storage import files
from kaggle_digits.tuning.chief_worker import Cluster
from kaggle_digits.tuning.trial_fits import TrialFailed

# No number of failed trials ends a search; KerasTuner would end it after three, with its lock held.
UNLIMITED = 10**9
IDLE_SECONDS = 0.5  # between two requests of a tuner for which there is nothing to do yet
# How long a chief stays for workers that do not know yet that the search is over.
LINGER_SECONDS = 20.0
# A call that was interrupted by the end of the chief is repeated once the chief is back.
RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "1s",
                "maxBackoff": "30s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class _Resumable:
    """What every oracle here has in addition to its search method."""

    finished = False  # a tuner has heard that nothing is left to try

    def save(self) -> None:
        """Write the state whole or not at all; the stock oracle can be killed in between."""
        _write(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: Any) -> None:
        folder = Path(self._get_trial_dir(trial.trial_id))
        _write(folder / "trial.json", trial.get_state())

    def reload(self) -> None:
        """Continue from the saved state.

        A trial under way stays with its tuner, which continues it under its own id; the stock
        oracle gives it to the first tuner that asks. A trial that was written just before a kill
        and is not in the state is forgotten: it is drawn again, with the same values.
        """
        state = json.loads(Path(self._get_oracle_fname()).read_text())
        for folder in Path(self._project_dir).glob("trial_*"):
            if folder.name.removeprefix("trial_") not in state["start_order"]:
                shutil.rmtree(folder)
        super().reload()
        for tuner, trial in state["ongoing_trials"].items():
            self._retry_queue.remove(trial)
            # The stock oracle saves the end of a trial before it removes the trial from these.
            if trial not in self.end_order:
                self.trials[trial].status = "RUNNING"  # its own file may say that it has ended
                self.ongoing_trials[tuner] = self.trials[trial]
        # Models of the objective depend on the order; the stock oracle loads by file name.
        self.trials = {trial: self.trials[trial] for trial in self.start_order}

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Give a tuner its next trial, and remember when none is left."""
        trial = super().create_trial(tuner_id)
        self.finished = self.finished or trial.status == "STOPPED"
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial: Any) -> None:
        """End a trial once, even if a worker that got no answer reports the end again."""
        if trial.trial_id not in self.end_order:
            super().end_trial(trial)

    def _random_values(self) -> dict | None:
        # The first trial is the config that the search begins with, as in the stock grid search:
        # a search never ends with less, and racing has something to compare with.
        if not self.start_order:
            space = self.get_space()
            return {hp.name: hp.default for hp in space.space if space.is_active(hp)}
        return super()._random_values()


class RandomOracle(_Resumable, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class GridOracle(_Resumable, keras_tuner.oracles.GridSearchOracle):
    """All combinations, one after the other."""

    def get_state(self) -> dict:
        """Add what the stock oracle forgets; without it a reloaded grid search ends at once."""
        order, index = [], self._ordered_ids._next_index[None]
        while index is not None:
            order.append(self._ordered_ids._memory[index])
            index = self._ordered_ids._next_index[index]
        return super().get_state() | {"ordered": order, "populate_next": self._populate_next}

    def set_state(self, state: dict) -> None:
        """Restore what `get_state` returned."""
        super().set_state(state)
        for trial in state["ordered"]:
            self._ordered_ids.insert(trial)
        # The stock oracle queues an ended trial after it has saved the end; a trial that is queued
        # twice does no harm.
        self._populate_next = state["populate_next"] + state["end_order"]


class BayesianOracle(_Resumable, keras_tuner.oracles.BayesianOptimizationOracle):
    """A Gaussian process as a model of the objective."""

    def populate_space(self, trial_id: str) -> dict:
        """Choose values with random numbers that do not depend on earlier processes."""
        from sklearn.exceptions import ConvergenceWarning

        self._random_state = np.random.RandomState(self.seed + len(self.trials))
        with warnings.catch_warnings():
            # A length scale at its bound: with few trials usual, and nothing to be done about.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)

    def _vectorize_trials(self) -> tuple[np.ndarray, np.ndarray]:
        """Forecast trials under way with a model of those that have ended.

        The stock oracle uses an earlier model, or one without data, which forecasts 1 where all
        others have -0.99.
        """
        all_trials = self.trials
        ended = {name: trial for name, trial in all_trials.items() if name in self.end_order}
        if len(ended) < len(all_trials):
            self.trials = ended
            self.gpr.fit(*super()._vectorize_trials())
            self.trials = all_trials
        return super()._vectorize_trials()


class HyperbandOracle(_Resumable, keras_tuner.oracles.HyperbandOracle):
    """Successive halving; its epochs are folds here."""


def make(
    kind: str,
    objective: Objective,
    space: keras_tuner.HyperParameters,
    trials: int | None,
    folds: int,
    initial: int,
    seed: int,
) -> keras_tuner.Oracle:
    """Make an oracle.

    Args:
        kind: random, bayesian, hyperband or grid.
        objective: what is made best.
        space: what to choose from.
        trials: at most so many; None: all of a grid.
        folds: number of folds of a full trial, the resource of hyperband.
        initial: number of random trials before bayesian has a model.
        seed: of its random numbers, 0 or more.

    Returns:
        The oracle; `load` makes it keep its state.
    """
    common = {
        "objective": keras_tuner.Objective(objective.value, objective.direction),
        "hyperparameters": space,
        "seed": seed + 1,  # 0 means "any" to KerasTuner
        "allow_new_entries": False,
        "tune_new_entries": False,
        "max_consecutive_failed_trials": UNLIMITED,
    }
    if kind == "hyperband":
        oracle = HyperbandOracle(max_epochs=folds, factor=2, hyperband_iterations=None, **common)
        oracle.max_trials = trials
    elif kind == "bayesian":
        oracle = BayesianOracle(max_trials=trials, num_initial_points=initial, **common)
    else:
        oracle = {"random": RandomOracle, "grid": GridOracle}[kind](max_trials=trials, **common)
    oracle.verbose = 0
    return oracle


class Tuner(base_tuner.BaseTuner):
    """Asks an oracle, its own or that of a chief over the network, for trials and evaluates them.

    Args:
        oracle: from `make`.
        folder: where the oracle keeps its state.
        evaluate: (trial id, values) -> the objective's figure; raises `TrialFailed`.
        cluster: None for a search in one process.
        watch: is called repeatedly while the tuner waits; may raise.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        folder: Path,
        evaluate: Callable[[str, dict[str, Any]], float],
        cluster: Cluster | None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(oracle, directory=str(folder.parent), project_name=folder.name)
        self._evaluate, self._watch, self._is_idle = evaluate, watch, False
        if cluster:
            self.oracle = _Client(oracle, cluster, watch)

    def pre_create_trial(self) -> None:
        """Wait a little if there was nothing to do."""
        if self._is_idle:
            self._watch()
            time.sleep(IDLE_SECONDS)
        self._is_idle = True

    def on_trial_begin(self, trial: Any) -> None:
        """Note that there is something to do."""
        self._is_idle = False

    def run_trial(self, trial: Any) -> dict[str, float]:
        """Evaluate a trial."""
        figure = self._evaluate(trial.trial_id, trial.hyperparameters.values)
        return {self.oracle.objective.name: figure}

    def _run_and_update_trial(self, trial: Any) -> None:
        # Whatever is not the trial's own fault ends the search, also an error in reporting it.
        try:
            super()._run_and_update_trial(trial)
        except TrialFailed as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            raise keras_tuner.errors.FatalError(str(error)) from error

    def search(self, check: Callable[[], None] = lambda: None) -> None:
        """Evaluate trials until the oracle has no more.

        Args:
            check: is called once the oracle answers, before the first trial.

        Raises:
            UserError: the chief does not answer; else whatever `evaluate` or `check` raises.
        """
        try:
            self.oracle.get_space()
            check()
            self._search()
        except grpc.RpcError as error:
            raise UserError(
                f"the chief of this search does not answer ({error.code().name}); start it again, "
                "then this worker with the same KERASTUNER_TUNER_ID"
            ) from None

    def _search(self) -> None:
        try:
            super().search()
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ from None

    def save(self) -> None:
        """Write nothing: there is no state but the oracle's."""


class _Client(oracle_client.OracleClient):
    """The stock client with a channel that outlives a restart of the chief."""

    def __init__(
        self, oracle: keras_tuner.Oracle, cluster: Cluster, watch: Callable[[], None]
    ) -> None:
        super().__init__(oracle)
        channel = grpc.insecure_channel(
            cluster.address,
            options=[
                ("grpc.service_config", json.dumps(RETRIES)),
                ("grpc.max_reconnect_backoff_ms", 5000),
            ],
        )
        self.stub = _Stub(protos.get_service_grpc().OracleStub(channel), watch)


class _Stub:
    """The stock stub, whose calls wait up to an hour for a chief, with a `watch` meanwhile."""

    def __init__(self, stub: Any, watch: Callable[[], None]) -> None:
        self._stub, self._watch = stub, watch

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(request: Any, **options: Any) -> Any:
            answer = getattr(self._stub, name).future(request, **options)
            while True:
                try:
                    return answer.result(IDLE_SECONDS)
                except grpc.FutureTimeoutError:
                    self._watch()

        return call


def load(oracle: keras_tuner.Oracle, folder: Path) -> None:
    """Make an oracle keep its state in a folder, and continue from what is there."""
    oracle._set_project_dir(str(folder.parent), folder.name)
    if (folder / "oracle.json").is_file():
        oracle.reload()


def is_finished(oracle: keras_tuner.Oracle) -> bool:
    """Return whether no trial is under way and none is left to begin."""
    ended = oracle.max_trials is not None and len(oracle.end_order) >= oracle.max_trials
    return not oracle.ongoing_trials and not oracle._retry_queue and (oracle.finished or ended)


def serve(oracle: keras_tuner.Oracle, cluster: Cluster, watch: Callable[[], None]) -> None:
    """Give workers trials until none is left.

    The stock server never ends when a worker does not come back; here `watch` may raise.

    Args:
        oracle: chooses the trials.
        cluster: where workers find the chief.
        watch: is called repeatedly.

    Raises:
        UserError: the port is taken.
    """
    cluster.check_port_is_free()
    threading.Thread(target=oracle_chief.start_server, args=(oracle,), daemon=True).start()
    done_at = None
    while done_at is None or (oracle.tuner_ids and time.monotonic() < done_at + LINGER_SECONDS):
        watch()
        time.sleep(IDLE_SECONDS)
        if not is_finished(oracle):
            done_at = None
        elif done_at is None:
            done_at = time.monotonic()


def _write(path: Path, state: dict) -> None:
    files.write_bytes(path, json.dumps(state).encode())
