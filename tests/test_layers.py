"""Who may import whom, and what a light start leaves alone."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import kaggle_digits
from kaggle_digits import config as configs
from kaggle_digits import data, disk, fitspec, folds, machine, store

SOURCES = {path.stem: path for path in Path(kaggle_digits.__file__).parent.glob("*.py")}

# Data flows one way: a module imports from the rows above its own at most. Every module may import
# `config`, its `sections` and `errors`; those stand below all others.
BASE = {"config", "errors", "sections"}
ALLOWED = {
    "errors": set(),
    "sections": set(),
    "config": {"errors", "sections"},
    "sources": BASE,
    "data": BASE | {"sources"},
    "folds": BASE,
    "augment": BASE,
    "ensemble": BASE,
    "submission": BASE,
    "disk": BASE,
    "locked": BASE | {"disk"},
    "store": BASE | {"disk", "locked"},
    "backend": BASE,
    "machine": BASE,
    "progress": BASE,
    "stopping": BASE,
    "models": BASE | {"backend"},
    "bank": BASE | {"augment", "disk", "store"},
    "train": BASE | {"backend", "models"},
    "fitspec": BASE | {"bank", "disk", "store"},
    "fits": BASE | {"backend", "bank", "disk", "fitspec", "machine", "train", "store"},
    "comparison": BASE,
    "findings": BASE,
    "cluster": BASE,
    "space": BASE,
}
ALLOWED["results"] = BASE | {
    "data",
    "disk",
    "ensemble",
    "fitspec",
    "folds",
    "machine",
    "stopping",
    "store",
    "submission",
}
ALLOWED["planning"] = BASE
ALLOWED["planning"] |= {
    "data",
    "disk",
    "fits",
    "fitspec",
    "folds",
    "machine",
    "progress",
    "store",
}
ALLOWED["fitting"] = BASE
ALLOWED["fitting"] |= {
    "backend",
    "disk",
    "fits",
    "fitspec",
    "progress",
    "results",
    "stopping",
    "store",
    "train",
}
ALLOWED["pipeline"] = set(ALLOWED) - {"comparison", "findings", "cluster", "space"}
ALLOWED["extending"] = BASE
# A search stands on what a run stands on, and knows nothing of the run's own order of stages.
ALLOWED["board"] = BASE | {"findings"}
ALLOWED["importance"] = BASE | {"findings"}
ALLOWED["search_report"] = BASE | {"board", "disk", "findings", "importance"}
ALLOWED["search_log"] = BASE | {"disk", "findings", "importance"}
ALLOWED["search_folder"] = BASE | {"disk", "findings", "locked", "store"}
ALLOWED["oracles"] = BASE | {"cluster", "disk", "findings"}
ALLOWED["trials"] = BASE
ALLOWED["trials"] |= {
    "backend",
    "bank",
    "comparison",
    "disk",
    "ensemble",
    "findings",
    "fits",
    "fitspec",
    "models",
    "oracles",
    "planning",
    "progress",
    "search_folder",
    "stopping",
    "store",
    "train",
}
ALLOWED["search_plan"] = BASE | {"backend", "data", "disk", "fitspec", "machine", "planning"}
ALLOWED["search_plan"] |= {"search_folder", "store"}
ALLOWED["search_result"] = BASE | {"board", "comparison", "data", "disk", "ensemble", "findings"}
ALLOWED["search_result"] |= {"progress", "search_folder", "search_plan", "trials"}
ALLOWED["tuning"] = set(ALLOWED) - {"pipeline", "fitting", "results", "extending"}
ALLOWED["doctor"] = set(ALLOWED) - {"pipeline", "fitting", "results", "extending", "tuning"}
ALLOWED["rivals"] = BASE | {"augment", "models", "train"}
ALLOWED["bench"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__init__"] = set()
ALLOWED["__main__"] = {"cli"}

HEAVY = {"tensorflow", "jax", "torch", "keras", "albumentations", "pandas", "sklearn", "matplotlib"}
HEAVY |= {"cv2", "scipy", "keras_tuner", "grpc", "tensorboard", "jinja2"}


def imports(name, top_level_only=False):
    """Return (the package's own modules, other packages) that a module imports."""
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
    own, others = set(), set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            # `from kaggle_digits import store` names a module after the import.
            package = node.module == "kaggle_digits"
            modules = [f"{node.module}.{a.name}" if package else node.module for a in node.names]
        else:
            continue
        for module in modules:
            package, *rest = module.split(".")
            if package == "kaggle_digits":
                own.update(rest[:1])
            else:
                others.add(package)
    return own, others


def test_the_table_names_every_module():
    assert set(ALLOWED) == set(SOURCES)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_module_imports_only_what_its_layer_may(name):
    own, _ = imports(name)
    assert own <= ALLOWED[name]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_heavy_packages_wait_until_a_function_needs_them(name):
    _, others = imports(name, top_level_only=True)
    # Only these are about nets or KerasTuner throughout; nobody imports them at the top but one
    # another.
    about = {"models": {"keras"}, "train": {"keras"}, "oracles": {"keras_tuner", "grpc"}}
    assert others & HEAVY == about.get(name, set())
    if name != "train":
        assert not imports(name, top_level_only=True)[0] & about.keys()


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_only_the_backend_module_knows_the_backends(name):
    _, others = imports(name)
    if name != "backend":
        assert not others & {"tensorflow", "jax", "torch"}


def test_command_line_imports_next_to_nothing_at_the_top():
    assert imports("cli", top_level_only=True)[0] == {"errors", "stopping"}


def test_the_table_can_be_broken(tmp_path, monkeypatch):
    path = tmp_path / "folds.py"
    path.write_text(
        "import os.path, kaggle_digits.bank\n"
        "from kaggle_digits import store as s, fits\n"
        "def f():\n    from kaggle_digits.train import train\n    import cv2\n"
    )
    monkeypatch.setitem(SOURCES, "folds", path)
    assert imports("folds") == ({"bank", "store", "fits", "train"}, {"os", "cv2"})
    assert imports("folds", top_level_only=True) == ({"bank", "store", "fits"}, {"os"})


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


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["check", "--help"]])
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
    config = configs.load("quick", ["folds.count=2"])
    digits = data.load(data.find_source(good))
    inputs = fitspec.Inputs.of(digits.train_images, digits.train_labels, digits.test_images)
    split = folds.stratified(digits.train_labels, 2, config.seed)
    spec = fitspec.plan(config, inputs, split, "tensorflow")[0]
    facts = {"identity": spec.identity(), "digest": spec.digest()}
    facts["packages"] = machine.package_versions() | {"keras": "0.0.1"}
    files = {"predictions.npz": lambda path: disk.write_arrays(path, {"test": split[0]})}
    store.RunFolder(folder).write_fit("cnn", 0, files, facts)


REFUSED = {
    "unknown key": (["run", "--set", "train.epoch=3"], "train.epoch: unknown key"),
    "value that does not fit": (["run", "--set", "train.epochs=x"], "train.epochs: "),
    "no value": (["run", "--set", "train.epochs"], "--set train.epochs: expected KEY=VALUE"),
    "unknown config": (["run", "--config", "quik"], "quik: no such config"),
    "absent data": (["run", "--data", "absent"], "--data absent: expected a folder or a zip"),
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
    "a fit of other package versions": (
        ["run", "--data", "good", "--out", "older", "--set", "folds.count=2"],
        "cnn fold 1 was trained with keras 0.0.1",
    ),
    "time limit that is none": (["run", "--time-limit", "soon"], "expected a duration such as"),
    "nothing to extend": (["extend", "good", "--seeds", "2"], "good: expected the folder of a run"),
    "unknown option": (["run", "--epochs", "3"], "No such option"),
    "absent submission": (["check", "absent.csv"], "absent.csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_command_starts_no_backend_and_says_why_in_one_line(tmp_path, start, case):
    write_data(tmp_path / "good")
    write_data(tmp_path / "few", labels=[*range(10), *range(9)])
    write_data(tmp_path / "bad", cell="3.0")
    identity = {"identity": {"member": "cnn", "fold": 0, "attempt": 7}}
    store.RunFolder(tmp_path / "other").write_fit("cnn", 0, {}, identity)
    write_older_run(tmp_path / "older", tmp_path / "good")
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
