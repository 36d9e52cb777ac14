"""KerasTuner's oracles as a search uses them, on an objective that takes no time."""

import errno
import itertools
import json
import math
import socket
import threading
from types import SimpleNamespace

import keras_tuner
import numpy as np
import pytest
from keras_tuner.src.distribute import oracle_client
from keras_tuner.src.tuners import bayesian
from threadpoolctl import threadpool_limits

from kaggle_digits.errors import UserError
from kaggle_digits.results.search_records import Objective
from kaggle_digits.storage import files
from kaggle_digits.system.time_budget import Stopped
from kaggle_digits.tuning import chief_worker, oracles
from kaggle_digits.tuning.trial_fits import TimeLimitReached, TrialFailed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KINDS = ("random", "bayesian", "hyperband", "grid")
FOLDS, INITIAL = 4, 4
MANY = 100  # trials: a search that has more does not end
LONG = 60.0  # seconds that a slow machine may take for what is waited for


def space(kind="random", optimizer="adamw"):
    """A rate that counts by its logarithm, a width, and a momentum that only sgd has."""
    found = keras_tuner.HyperParameters()
    if kind == "grid":
        found.Choice("rate", [1e-4, 1e-3, 1e-2, 1e-1])
        found.Choice("width", [8, 24, 40, 56])
    else:
        found.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-4)
        found.Int("width", 8, 64, step=8, default=8)
    found.Choice("optimizer", ["adamw", "sgd"], default=optimizer)
    with found.conditional_scope("optimizer", ["sgd"]):
        if kind == "grid":
            found.Choice("momentum", [0.5, 0.7, 0.9])
        else:
            found.Float("momentum", 0.5, 0.99, default=0.5)
    return found


START = {"rate": 1e-4, "width": 8, "optimizer": "adamw"}
COMBINATIONS = 4 * 4 * (1 + 3)


def figure(values):
    """Best, 1, at rate 0.01, width 40 and sgd with momentum 0.9; 0.73 at the start."""
    loss = 0.05 * (math.log10(values["rate"]) + 2) ** 2 + 0.02 * ((values["width"] - 40) / 32) ** 2
    sgd = values["optimizer"] == "sgd"
    return 1 - loss - (0.1 * (values["momentum"] - 0.9) ** 2 if sgd else 0.05)


REGION = 0.96  # of the optimum: sgd, and the rate within a factor of 8


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):  # the matrices are tiny
        yield


@pytest.fixture
def quick_model(monkeypatch):
    """Have bayesian take the best of its 50 random points, and follow none downhill."""

    def stay(function, x0, bounds, method):
        return SimpleNamespace(x=x0, fun=function(x0))

    monkeypatch.setattr(bayesian, "scipy", SimpleNamespace(optimize=SimpleNamespace(minimize=stay)))


def begin(kind, folder, trials=8, seed=3):
    """What a new process does: make an oracle, and go on with what is in the folder."""
    oracle = oracles.make(kind, Objective.ACCURACY, space(kind), trials, FOLDS, INITIAL, seed)
    oracles.load(oracle, folder)
    return oracle


def search(oracle, objective=figure):
    """Give an oracle all the figures it asks for; return the values that it tried, in order."""
    tried = []
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        assert len(tried) < MANY
        tried.append(trial.hyperparameters.values)
        report(oracle, trial, objective(tried[-1]))
    assert trial.status == "STOPPED"
    return tried


def report(oracle, trial, value):
    oracle.update_trial(trial.trial_id, {"accuracy": value})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def outcome(oracle):
    """All that a search has found, by trial."""
    return {
        number: (trial.hyperparameters.values, trial.status, trial.score)
        for number, trial in oracle.trials.items()
    }


# The same oracles as KerasTuner's own


def stock(kind, folder, trials, seed):
    common = {
        "objective": keras_tuner.Objective("accuracy", "max"),
        "hyperparameters": space(kind),
        "seed": seed + 1,  # what `make` makes of a seed
    }
    made = {
        "random": keras_tuner.oracles.RandomSearchOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        "hyperband": keras_tuner.oracles.HyperbandOracle,
        "grid": keras_tuner.oracles.GridSearchOracle,
    }
    if kind == "hyperband":
        oracle = made[kind](max_epochs=FOLDS, factor=2, hyperband_iterations=None, **common)
        oracle.max_trials = trials
    else:
        more = {"num_initial_points": INITIAL} if kind == "bayesian" else {}
        oracle = made[kind](max_trials=trials, **more, **common)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder.parent), folder.name)
    return oracle


# By oracle: trials, and seeds. KerasTuner's seeds are counted on with each value that is drawn, so
# those near each other give nearly the same trials.
SEARCHES = {
    "random": (40, (0, 1000, 2000)),
    "bayesian": (12, (0, 1000)),
    "hyperband": (40, (0, 1000, 2000)),
    "grid": (COMBINATIONS, (0,)),
}


def both(kind, trials, seeds, folder):
    """Return (what ours tried, what the stock one tried) by seed."""
    return {
        seed: (
            search(begin(kind, folder / f"ours-{seed}", trials, seed)),
            search(stock(kind, folder / f"stock-{seed}", trials, seed)),
        )
        for seed in seeds
    }


def best_of(found):
    return {seed: tuple(max(map(figure, tried)) for tried in two) for seed, two in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_oracle_finds_the_optimum_as_the_stock_one_does(tmp_path, monkeypatch, kind):
    # A few steps downhill tell bayesian nearly as much as all; both do the same.
    minimize = bayesian.scipy.optimize.minimize
    few = SimpleNamespace(minimize=lambda *a, **kw: minimize(*a, **kw, options={"maxiter": 2}))
    monkeypatch.setattr(bayesian, "scipy", SimpleNamespace(optimize=few))
    trials, seeds = SEARCHES[kind]
    found = both(kind, trials, seeds, tmp_path)
    for ours, theirs in found.values():
        assert len(ours) == len(theirs) == trials
        # Ours begins with the start config whatever the oracle; of the stock ones only grid does.
        own = {key: value for key, value in ours[0].items() if not key.startswith("tuner/")}
        assert own == START
        if kind == "random":
            assert ours[1:] == theirs[:-1]
        elif kind == "grid":
            assert ours == theirs
    best = best_of(found)
    assert all(own >= REGION and their >= REGION for own, their in best.values()), best


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random", "bayesian", "hyperband"])
def test_oracle_finds_the_optimum_as_the_stock_one_does_with_many_seeds(tmp_path, kind):
    trials = SEARCHES[kind][0]
    seeds = range(0, 5000 if kind == "bayesian" else 20_000, 1000)
    best = best_of(both(kind, trials, seeds, tmp_path))
    inside = [sum(two[place] >= REGION for two in best.values()) for place in (0, 1)]
    print(f"{kind}: ours {inside[0]}, stock {inside[1]} of {len(best)} in the region; {best}")
    assert inside[0] >= inside[1] - 1


def test_a_seed_of_zero_is_a_seed(tmp_path):
    one, other = (search(begin("random", tmp_path / name, seed=0)) for name in ("a", "b"))
    assert one == other


def test_start_is_tried_first_with_the_settings_in_force(tmp_path):
    begun_with = space(optimizer="sgd")
    oracle = oracles.make("random", Objective.ACCURACY, begun_with, 5, FOLDS, INITIAL, 0)
    oracles.load(oracle, tmp_path / "oracle")
    assert search(oracle)[0] == START | {"optimizer": "sgd", "momentum": 0.5}


def test_low_log_loss_is_what_is_searched_for(tmp_path):
    oracle = oracles.make("random", Objective.LOG_LOSS, space(), 6, FOLDS, INITIAL, 0)
    oracles.load(oracle, tmp_path / "oracle")
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        oracle.update_trial(trial.trial_id, {"log_loss": float(trial.trial_id)})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert [trial.trial_id for trial in oracle.get_best_trials(2)] == ["0", "1"]


def test_resource_of_hyperband_is_folds(tmp_path):
    tried = search(begin("hyperband", tmp_path / "oracle", trials=15))
    # Li et al. 2018 with 4 folds and a factor of 2: halving from 1 fold, from 2, and none.
    folds = [values["tuner/epochs"] for values in tried]
    assert folds == [1, 1, 1, 1, 2, 2, 4, 2, 2, 2, 4, 4, 4, 4, 4]
    bare = [{key: value for key, value in v.items() if "/" not in key} for v in tried]
    by_figure = sorted(bare[:4], key=figure, reverse=True)
    assert bare[4:7] == [by_figure[0], by_figure[1], by_figure[0]]
    assert bare[10:12] == sorted(bare[7:10], key=figure, reverse=True)[:2]


# Restarts


@pytest.mark.parametrize("kind", KINDS)
def test_restart_after_every_call_changes_nothing(tmp_path, quick_model, kind):
    whole = begin(kind, tmp_path / "whole")
    search(whole)

    folder = tmp_path / "cut"
    while (trial := begin(kind, folder).create_trial("tuner0")).status == "RUNNING":
        again = begin(kind, folder).create_trial("tuner0")
        assert (again.trial_id, again.status) == (trial.trial_id, "RUNNING")
        value = figure(trial.hyperparameters.values)
        begin(kind, folder).update_trial(trial.trial_id, {"accuracy": value})
        trial.status = "COMPLETED"
        begin(kind, folder).end_trial(trial)
        assert not begin(kind, folder).ongoing_trials
    assert trial.status == "STOPPED"
    cut = begin(kind, folder)
    assert outcome(cut) == outcome(whole)
    assert list(cut.trials) == cut.start_order == cut.end_order == whole.end_order
    assert len(cut.end_order) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_ended_search_goes_on_with_more_trials(tmp_path, quick_model, kind):
    whole = begin(kind, tmp_path / "whole", trials=8)
    search(whole)
    assert len(search(begin(kind, tmp_path / "cut", trials=5))) == 5
    more = begin(kind, tmp_path / "cut", trials=8)
    assert len(search(more)) == 3
    assert outcome(more) == outcome(whole)


def test_ids_of_another_length_are_no_other_trials(tmp_path):
    search(begin("random", tmp_path / "cut", trials=9))
    more = begin("random", tmp_path / "cut", trials=11)
    assert len(search(more)) == 2
    assert [int(number) for number in more.trials] == list(range(11))
    whole = begin("random", tmp_path / "whole", trials=11)
    search(whole)
    assert list(outcome(more).values()) == list(outcome(whole).values())


@pytest.mark.parametrize("kind", KINDS)
def test_restart_while_another_tuner_is_at_work_changes_nothing(tmp_path, quick_model, kind):
    def values_tried(folder, restarted):
        oracle = begin(kind, folder, trials=12)

        def now():
            return begin(kind, folder, trials=12) if restarted else oracle

        tried = []
        slow = now().create_trial("slow")  # does not end
        while (trial := now().create_trial("quick")).status == "RUNNING":
            assert len(tried) < MANY
            tried.append(trial.hyperparameters.values)
            report(now(), trial, figure(tried[-1]))
            assert now().create_trial("slow").trial_id == slow.trial_id
        return [slow.hyperparameters.values, *tried]

    whole = values_tried(tmp_path / "whole", restarted=False)
    assert values_tried(tmp_path / "cut", restarted=True) == whole
    if kind != "grid":  # the stock one wants one to end before it goes beyond the next
        assert len(whole) == 12


def test_bayesian_forecasts_what_is_under_way_from_what_has_ended(tmp_path, quick_model):
    oracle = begin("bayesian", tmp_path / "oracle", trials=12)
    oracle.create_trial("slow")
    for _ in range(INITIAL):
        trial = oracle.create_trial("quick")
        report(oracle, trial, figure(trial.hyperparameters.values))
    # The stock one takes a model that has seen nothing yet, whose forecast is 0 give or take 1.
    figures = [-figure(trial.hyperparameters.values) for trial in oracle.trials.values()][1:]
    _, [under_way, *ended] = oracle._vectorize_trials()
    assert ended == figures
    assert min(figures) - 0.2 < under_way < max(figures) + 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_trial_stays_with_its_tuner(tmp_path, kind):
    oracle = begin(kind, tmp_path / "oracle")
    first = oracle.create_trial("a")
    oracle = begin(kind, tmp_path / "oracle")
    assert oracle.create_trial("b").trial_id == "1"
    assert oracle.create_trial("a").trial_id == first.trial_id == "0"
    oracle = begin(kind, tmp_path / "oracle")
    report(oracle, oracle.create_trial("b"), 0.5)
    oracle = begin(kind, tmp_path / "oracle")
    assert list(oracle.ongoing_trials) == ["a"]
    assert (oracle.start_order, oracle.end_order) == (["0", "1"], ["1"])


@pytest.mark.parametrize("kind", KINDS)
def test_trial_that_is_not_in_the_state_is_drawn_again(tmp_path, kind):
    folder = tmp_path / "oracle"
    oracle = begin(kind, folder)
    report(oracle, oracle.create_trial("tuner0"), 0.5)
    before = (folder / "oracle.json").read_bytes()
    lost = oracle.create_trial("tuner0")
    (folder / "oracle.json").write_bytes(before)  # as if killed between the two files

    oracle = begin(kind, folder)
    assert list(oracle.trials) == ["0"]
    assert [path.name for path in folder.glob("trial_*")] == ["trial_0"]
    again = oracle.create_trial("tuner0")
    assert (again.trial_id, again.hyperparameters.values) == ("1", lost.hyperparameters.values)
    assert oracle.start_order == ["0", "1"]


@pytest.mark.parametrize("kind", KINDS)
def test_end_that_is_reported_twice_counts_once(tmp_path, kind):
    oracle = begin(kind, tmp_path / "oracle")
    trial = oracle.create_trial("tuner0")
    report(oracle, trial, 0.5)
    oracle.end_trial(trial)
    oracle = begin(kind, tmp_path / "oracle")
    trial.status = "FAILED"
    oracle.end_trial(trial)
    assert oracle.end_order == ["0"]
    assert (oracle.trials["0"].status, oracle.trials["0"].score) == ("COMPLETED", 0.5)


class KilledError(BaseException):
    """In the place of SIGKILL: nothing is tidied up after it but what Python cannot help."""


class Kill:
    """Ends the process, as it were, just before a file gets its name."""

    def __init__(self, folder, at):
        self.folder, self.at, self.moves = folder, at, 0
        self.move = files.move

    def __call__(self, source, target):
        state = self.folder / "oracle.json"
        if state.exists():
            json.loads(state.read_text())  # whole at any moment
        self.moves += 1
        if self.moves == self.at:
            half = source.read_bytes()[:-7]
            target.with_name(f"{files.TEMP_PREFIX}0-{target.name}").write_bytes(half)
            raise KilledError
        self.move(source, target)


@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_any_write_loses_no_trial(tmp_path, monkeypatch, quick_model, kind):
    trials = 7

    def live(folder, evaluated):
        def evaluate(trial, values):
            evaluated.setdefault(trial, []).append(dict(values))
            assert len(evaluated[trial]) < MANY
            return figure(values)

        oracle = begin(kind, folder, trials)
        oracles.Tuner(oracle, folder, evaluate, None).search()
        return oracle

    counting = Kill(tmp_path / "whole", at=None)
    monkeypatch.setattr(files, "move", counting)
    whole = live(tmp_path / "whole", {})
    assert counting.moves == 5 * trials  # begun: trial, state; reported: trial; ended: trial, state
    step = 3 if kind == "bayesian" else 1  # all kinds write alike, and this one thinks
    for at in range(1, counting.moves + 1, step):
        folder, evaluated = tmp_path / f"killed-{at}", {}
        with monkeypatch.context() as patched:
            patched.setattr(files, "move", Kill(folder, at))
            with pytest.raises(KilledError):
                live(folder, evaluated)
        found = live(folder, evaluated)
        assert outcome(found) == outcome(whole), at
        assert found.start_order == found.end_order == whole.end_order
        assert list(evaluated) == whole.start_order
        for number, calls in evaluated.items():
            assert all(values == whole.trials[number].hyperparameters.values for values in calls)
        assert sum(len(calls) - 1 for calls in evaluated.values()) <= 1


# Failures and errors


@pytest.mark.parametrize("kind", KINDS)
def test_failed_trials_never_end_a_search(tmp_path, kind):
    def evaluate(trial, values):
        raise TrialFailed("diverged")

    oracle = begin(kind, tmp_path / "oracle", trials=8)
    oracles.Tuner(oracle, tmp_path / "oracle", evaluate, None).search()
    assert [trial.status for trial in oracle.trials.values()] == ["FAILED"] * 8
    assert len(oracle.end_order) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_search_goes_on_behind_failed_trials(tmp_path, quick_model, kind):
    def evaluate(trial, values):
        if int(trial) in (0, 2, 3, 4, 5, 7):
            raise TrialFailed("diverged")
        return figure(values)

    oracle = begin(kind, tmp_path / "oracle", trials=12)
    oracles.Tuner(oracle, tmp_path / "oracle", evaluate, None).search()
    failed = [int(number) for number, trial in oracle.trials.items() if trial.status == "FAILED"]
    assert failed == [0, 2, 3, 4, 5, 7]
    assert len(oracle.end_order) == 12


ERRORS = (
    UserError("full"),
    ValueError("bug"),
    Stopped(15),
    TimeLimitReached(),
    KeyboardInterrupt(),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_is_not_the_trials_fault_ends_the_search(tmp_path, error):
    evaluated = []

    def evaluate(trial, values):
        evaluated.append(trial)
        assert len(evaluated) < MANY
        if evaluated == ["0", "1"]:
            raise error
        return figure(values)

    folder = tmp_path / "oracle"
    with pytest.raises(type(error)) as caught:
        oracles.Tuner(begin("random", folder, 3), folder, evaluate, None).search()
    assert caught.value is error
    oracle = begin("random", folder, 3)
    assert (oracle.start_order, oracle.end_order) == (["0", "1"], ["0"])
    assert oracle.trials["1"].status == "RUNNING"
    oracles.Tuner(oracle, folder, evaluate, None).search()
    assert evaluated == ["0", "1", "1", "2"]
    assert {trial.status for trial in oracle.trials.values()} == {"COMPLETED"}


@pytest.mark.parametrize("write", [1, 2, 3, 4, 5])
def test_full_disk_fails_no_trial(tmp_path, monkeypatch, write):
    # The writes of the second trial: begun (trial, state), reported (trial), ended (trial, state).
    folder, moves, move = tmp_path / "oracle", itertools.count(1), files.move

    def full_once(source, target):
        if next(moves) == 5 + write:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        move(source, target)

    monkeypatch.setattr(files, "move", full_once)
    evaluated = []

    def evaluate(trial, values):
        evaluated.append(trial)
        assert len(evaluated) < MANY
        return figure(values)

    with pytest.raises(UserError, match="No space left on device"):
        oracles.Tuner(begin("random", folder, 3), folder, evaluate, None).search()
    oracle = begin("random", folder, 3)
    assert {trial.status for trial in oracle.ongoing_trials.values()} <= {"RUNNING"}
    oracles.Tuner(oracle, folder, evaluate, None).search()
    whole = begin("random", tmp_path / "whole", 3)
    search(whole)
    assert outcome(oracle) == outcome(whole)


# Chief and workers


@pytest.fixture
def chief(monkeypatch):
    """A cluster on a free port of this machine, which KerasTuner's variables name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"TUNER_ID": "chief", "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": str(port)}
    for name, value in variables.items():
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    monkeypatch.setattr(oracles, "IDLE_SECONDS", 0.02)
    return chief_worker.from_environment()


def worker(monkeypatch, folder, chief, name, evaluate):
    """Make what a worker has; in a real search each is a process of its own."""
    monkeypatch.setenv("KERASTUNER_TUNER_ID", name)
    unused = oracles.make("random", Objective.ACCURACY, space(), 1, 1, 1, 0)
    tuner = oracles.Tuner(
        unused, folder, evaluate, chief_worker.Cluster(name, chief.host, chief.port)
    )
    assert tuner.tuner_id == name
    return tuner


@pytest.mark.parametrize("kind", ["random", "hyperband", "grid"])
def test_chief_and_two_workers_come_to_an_end(tmp_path, monkeypatch, chief, kind):
    folder, evaluated = tmp_path / "oracle", []

    def evaluate(trial, values):
        evaluated.append((threading.current_thread().name, trial))
        if trial == "3":
            raise TrialFailed("diverged")
        return figure(values)

    workers = [
        threading.Thread(
            target=worker(monkeypatch, folder, chief, name, evaluate).search, name=name, daemon=True
        )
        for name in ("w1", "w2")
    ]
    for each in workers:
        each.start()
    oracle = begin(kind, folder, trials=12)
    oracles.serve(oracle, chief, lambda: None)
    for each in workers:
        each.join(LONG)
        assert not each.is_alive()
    trials = sorted(trial for _, trial in evaluated)
    assert trials == sorted(oracle.trials) == sorted(oracle.end_order)
    assert len(oracle.trials) == 12
    assert not oracle.ongoing_trials
    kept = begin(kind, folder, trials=12)
    assert outcome(kept) == outcome(oracle)
    for number, (values, status, score) in outcome(oracle).items():
        assert status == ("FAILED" if number == "3" else "COMPLETED")
        assert score == (None if number == "3" else figure(values))


def test_chief_ends_when_asked_to_and_keeps_the_search(tmp_path, monkeypatch, chief):
    folder, calls = tmp_path / "oracle", itertools.count(1)
    oracle = begin("random", folder, trials=3)
    lost = oracle.create_trial("lost")  # this worker does not come back

    def watch():
        if next(calls) == 3:
            raise TimeLimitReached

    with pytest.raises(TimeLimitReached):
        oracles.serve(oracle, chief, watch)
    kept = begin("random", folder, trials=3)
    assert {tuner: trial.trial_id for tuner, trial in kept.ongoing_trials.items()} == {
        "lost": lost.trial_id
    }
    # The server of a real chief ends with its process; here a worker ends it.
    worker(monkeypatch, folder, chief, "lost", lambda trial, values: 0.5).search()
    assert oracles.is_finished(oracle)


def test_taken_port_is_refused(tmp_path, chief):
    with socket.socket() as other:
        other.bind((chief.host, chief.port))
        other.listen()
        with pytest.raises(UserError, match=rf"KERASTUNER_ORACLE_PORT: .*found {chief.address} "):
            oracles.serve(begin("random", tmp_path / "oracle"), chief, lambda: None)


def test_absent_chief_is_reported(tmp_path, monkeypatch, chief):
    monkeypatch.setattr(oracle_client, "TIMEOUT", 0.5)
    tuner = worker(monkeypatch, tmp_path / "oracle", chief, "w1", lambda trial, values: 0.5)
    with pytest.raises(UserError, match=r"does not answer \(DEADLINE_EXCEEDED\); start it again"):
        tuner.search()


def test_finished_is_a_search_without_trials_under_way_or_left(tmp_path):
    oracle = begin("random", tmp_path / "random", trials=1)
    assert not oracles.is_finished(oracle)
    trial = oracle.create_trial("tuner0")
    assert not oracles.is_finished(oracle)
    report(oracle, trial, 0.5)
    assert oracles.is_finished(oracle)
    grid = begin("grid", tmp_path / "grid", trials=None)
    search(grid)
    assert len(grid.end_order) == COMBINATIONS
    assert oracles.is_finished(grid)


def test_values_are_plain_numbers(tmp_path, quick_model):
    for kind in KINDS:
        oracle = begin(kind, tmp_path / kind)
        search(oracle)
        for trial in begin(kind, tmp_path / kind).trials.values():
            for value in trial.hyperparameters.values.values():
                assert not isinstance(value, np.generic)
