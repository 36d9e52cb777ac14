"""What `import kaggle_digits as kd` offers, on demo data."""

import importlib.metadata
import inspect
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from finished_runs import write_data, write_run, wrong_at

import kaggle_digits as kd
from kaggle_digits import api
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder

TINY = {
    "model.stages": [{"width": 4, "kernel": 5, "stride": 2, "pool": "last"}],
    "folds.count": 2,
    "train.epochs": 2,
    "augment.elastic.p": 0,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder of a process that knows nothing of this machine's data and cache."""
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KAGGLE_DIGITS_CACHE", str(folder / "cache"))
        for name in ("KAGGLE_DIGITS_DATA", "KAGGLE_KERNEL_RUN_TYPE"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="module")
def run(place):
    return kd.run("quick", out=place / "run", overrides=TINY, time_limit="1h")


def test_public_names():
    assert kd.__all__ == [
        "Evaluation",
        "Run",
        "SearchResult",
        "UserError",
        "__version__",
        "classify",
        "compare",
        "ensemble",
        "evaluate",
        "list_runs",
        "load_config",
        "load_run",
        "run",
        "tune",
    ]
    assert dir(kd) == kd.__all__
    for name in set(kd.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(kd, name)), name
    assert kd.__version__ == importlib.metadata.version("kaggle-digits")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kd.nothing


FUNCTIONS = [
    "classify",
    "compare",
    "ensemble",
    "evaluate",
    "list_runs",
    "load_config",
    "load_run",
    "run",
    "tune",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_is_documented(name):
    function = getattr(kd, name)
    described = re.findall(r"^    (\w+): ", inspect.getdoc(function), re.MULTILINE)
    assert [each for each in described if each[0].islower()] == [
        *inspect.signature(function).parameters
    ]


@pytest.mark.parametrize(
    ("use", "heavy"),
    [
        ("kd.__all__, dir(kd)", {"numpy", "pandas", "keras", "tensorflow", "pydantic", "rich"}),
        (
            "kd.load_config('quick'), kd.run, kd.tune, kd.load_run, kd.SearchResult, kd.compare, "
            "kd.evaluate, kd.classify",
            {"pandas", "keras", "tensorflow", "sklearn", "matplotlib"},
        ),
    ],
)
def test_import_is_light(process_env, use, heavy):
    code = f"import sys, kaggle_digits as kd; {use}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=process_env, stdout=subprocess.PIPE, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "kaggle_digits" in loaded
    assert not heavy & loaded


def test_run_has_what_the_folder_has(run, place):
    assert run.folder == place / "run"
    values = json.loads((place / "run" / "metrics.json").read_text())
    assert run.metrics.oof_accuracy == values["oof_accuracy"]
    assert run.metrics.complete
    submission = pd.read_csv(place / "run" / "submission.csv")
    pd.testing.assert_frame_equal(run.submission, submission, check_dtype=False)
    arrays = files.read_arrays(place / "run" / "predictions.npz")
    np.testing.assert_array_equal(run.oof[list("0123456789")].to_numpy(), arrays["oof"])
    assert ((run.oof.predicted != run.oof.label).sum()) == run.metrics.oof_errors
    assert run.test.predicted.tolist() == submission["Label"].tolist()
    assert run.members[["member", "fold"]].to_numpy().tolist() == [["cnn", 1], ["cnn", 2]]
    assert run.history[["fold", "epoch"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_predictions_are_those_of_the_run(run):
    from kaggle_digits.data.digits import read_digits
    from kaggle_digits.data.sources import Source

    images = read_digits(Source("demo data", demo=True)).test_images[:20]
    found = run.predict(images)
    assert (found.shape, found.dtype) == ((20, 10), np.float32)
    np.testing.assert_allclose(found, run.test[list("0123456789")][:20], atol=1e-5)
    np.testing.assert_allclose(run.predict(images[0]), found[:1], atol=1e-5)
    np.testing.assert_allclose(run.predict(images.reshape(20, 784)), found, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 27, 28)), r"28 x 28 or 784 pixels, found shape \(3, 27, 28\)"),
        (np.full((1, 28, 28), 0.5), "whole numbers of 0 to 255"),
        (np.full((1, 28, 28), 256), "whole numbers of 0 to 255"),
    ],
)
def test_images_that_are_none(run, images, message):
    with pytest.raises(kd.UserError, match=message):
        run.predict(images)


def test_repeated_it_reuses_all_fits(run, place, capsys):
    made = []

    def factory():
        made.append(1)
        raise AssertionError("nothing is left to train")

    again = kd.run("quick", out=place / "run", overrides=TINY, time_limit=3600, callbacks=[factory])
    output = capsys.readouterr().out
    assert "reused: 2 of 2 fits" in output
    assert (
        "callbacks: test_repeated_it_reuses_all_fits.<locals>.factory; they are no part" in output
    )
    assert not made
    assert again.submission.equals(run.submission)


def test_the_command_takes_it_for_its_own_run(run, place, process_env):
    """The same settings on the command line have the same fits, figures and bytes."""
    before = {name: (place / "run" / name).read_bytes() for name in ("submission.csv", "folds.npz")}
    predictions = files.read_arrays(place / "run" / "predictions.npz")
    settings = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]
    done = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", "run", "--out", "run", *settings],
        env=process_env | {"KAGGLE_DIGITS_CACHE": str(place / "cache")},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "reused: 2 of 2 fits" in done.stdout
    assert {name: (place / "run" / name).read_bytes() for name in before} == before
    for name, array in files.read_arrays(place / "run" / "predictions.npz").items():
        np.testing.assert_array_equal(array, predictions[name])


def test_callbacks_take_part_in_every_net(run, place, capsys):
    import keras

    nets, epochs = [], []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            nets.append(self.model)
            epochs.append(epoch)

    found = kd.run("quick", out=place / "own", overrides=TINY, callbacks=[Watch])
    assert epochs == [0, 1, 0, 1]
    assert nets[0] is nets[1] is not nets[2]
    assert len({id(net) for net in nets}) == 2
    name = "test_callbacks_take_part_in_every_net.<locals>.Watch"
    assert found.metrics.callbacks == (name,)
    assert f"callbacks: {name}; they are no part" in capsys.readouterr().out
    assert found.submission.equals(run.submission)  # watching changes nothing


def test_nothing_is_left_in_the_process(run):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers], sys.unraisablehook
    threads = set(threading.enumerate())
    kd.run("quick", out=run.folder, overrides=TINY, time_limit="1h")
    assert ([signal.getsignal(number) for number in numbers], sys.unraisablehook) == before
    left = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert not [thread for thread in left if thread not in threads]


def test_configs():
    config = kd.load_config("quick", {"train.epochs": 3})
    assert (config.train.epochs, config.seed) == (3, 2026)
    with pytest.raises(kd.UserError, match=r"train\.epoch: unknown key"):
        kd.load_config("quick", {"train.epoch": 3})


def test_load_run(run, tmp_path):
    again = kd.load_run(run.folder)
    assert again.metrics.members == run.metrics.members
    assert again.oof.equals(run.oof)
    with pytest.raises(kd.UserError, match="expected the folder of a run"):
        kd.load_run(tmp_path)


@pytest.mark.parametrize("limit", ["soon", "", "0s", 0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("call", [kd.run, kd.tune])
def test_time_limit_that_is_none(place, call, limit):
    with pytest.raises(kd.UserError, match=r"^time_limit: expected"):
        call("quick", time_limit=limit)
    assert not (place / "submissions").exists()


@pytest.fixture
def asked_for(place, monkeypatch, run):
    """The options that a call stands for, and its time; nothing is run."""
    asked = []

    def take(options, reporter, budget):
        asked.append((options, budget))
        return SimpleNamespace(folder=run.folder)

    monkeypatch.setattr("kaggle_digits.runs.pipeline.run", take)

    def call(*args, **given):
        kd.run(*args, **given)
        return asked[-1]

    return call


@pytest.mark.parametrize(
    ("limit", "seconds"), [("8h30m", 30_600.0), ("90s", 90.0), (90, 90), (1.5, 1.5), (None, None)]
)
def test_time_limit(asked_for, limit, seconds):
    budget = asked_for("quick", time_limit=limit)[1]
    assert budget.limit == seconds
    assert not budget.signals.owns_process


def test_options_are_those_of_the_command(asked_for, place):
    given = asked_for()[0]
    assert (given.name, given.data, given.out) == ("quick", None, None)
    assert (given.cache, given.root) == (place / "cache", Path("submissions"))
    assert (given.restart, given.allow_changed_versions, given.allow_leak) == (False, False, False)
    assert given.config == kd.load_config("quick")
    (place / "mine.yaml").write_text("seed: 3\n")
    given = asked_for(
        "mine.yaml",
        data="d.zip",
        out="o",
        overrides={"train.epochs": 9},
        cache="c",
        restart=True,
        allow_changed_versions=True,
        allow_leak=True,
    )[0]
    assert (given.name, given.config.seed, given.config.train.epochs) == ("mine", 3, 9)
    assert (given.data, given.out, given.cache) == (Path("d.zip"), Path("o"), Path("c"))
    assert (given.restart, given.allow_changed_versions, given.allow_leak) == (True, True, True)
    # A stop's advice: repeated with restart, the call would delete what it has done.
    assert given.how_to_continue == "repeat the call without restart"


@pytest.mark.parametrize("call", [kd.run, kd.tune])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"overrides": {"train.epoch": 3}}, "train.epoch: unknown key, expected one of epochs"),
        ({"config": "quik"}, "quik: no such config; give a path to a YAML file or one of best"),
        ({"data": "absent"}, "--data absent: expected a folder or a zip"),
        ({"out": "file"}, "--out file: expected a folder, found a file"),
    ],
)
def test_what_a_caller_can_fix_is_one_line(place, call, given, message):
    (place / "file").touch()
    with pytest.raises(kd.UserError) as caught:
        call(**given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not (place / "submissions").exists()


def test_search(place):
    space = {"train.learning_rate": {"low": 0.003, "high": 0.1, "sampling": "log"}}
    tune = {"oracle": "random", "max_trials": 2, "space": space}
    config = kd.load_config("quick", TINY | {"folds.count": 3, "tune": tune})
    found = kd.tune(config, out=place / "search")
    assert found.record.complete
    assert found.trials["status"].isin(["completed", "stopped early"]).all()
    assert found.trials["train.learning_rate"].iloc[0] == 0.01
    assert found.best_config.tuned[0].trials == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_the_callers_to_handle(run, monkeypatch, number):
    """Its own handler hears of the signal, which ends the call as KeyboardInterrupt."""
    heard = []
    monkeypatch.setattr(
        "kaggle_digits.runs.pipeline.run", lambda *given: signal.raise_signal(number)
    )
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            kd.run()
    finally:
        signal.signal(number, before)
    assert heard == [number]
    assert caught.value.__suppress_context__  # a notebook shows no history of how it came about


SCRIPT = """
import sys
import kaggle_digits as kd

TINY = %r
try:
    kd.run("quick", out="run", overrides=TINY)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("alive", flush=True)
"""


def test_interrupted_it_keeps_whole_epochs_and_the_process_lives(tmp_path, process_env):
    (tmp_path / "script.py").write_text(SCRIPT % (TINY | {"train.epochs": 6},))
    env = process_env | {"KAGGLE_DIGITS_CACHE": str(tmp_path / "cache")}

    def call(interrupt):
        process = subprocess.Popen(
            [sys.executable, "script.py"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
        )
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if interrupt in line:
                process.send_signal(signal.SIGINT)
        assert process.wait(180) == 0
        return lines

    lines = call("epoch 2/6")
    assert lines[-2:] == ["interrupted", "alive"]
    assert not any("epoch 6/6" in line for line in lines)
    state = RunFolder(tmp_path / "run").read_state("cnn", 0)
    facts = json.loads(state["facts"].tobytes())
    assert 2 <= facts["epochs"] < 6  # whole ones
    lines = call("never")
    assert f"cnn fold 1 resumes after epoch {facts['epochs']}" in lines
    assert lines[-1] == "alive"
    assert "interrupted" not in lines
    assert kd.load_run(tmp_path / "run").metrics.fits_finished == 2


def test_a_full_disk_or_missing_rights_are_a_user_error(place, monkeypatch):
    from kaggle_digits.runs import pipeline

    def fail(*args):
        raise PermissionError(13, "Permission denied", "there.csv")

    monkeypatch.setattr(pipeline, "run", fail)
    with pytest.raises(
        kd.UserError, match=r"there\.csv: Permission denied; change its permissions"
    ):
        kd.run("quick")


def test_prepare_does_what_comes_before_the_first_fit(place, run):
    out, cache = place / "prepared", place / "fresh-cache"
    begun = api.prepare("quick", out=out, overrides=TINY, cache=cache, progress="none")
    assert repr(begun) == f"Run({str(out)!r}, no fit finished)"
    assert (out / "folds.npz").read_bytes() == (run.folder / "folds.npz").read_bytes()
    assert len(list(cache.glob("bank/*/variant-*.npy"))) == 2
    assert not list(out.glob("fits/*"))
    assert files.read_json(out / ".seconds")["wall"] > 0
    again = kd.run("quick", out=out, overrides=TINY, cache=cache, progress="none")
    assert again.metrics.complete
    expected = (run.folder / "submission.csv").read_bytes()
    assert (out / "submission.csv").read_bytes() == expected


def test_prepare_leaves_a_finished_run_as_it_is(place, run):
    names = ("submission.csv", "predictions.npz", "config.yaml", "folds.npz")
    before = {name: (run.folder / name).read_bytes() for name in names}
    begun = api.prepare("quick", out=run.folder, overrides=TINY, progress="none")
    assert begun.metrics.complete
    assert {name: (run.folder / name).read_bytes() for name in names} == before
    assert files.read_json(run.folder / "manifest.json")["complete"] is True


# Finished runs


@pytest.fixture
def finished(tmp_path):
    """Two finished runs, whose fits are written by hand."""
    write_data(tmp_path / "data")
    for name, settings in (("a", []), ("b", ["model.dropout=0.5"])):
        probabilities = wrong_at(1, *([2] if name == "b" else []))
        write_run(tmp_path / name, tmp_path / "data", {"cnn": probabilities}, settings=settings)
    return tmp_path


def test_runs_as_a_table(finished):
    table = kd.list_runs(finished, sort="wrong")
    assert table["name"].tolist() == ["a", "b", "data"]
    assert table["wrong"].tolist()[:2] == [1, 2]
    assert table["problem"].tolist() == ["", "", "holds no run and no search"]


def test_runs_compared(finished):
    found = kd.compare(finished / "a", str(finished / "b"))
    assert [run.name for run in found.runs] == ["a", "b"]
    assert found.tests[0].only_other_wrong == 1


def test_runs_joined(finished):
    run = kd.ensemble(
        finished / "a", finished / "b", out=finished / "joined", cache=finished / "cache"
    )
    assert isinstance(run, kd.Run)
    assert run.folder == finished / "joined"
    assert run.metrics.fits_finished == 4
    with pytest.raises(kd.UserError, match="expected a new or empty folder"):
        kd.ensemble(finished / "a", finished / "b", out=finished / "joined", method="vote")


def test_a_folder_may_be_given_from_home(run, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(run.folder).resolve().parent))
    assert kd.load_run("~/run").oof.equals(run.oof)
    assert "run" in kd.list_runs("~")["name"].tolist()
