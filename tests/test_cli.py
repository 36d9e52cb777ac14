import configparser
import importlib
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits import cli
from kaggle_digits.config import loading
from kaggle_digits.data import submission_csv
from kaggle_digits.system import time_budget

OF_THIS_MACHINE = ("KAGGLE_DIGITS_DATA", "KAGGLE_DIGITS_CACHE", "KAGGLE_KERNEL_RUN_TYPE")


@pytest.fixture
def _own_signals():
    """Give pytest back the signals that a command has taken."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def kd(_own_signals, monkeypatch, capsys, tmp_path):
    """Run a command line in this process, in an empty folder: (status, stdout, stderr)."""
    for name in OF_THIS_MACHINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["kaggle-digits", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        return end.value.code, shown.out, shown.err

    return call


def run_python(*args, **variables):
    path = os.pathsep.join(
        filter(None, (str(Path(cli.__file__).parents[2]), os.environ.get("PYTHONPATH")))
    )
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env=os.environ | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(found):
    """The one line on standard error of a refused command."""
    status, _, err = found
    assert status == 2
    assert err.startswith("kaggle-digits: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def write_submission(path, labels):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(submission_csv.to_csv(np.array(labels)))
    return path


# Help and version


@pytest.mark.parametrize("args", [(), ("--help",)])
def test_help(kd, args):
    _, out, err = kd(*args)
    assert err == ""
    assert out.startswith("Usage: kaggle-digits ")
    lines = [line.split() for line in out.splitlines()]
    assert {"run", "check", "bench"} <= {words[0] for words in lines if words}


def test_help_asked_for_is_no_failure(kd):
    assert kd("--help")[0] == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", ["--config", "--data", "--out", "--cache", "--set", "key=value"]),
        ("run", ["--time-limit", "8h30m", "--restart", "--allow-changed-versions"]),
        ("check", ["file", "--rows"]),
        ("bench", ["--config", "--data"]),
    ],
)
def test_help_of_a_command(kd, command, words):
    status, out, err = kd(command, "--help")
    assert (status, err) == (0, "")
    for word in words:
        assert word in out.lower()


def test_version(kd, monkeypatch):
    monkeypatch.setattr(cli, "version", {"kaggle-digits": "1.2.3"}.__getitem__)
    assert kd("--version") == (0, "kaggle-digits 1.2.3\n", "")


def test_module_and_console_script_are_the_same(tmp_path):
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    script = setup["options.entry_points"]["console_scripts"].strip()
    name, _, target = script.partition(" = ")
    module, _, function = target.partition(":")
    assert name == "kaggle-digits"
    assert getattr(importlib.import_module(module), function) is cli.main
    good = write_submission(tmp_path / "good.csv", [1, 2, 3])
    for args in (["check", str(good), "--rows", "3"], ["check", str(good)], ["--help"]):
        as_module = run_python("-m", "kaggle_digits", *args)
        as_script = run_python("-c", f"from {module} import {function}; {function}()", *args)
        assert vars(as_module) | {"args": 0} == vars(as_script) | {"args": 0}
        assert as_module.returncode == (2 if len(args) == 2 else 0)


# What a user can cause


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--nope"], "--nope"),
        (["nope"], "'nope'"),
        (["run", "--nope"], "--nope"),
        (["run", "extra"], "extra"),
        (["run", "--out"], "--out"),
        (["check"], "file"),
        (["check", "a.csv", "--rows", "many"], "--rows"),
        (["check", "a.csv", "--rows", "0"], "--rows"),
    ],
)
def test_wrong_usage_is_one_line(kd, args, named):
    line = refusal(kd(*args))
    assert named in line.lower()  # typer's versions write FILE and file
    assert "--help" in line


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--config", "nope"], "nope: no such config; give a path to a YAML file or one of best"),
        (["--config", "no/such.yaml"], "no/such.yaml: no such config"),
        (["--set", "train.epoch=5"], "train.epoch: unknown key"),
        (["--set", "train.epochs=0"], "train.epochs"),
        (["--set", "train.epochs"], "--set train.epochs: expected KEY=VALUE"),
        (["--data", "missing"], "--data missing"),
        (["--out", "file"], "--out file: expected a folder"),
        (["--time-limit", "soon"], "--time-limit: expected a duration such as 8h30m, 45m or 90s, "),
        (["--time-limit", "0s"], "--time-limit: expected a duration"),
        (["--time-limit", ""], "--time-limit: expected a duration"),
        (["--set", "augment.elastic.sigma=0.5"], "augment.elastic.sigma"),
        (["--set", "augment.rotate=[5, -5]"], "rotate"),
        # Five poolings leave nothing of 28 pixels.
        (["--set", f"model.stages=[{', '.join(5 * ['{width: 1, pool: last}'])}]"], "model"),
        (["--set", "folds.count=50", "--data", "tiny"], "expected at least 50 rows of each class"),
    ],
)
def test_wrong_input_is_one_line(kd, tmp_path, args, named):
    (tmp_path / "file").write_text("")
    (tmp_path / "tiny").mkdir()
    pixels = [f"pixel{index}" for index in range(784)]
    row = ",".join(["0"] * 784)
    (tmp_path / "tiny" / "train.csv").write_text(f"label,{','.join(pixels)}\n1,{row}\n")
    (tmp_path / "tiny" / "test.csv").write_text(f"{','.join(pixels)}\n{row}\n")
    assert named in refusal(kd("run", "--cache", "cache", *args))
    assert not (tmp_path / "submissions").exists()


def test_unknown_backend_is_one_line(kd, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    assert "KERAS_BACKEND" in refusal(kd("run"))


LIGHT = """
import sys
from kaggle_digits import cli
try:
    cli.main()
except SystemExit as end:
    heavy = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
    print(end.code, sorted(heavy))
"""


@pytest.mark.parametrize("command", ["run", "tune", "bench"])
def test_key_of_an_earlier_version_is_named_on_standard_output(kd, tmp_path, command):
    (tmp_path / "old.yaml").write_text("model: {head: max}")
    status, said, complaint = kd(command, "--config", "old.yaml", "--data", "missing")
    line = "old.yaml: model.head is now called model.pooling; the old name is still read"
    assert said.splitlines().count(line) == 1
    assert (status, complaint.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--set", "train.epochs=x"],
        ["run", "--time-limit", "30"],
        ["run", "--data", "missing"],
        ["run", "--cache", "cache", "--data", "half"],
        ["check", "missing.csv"],
    ],
)
def test_inputs_are_checked_before_a_backend_is_imported(tmp_path, args):
    (tmp_path / "half").mkdir()
    for part in ("train", "test"):
        (tmp_path / "half" / f"{part}.csv").write_text("label,pixel0\n1,0\n")
    done = run_python("-c", f"import os; os.chdir({str(tmp_path)!r})\n{LIGHT}", *args)
    assert done.stdout.splitlines()[-1] == "2 []"
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "name", "status"), [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)]
)
def test_a_signal_is_one_line(kd, monkeypatch, number, name, status):
    monkeypatch.setattr(
        submission_csv, "check_file", lambda *args, **kwargs: signal.raise_signal(number)
    )
    line = f"kaggle-digits: stopped by {name}; repeat the command to continue\n"
    assert kd("check", "x.csv") == (status, "", line)


def test_an_error_of_the_system_is_one_line(kd, monkeypatch):
    def fail(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "there.csv")

    monkeypatch.setattr(submission_csv, "check_file", fail)
    assert "there.csv: Permission denied" in refusal(kd("check", "x.csv"))


def test_a_defect_of_the_program_is_not_hidden(kd, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(submission_csv, "check_file", fail)
    with pytest.raises(ZeroDivisionError):
        kd("check", "x.csv")


# Options of run and tune


@pytest.fixture
def asked_for(kd, monkeypatch):
    """The options that a command line stands for, and the time it has; nothing is run."""
    from kaggle_digits.runs import pipeline
    from kaggle_digits.tuning import search

    def call(*args, command="run"):
        asked = []
        module, function = {"run": (pipeline, "run"), "tune": (search, "tune")}[command]
        take = lambda options, reporter, budget: asked.append((options, budget))  # noqa: E731
        monkeypatch.setattr(module, function, take)
        assert kd(command, *args)[0] == 0
        return asked[0]

    return call


@pytest.fixture
def options_of(asked_for):
    return lambda *args, command="run": asked_for(*args, command=command)[0]


def test_options_of_run(options_of):
    given = options_of(
        *("--config", "standard", "--data", "d.zip", "--out", "o", "--cache", "c"),
        *("--set", "train.epochs=3", "--set", "seed=5", "--set", "train.epochs=4"),
    )
    assert (given.name, given.data, given.out, given.cache) == (
        "standard",
        Path("d.zip"),
        Path("o"),
        Path("c"),
    )
    assert given.root == Path("submissions")
    assert (given.config.train.epochs, given.config.seed) == (4, 5)


@pytest.mark.parametrize(("text", "seconds"), [("8h30m", 30_600.0), ("90s", 90.0)])
def test_time_limit(asked_for, monkeypatch, text, seconds):
    clock = SimpleNamespace(now=500.0)
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(cli.options, "STARTED", 470.0)  # imports take time too
    budget = asked_for("--time-limit", text)[1]
    clock.now = 560.0
    assert (budget.limit, budget.seconds_left()) == (seconds, seconds - 90)


@pytest.mark.parametrize("command", ["run", "tune"])
def test_time_is_not_limited_by_default(asked_for, command):
    budget = asked_for(command=command)[1]
    assert (budget.limit, budget.seconds_left()) == (None, math.inf)


@pytest.mark.parametrize("command", ["run", "tune"])
def test_a_command_owns_its_process(asked_for, command):
    assert asked_for(command=command)[1].signals.owns_process


@pytest.mark.parametrize("asked", [None, "restart", "allow_changed_versions", "allow_leak"])
def test_what_has_to_be_asked_for(options_of, asked):
    given = options_of(*([f"--{asked.replace('_', '-')}"] if asked else []))
    names = ("restart", "allow_changed_versions", "allow_leak")
    assert {name: getattr(given, name) for name in names} == {n: n == asked for n in names}


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        ((), "repeat the command"),
        # Repeated with it, the command would delete what it has done.
        (("--restart",), "repeat the command without --restart"),
    ],
)
def test_how_to_continue(options_of, kd, monkeypatch, args, advice):
    from kaggle_digits.runs import pipeline

    assert options_of(*args).how_to_continue == advice
    monkeypatch.setattr(pipeline, "run", lambda *given: signal.raise_signal(signal.SIGTERM))
    line = f"kaggle-digits: stopped by SIGTERM; {advice} to continue\n"
    assert kd("run", *args) == (143, "", line)


def test_options_of_tune(options_of):
    given = options_of(
        *("--config", "standard", "--data", "d.zip", "--out", "o", "--cache", "c", "--trials", "7"),
        *("--set", "train.epochs=3", "--save", "best.yaml", "--max-seconds-per-fit", "2.5"),
        *("--max-parameters", "1000", "--against", "quick", "--against", "best"),
        "--allow-changed-versions",
        command="tune",
    )
    assert (given.name, given.data, given.out, given.cache) == (
        "standard",
        Path("d.zip"),
        Path("o"),
        Path("c"),
    )
    assert (given.root, given.save) == (Path("submissions"), Path("best.yaml"))
    assert (given.trials, given.max_seconds_per_fit, given.max_parameters) == (7, 2.5, 1000)
    assert given.config.train.epochs == 3
    assert list(given.against) == ["quick", "best"]
    assert given.against["quick"] == loading.load("quick")
    assert given.allow_changed_versions


def test_options_of_tune_that_are_left_out(options_of):
    given = options_of(command="tune")
    assert (given.name, given.data, given.out, given.save) == ("quick", None, None, None)
    assert (given.trials, given.max_seconds_per_fit, given.max_parameters) == (None, None, None)
    assert (given.against, given.allow_changed_versions) == ({}, False)


def test_quick_is_the_default(options_of):
    given = options_of()
    assert (given.name, given.data, given.out) == ("quick", None, None)


def test_config_by_path_gives_its_name(options_of, tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 3\n")
    for value in ("mine.yaml", "./mine.yaml", tmp_path / "mine.yaml"):
        given = options_of("--config", value)
        assert (given.name, given.config.seed) == ("mine", 3)


def test_cache_folder(options_of, monkeypatch):
    import platformdirs

    assert options_of().cache == Path(platformdirs.user_cache_dir("kaggle-digits"))
    monkeypatch.setenv("KAGGLE_DIGITS_CACHE", "from-environment")
    assert options_of().cache == Path("from-environment")
    assert options_of("--cache", "from-option").cache == Path("from-option")
    monkeypatch.setenv("KAGGLE_DIGITS_CACHE", "~/cache")
    assert options_of().cache == Path.home() / "cache"


# check


def test_check_of_a_valid_submission(kd, tmp_path):
    good = write_submission(tmp_path / "good.csv", [3, 1, 4])
    line = (
        f"{good}: a valid submission of 3 rows; NOT FOR UPLOAD: the competition's has 28,000 rows\n"
    )
    assert kd("check", good, "--rows", "3") == (0, line, "")


def test_check_expects_the_competitions_rows(kd, tmp_path):
    whole = write_submission(tmp_path / "whole.csv", np.arange(28_000) % 10)
    assert kd("check", whole)[:2] == (0, f"{whole}: a valid submission of 28,000 rows\n")
    short = write_submission(tmp_path / "short.csv", [3, 1, 4])
    assert f"{short}, line 4: expected 28000 rows" in refusal(kd("check", short))


def test_check_expects_the_rows_of_the_run(kd, tmp_path):
    good = write_submission(tmp_path / "run" / "good.csv", [3, 1, 4])
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({"test_rows": 3}))
    assert kd("check", good)[0] == 0
    assert "DEMO" not in kd("check", good)[1]
    assert "expected 2 rows" in refusal(kd("check", good, "--rows", "2"))
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({"test_rows": 4}))
    assert "line 4: expected 4 rows" in refusal(kd("check", good))


def test_check_takes_the_folder_of_a_run(kd, tmp_path):
    file = write_submission(tmp_path / "run" / "submission.csv", np.arange(28_000) % 10)
    said = f"{file}: a valid submission of 28,000 rows\n"
    assert kd("check", tmp_path / "run") == (0, said, "")
    assert "expected the folder of a run with a submission.csv" in refusal(kd("check", tmp_path))


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({"demo_data": True}, "it is of DEMO DATA"),
        ({"demo_data": True, "not_for_upload": "it is of DEMO DATA"}, "it is of DEMO DATA"),
        ({"demo_data": False, "not_for_upload": "trained on MNIST"}, "trained on MNIST"),
    ],
)
def test_check_says_what_is_not_for_upload(kd, tmp_path, manifest, reason):
    whole = write_submission(tmp_path / "run" / "whole.csv", np.arange(28_000) % 10)
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    said = f"{whole}: a valid submission of 28,000 rows; NOT FOR UPLOAD: {reason}\n"
    assert kd("check", whole) == (0, said, "")


@pytest.mark.parametrize("manifest", ["{", "[]", "{}", "\udcff", '{"test_rows": "x"}'])
def test_check_beside_a_broken_manifest(kd, tmp_path, manifest):
    good = write_submission(tmp_path / "run" / "good.csv", [3, 1, 4])
    (tmp_path / "run" / "manifest.json").write_bytes(manifest.encode("utf-8", "surrogateescape"))
    assert "expected 28000 rows" in refusal(kd("check", good))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("ImageId,Label\n1,3\n3,1\n", "line 3: expected ImageId 2, found '3'"),
        ("ImageId,Label\n1,3\n2,10\n", "line 3: expected a Label 0..9, found '10'"),
        ("id,label\n1,3\n2,1\n", "line 1: expected the header 'ImageId,Label'"),
    ],
)
def test_check_names_the_line(kd, tmp_path, content, reason):
    (tmp_path / "bad.csv").write_text(content)
    assert f"bad.csv, {reason}" in refusal(kd("check", "bad.csv", "--rows", "2"))


def test_check_of_labels_that_cannot_be_right(kd, tmp_path):
    one_class = write_submission(tmp_path / "ones.csv", [1] * 1000)
    line = refusal(kd("check", one_class, "--rows", "1000"))
    assert "expected each class in 5 to 20 % of the rows, found class 0 in 0.00%" in line


def test_check_of_a_missing_file(kd):
    assert "nowhere.csv" in refusal(kd("check", "nowhere.csv"))


# Help and progress


@pytest.mark.parametrize("command", ["", "run", "extend", "tune", "doctor", "check", "bench"])
@pytest.mark.parametrize("width", ["80", "120"])
def test_help_is_short_to_ask_for_and_never_cut_off(kd, monkeypatch, command, width):
    monkeypatch.setenv("COLUMNS", width)
    status, out, err = kd(*command.split(), "-h")
    assert (status, err) == (0, "")
    assert "..." not in out.replace("[ARGS]...", "")
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= int(width)
    assert out == kd(*command.split(), "--help")[1]


@pytest.mark.parametrize("command", ["run", "tune", "bench", "doctor"])
def test_help_names_every_shipped_config(kd, command):
    out = " ".join(kd(command, "-h")[1].split())
    for name in loading.shipped_names():
        assert re.search(rf"A shipped config \([^)]*\b{name}\b", out)


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (["run", "--epochs", "3"], "No such option: --epochs (kaggle-digits run --help lists"),
        (["extend", "dir", "--foo"], "No such option: --foo (kaggle-digits extend --help lists"),
        (["config", "show", "--foo"], "No such option: --foo (kaggle-digits config show --help"),
        (["tune", "--trials", "0"], "'--trials': expected at least 1 (kaggle-digits tune --help"),
        (["tune", "--trials", "x"], "'--trials': expected a whole number (kaggle-digits tune"),
        (["tune", "--max-seconds-per-fit", "x"], "expected a number (kaggle-digits tune --help"),
        (["rnu"], "No such command 'rnu'. Did you mean 'run'? (kaggle-digits --help lists"),
    ],
)
def test_usage_errors_point_to_the_help_of_their_command(kd, args, advice):
    assert advice in refusal(kd(*args))


@pytest.mark.parametrize("command", ["run", "tune"])
def test_kinds_of_progress(kd, monkeypatch, command):
    from kaggle_digits.system import console

    made = []
    monkeypatch.setattr(console, "Reporter", lambda **given: made.append(given) or Silent())
    kd(command, "--data", "absent", "--cache", "c", "--progress", "plain", "-q")
    kd(command, "--data", "absent", "--cache", "c")
    assert made == [
        {"progress": "plain", "quiet": True},
        {"progress": "auto", "quiet": False},
    ]


class Silent:
    def say(self, text):
        """Nobody hears it."""


def test_unknown_kind_of_progress_is_refused(kd):
    line = refusal(kd("run", "--progress", "fancy"))
    assert "progress: expected one of auto, rich, plain, none, found 'fancy'" in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kaggle-digits be", {"bench"}),
        ("kaggle-digits run --config st", {"standard"}),
        ("kaggle-digits tune --progress ", {"auto", "rich", "plain", "none"}),
        ("kaggle-digits run --time", {"--time-limit"}),
    ],
)
def test_shell_completion(words, expected):
    done = run_python(
        "-m",
        "kaggle_digits",
        _KAGGLE_DIGITS_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    )
    assert set(done.stdout.split()) == expected


# The data of a run that is extended


@pytest.fixture
def data_of_extended(kd, monkeypatch, tmp_path):
    """Extend a run that had its data from a place; return the place taken, or the refusal."""
    from kaggle_digits.config.schema import Config
    from kaggle_digits.runs import pipeline
    from kaggle_digits.storage import files
    from kaggle_digits.storage.run_folder import RunFolder

    taken = []
    monkeypatch.setattr(pipeline, "run", lambda options, *others: taken.append(options.data))

    def extend(source, *args):
        folder = RunFolder(tmp_path / "run")
        folder.folder.mkdir()
        folder.config.write_text(loading.dump(Config()))
        manifest = {**folder.stamp, "data_source": str(source)}
        files.write_json(folder.manifest, manifest)
        found = kd("extend", "run", "--seeds", "2", "--cache", "c", *args)
        return taken[0] if taken else found

    return extend


def write_data(folder):
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        (folder / name).touch()
    return folder


def test_extend_takes_the_data_that_the_run_names(data_of_extended, tmp_path):
    place = write_data(tmp_path / "mine")
    assert data_of_extended(place) == place


def test_extend_takes_the_data_it_is_given(data_of_extended, tmp_path):
    place = write_data(tmp_path / "mine")
    assert data_of_extended(place, "--data", "other") == Path("other")


def test_extend_takes_the_data_of_its_own_settings(data_of_extended, tmp_path):
    place = write_data(tmp_path / "mine")
    assert data_of_extended(place, "--set", "data.path=other") is None
