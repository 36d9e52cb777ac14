"""Who may import whom, and what a light start leaves alone."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import kaggle_digits
from kaggle_digits.config import loading
from kaggle_digits.data import folds, sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.training import fit_spec
from kaggle_digits.tuning.search_folder import SearchFolder

PACKAGE = Path(kaggle_digits.__file__).parent
SOURCES = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}

HEAVY = {"tensorflow", "jax", "torch", "keras", "albumentations", "pandas", "sklearn", "matplotlib"}
HEAVY |= {"cv2", "PIL", "scipy", "keras_tuner", "grpc", "tensorboard", "jinja2"}

# Tested through others: it only calls main; constants alone; what `benchmark` compares with.
THIN = {"__main__.py", "data/competition.py", "diagnostics/baselines.py"}
# The other commands are tested by tests/test_cli.py and by what they call.
THIN |= {name for name in SOURCES if name.startswith("cli/") and "__init__" not in name}
THIN -= {"cli/config.py", "cli/data.py"}
# Only these are about nets or KerasTuner throughout, and import what they are about at the top.
ABOUT = {
    "training/batches.py": {"keras"},
    "training/callbacks.py": {"keras"},
    "training/deslant.py": {"keras"},
    "training/hard_rows.py": {"keras"},
    "training/models.py": {"keras"},
    "training/optimizers.py": {"keras"},
    "training/train.py": {"keras"},
    "tuning/oracles.py": {"keras_tuner", "grpc"},
}


def imports(name, top_level_only=False):
    """Return (modules of this package, other packages) that a file imports."""
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
    own, others = set(), set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            # `from kaggle_digits.data import folds` may name a module after the import.
            package = node.module.startswith("kaggle_digits")
            modules = [f"{node.module}.{a.name}" for a in node.names] if package else [node.module]
        else:
            continue
        for module in modules:
            package, *rest = module.split(".")
            if package == "kaggle_digits":
                own.add("/".join(rest[:2]) + ".py")
            else:
                others.add(package)
    return own, others


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_heavy_packages_wait_until_a_function_needs_them(name):
    own, others = imports(name, top_level_only=True)
    assert others & HEAVY == ABOUT.get(name, set())
    if name not in ABOUT:
        assert not own & ABOUT.keys()


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_only_the_backend_module_knows_the_backends(name):
    _, others = imports(name)
    if name != "training/backend.py":
        assert not others & {"tensorflow", "jax", "torch"}


def test_package_imports_nothing_at_the_top():
    assert imports("__init__.py", top_level_only=True) == (set(), {"__future__", "typing"})


def test_command_line_imports_next_to_nothing_at_the_top():
    for name in SOURCES:
        if name.startswith("cli/"):
            own, _ = imports(name, top_level_only=True)
            rooms = {each.removesuffix(".py").partition("/")[0] for each in own}
            assert rooms <= {"cli", "errors", "system"}


def test_imports_are_seen(tmp_path, monkeypatch):
    path = tmp_path / "folds.py"
    path.write_text(
        "import os.path, kaggle_digits.augmentation.bank\n"
        "from kaggle_digits.storage import files as f, cache\n"
        "def f():\n    from kaggle_digits.training.train import train\n    import cv2\n"
    )
    monkeypatch.setitem(SOURCES, "data/folds.py", path)
    top = {"augmentation/bank.py", "storage/files.py", "storage/cache.py"}
    assert imports("data/folds.py") == (top | {"training/train.py"}, {"os", "cv2"})
    assert imports("data/folds.py", top_level_only=True) == (top, {"os"})


def test_no_module_passes_400_lines():
    assert not {n for n, p in SOURCES.items() if len(p.read_text().splitlines()) > 400}


def test_every_module_has_a_test_file_at_its_place():
    tests = Path(__file__).parent
    modules = {name for name in SOURCES if not name.endswith("__init__.py")}
    tested = {
        path.relative_to(tests).with_name(path.name.removeprefix("test_")).as_posix()
        for path in tests.rglob("test_*.py")
    }
    assert modules - tested == THIN


# The light start

COMMAND = """
import json, sys
from kaggle_digits.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


@pytest.fixture
def start(tmp_path, process_env):
    """Run a command in an empty folder; return (status, output, error lines, loaded packages)."""

    def start(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env=process_env | {"KAGGLE_DIGITS_CACHE": str(tmp_path / "cache")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        *output, loaded = done.stdout.splitlines()
        return done.returncode, output, done.stderr.splitlines(), set(json.loads(loaded))

    return start


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["check", "--help"], ["data", "fetch", "--help"]]
)
def test_help_is_light(start, arguments):
    status, output, errors, loaded = start(*arguments)
    assert (status, errors) == (0, [])
    assert any("Usage: kaggle-digits" in line for line in output)
    assert not loaded & HEAVY
    assert "numpy" not in loaded


HEADER = ",".join(["label", *(f"pixel{index}" for index in range(784))])


def write_data(folder, labels=tuple(range(10)) * 2, cell="0"):
    """Write train.csv and test.csv, every pixel as given."""
    folder.mkdir()
    row = ",".join([cell] * 784)
    lines = [HEADER, *(f"{label},{row}" for label in labels)]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    (folder / "test.csv").write_text(f"{HEADER.removeprefix('label,')}\n{row}\n")


def write_older_run(folder, good):
    """Write a finished fit that an older Keras made with the settings and data of a case below."""
    config = loading.load("quick", ["folds.count=2", "train.threads=2"])
    digits = read_digits(sources.find_source(good))
    inputs = fit_spec.Inputs(digits.train_images, digits.train_labels, digits.test_images)
    split = folds.stratified(digits.train_labels, 2, config.seed)
    spec = fit_spec.plan(config, inputs, split, "tensorflow")[0]
    facts = {"identity": spec.identity, "digest": spec.digest}
    facts["packages"] = environment.package_versions() | {"keras": "0.0.1"}
    writers = {"predictions.npz": lambda path: files.write_arrays(path, {"test": split[0]})}
    with RunFolder(folder).locked():
        RunFolder(folder).write_fit("cnn", 0, writers, facts)


REFUSED = {
    "unknown key": (["run", "--set", "train.epoch=3"], "train.epoch: unknown key"),
    "value that does not fit": (["run", "--set", "train.epochs=x"], "train.epochs: "),
    "no value": (["run", "--set", "train.epochs"], "--set train.epochs: expected KEY=VALUE"),
    "unknown config": (["run", "--config", "quik"], "quik: no such config"),
    "absent data": (["run", "--data", "absent"], "--data absent: expected a folder or a zip"),
    "absent data to check": (["data", "check", "absent"], "absent: expected a folder or a zip"),
    "bad cell to describe": (["data", "describe", "bad"], "train.csv line 2"),
    "other files than fetched": (
        ["data", "fetch", "--to", "good"],
        "good: expected the competition's files, found another train.csv and test.csv",
    ),
    "bad cell": (["run", "--data", "bad"], "train.csv line 2"),
    "too few rows": (
        ["run", "--data", "few", "--set", "folds.count=3"],
        "expected at least 3 rows of each class",
    ),
    "a file as --out": (
        ["run", "--data", "good", "--out", "few/train.csv", "--set", "folds.count=2"],
        "--out few/train.csv: expected a folder",
    ),
    "another run's fits": (
        ["run", "--data", "good", "--out", "other", "--set", "folds.count=2"],
        "cnn-fold1: this fit was made with another attempt: 7 there, 1 here",
    ),
    "a run in a search's folder": (
        ["run", "--data", "good", "--out", "search", "--set", "folds.count=2"],
        "--out search: expected a new or empty folder, or that of a run, found that of a search",
    ),
    "a search in a run's folder": (
        [
            *("tune", "--data", "good", "--out", "other"),
            *("--set", "folds.count=2", "--set", "tune.holdout_folds=0"),
        ],
        "--out other: expected a new or empty folder, or that of a search, found that of a run",
    ),
    "a fit of other package versions": (
        ["run", "--data", "good", "--out", "older", "--set", "folds.count=2"],
        "cnn fold 1 was trained with keras 0.0.1",
    ),
    "time limit that is none": (["run", "--time-limit", "soon"], "expected a duration such as"),
    "nothing to extend": (["extend", "good", "--seeds", "2"], "good: expected the folder of a run"),
    "nothing to evaluate": (["evaluate", "good"], "good: expected the folder of a run, found no m"),
    "nothing finished to evaluate": (["evaluate", "begun"], "begun: no fit is finished yet"),
    "nothing to export": (["export", "good"], "good: expected the folder of a run, found no mani"),
    "nothing to report": (["report", "good"], "good: expected the folder of a run, found no confi"),
    "no run to report": (
        ["report", "absent"],
        "expected the folder of a run, found no such folder",
    ),
    "no folder of runs": (["runs", "--root", "absent"], "absent: expected a folder with runs"),
    "unknown column": (["runs", "--root", ".", "--sort", "score"], "--sort score: expected one of"),
    "nothing to compare": (["compare", "good", "other"], "good: expected the folder of a run"),
    "no run to compare": (["compare", "good"], "good: expected the folder of a run"),
    "nothing to join": (["ensemble", "good", "other"], "good: expected the folder of a run"),
    "unknown method": (
        ["ensemble", "a", "b", "--method", "best"],
        "--method best: expected one of",
    ),
    "no pictures": (["classify", "absent", "good"], "good: expected pictures in this folder"),
    "no run to classify with": (
        ["classify", "good", "good/train.csv"],
        "good: expected the folder of a run",
    ),
    "unknown option": (["run", "--epochs", "3"], "No such option"),
    "absent submission": (["check", "absent.csv"], "absent.csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_command_starts_no_backend_and_says_why_in_one_line(tmp_path, start, case):
    write_data(tmp_path / "good")
    write_data(tmp_path / "few", labels=[*range(10), *range(9)])
    write_data(tmp_path / "bad", cell="3.0")
    identity = {"identity": {"format": fit_spec.FORMAT, "member": "cnn", "fold": 0, "attempt": 7}}
    with RunFolder(tmp_path / "other").locked():
        RunFolder(tmp_path / "other").write_fit("cnn", 0, {}, identity)
    write_older_run(tmp_path / "older", tmp_path / "good")
    with RunFolder(tmp_path / "begun").locked():
        begun = RunFolder(tmp_path / "begun")
        files.write_json(begun.manifest, begun.stamp)
    with SearchFolder(tmp_path / "search").locked():
        pass
    arguments, message = REFUSED[case]
    status, _, errors, loaded = start(*arguments)
    assert status == 2
    assert len(errors) == 1, errors
    assert errors[0].startswith("kaggle-digits: ")
    assert message in errors[0]
    assert not loaded & {"keras", "tensorflow", "jax", "torch"}
    assert not (tmp_path / "submissions").exists()


def test_missing_test_file_is_refused(tmp_path, start):
    write_data(tmp_path / "half")
    (tmp_path / "half" / "test.csv").unlink()
    status, output, errors, loaded = start("run", "--data", "half")
    assert (status, output, len(errors)) == (2, [], 1)
    assert "found no test.csv" in errors[0]
    assert not loaded & HEAVY
