"""The archive is unpacked and run at all three levels where this package is not installed."""

import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from lives import TINY, Job, write_data
from packaging.requirements import Requirement

from kaggle_digits.config import loading
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import archive
from kaggle_digits.kaggle.handed_over import Settings
from kaggle_digits.runs.run import Run
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment

SETTINGS = (*TINY, "train.epochs=3", "train.batch_size=8", "augment.elastic.p=0")
FITS = ("cnn-fold1", "cnn-fold2")
SCRIPTS = ("prepare_data.py", "train.py", "predict.py")
SECRET = "0123456789abcdef-secret"


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A finished run on files of a user's own."""
    home = tmp_path_factory.mktemp("made")
    write_data(home / "data")
    job = Job(home, home / "cache", SETTINGS, ("--data", "data"), home / "tiny")
    job.finish()
    return job


@pytest.fixture(scope="module")
def made(job):
    """The archive of that run."""
    return archive.export(job.run, None, lambda line: None)


@pytest.fixture
def copied(job, tmp_path):
    """A copy of the run, to change something in it."""
    return shutil.copytree(job.run, tmp_path / "tiny")


def export(folder, out=None):
    lines = []
    return archive.export(folder, out, lines.append), lines


def contents(path):
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


# Where this package is not installed


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Make an environment with all packages of this one but kaggle-digits; return its Python."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv = [sys.executable, "-m", "venv", "--without-pip", str(home / "venv")]
    subprocess.run(venv, check=True)
    [site] = (home / "venv" / "lib").glob("python*/site-packages")
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if "kaggle_digits" not in entry.name and not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
    python = home / "venv" / "bin" / "python"
    found = call(python, home, "-c", "import keras_tuner, importlib.util as u, importlib.metadata\n"
                 "assert u.find_spec('kaggle_digits') is None\n"
                 "importlib.metadata.version('kaggle-digits')")  # fmt: skip
    assert "PackageNotFoundError" in found.stderr, found.stderr
    return python


def call(python, folder, *words):
    """Run Python in a folder with nothing of this process's environment but where programs are."""
    return subprocess.run(
        [str(python), *map(str, words)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONNOUSERSITE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def finish(python, folder, *words):
    done = call(python, folder, *words)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def unpacked(made, tmp_path):
    """The archive's folder, fresh from the zip."""
    with zipfile.ZipFile(made) as opened:
        opened.extractall(tmp_path)
    return tmp_path / "tiny"


@pytest.fixture
def with_data(job, unpacked):
    """That folder after the competition's files were put there."""
    shutil.copytree(job.home / "data", unpacked / "data")
    return unpacked


def test_very_fast_level_averages_cached_predictions(job, unpacked, python):
    (unpacked / "model" / "submission.csv").unlink()  # there is nothing to copy
    done = finish(python, unpacked, "-X", "importtime", "predict.py", "--cached")
    assert done.stdout == f"{unpacked / 'submissions' / 'submission.csv'}: 30 rows\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "numpy" in imported
    assert not imported & {"tensorflow", "keras"}
    found = (unpacked / "submissions" / "submission.csv").read_bytes()
    assert found == (job.run / "submission.csv").read_bytes()


def test_ordinary_level_predicts_with_the_nets(job, with_data, python, tmp_path):
    for fit in FITS:  # there is nothing to average
        (with_data / "model" / "fits" / fit / "predictions.npz").unlink()
    expected = (job.run / "submission.csv").read_bytes()
    finish(python, tmp_path, with_data / "predict.py")  # from another folder
    assert (with_data / "submissions" / "submission.csv").read_bytes() == expected

    # A new test set: the test rows from the last to the first but five, packed.
    header, *rows = (with_data / "data" / "test.csv").read_bytes().splitlines(keepends=True)
    new = b"".join([header, *rows[:4:-1]])
    (tmp_path / "new.csv.gz").write_bytes(gzip.compress(new))
    words = ("tiny/predict.py", "--data", "new.csv.gz", "--out", "new_submission.csv")
    assert finish(python, tmp_path, *words).stdout == "new_submission.csv: 25 rows\n"
    labels = [line.partition(",")[2] for line in expected.decode().splitlines()[:5:-1]]
    lines = ["ImageId,Label", *(f"{number},{label}" for number, label in enumerate(labels, 1))]
    assert (tmp_path / "new_submission.csv").read_text().splitlines() == lines


def test_full_retrain_level_gives_the_same_bytes(job, with_data, python):
    prepared = finish(python, with_data, "prepare_data.py").stdout
    assert "augmentation bank: 3 variants, 3 drawn now" in prepared
    again = with_data / "retrained"
    assert (again / "folds.npz").read_bytes() == (job.run / "folds.npz").read_bytes()
    assert not (again / "submission.csv").exists()
    assert len(list((with_data / "cache").glob("bank/*/variant-*.npy"))) == 3

    trained = finish(python, with_data, "train.py").stdout
    assert "augmentation bank: 3 variants, 0 drawn now" in trained
    line = f"{again}/submission.csv: the same bytes as {with_data}/model/submission.csv"
    assert trained.splitlines()[-1] == line
    submission, arrays = dataclasses.replace(job, out=again).result()
    expected, expected_arrays = job.result()
    assert submission == expected
    for name, array in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)

    finish(python, with_data, "predict.py", "--cached", "--model", "retrained")
    assert (with_data / "submissions" / "submission.csv").read_bytes() == expected


def test_what_a_user_can_fix_is_one_line(unpacked, python):
    for script in SCRIPTS:
        done = call(python, unpacked, script)
        assert (done.returncode, done.stdout) == (2, ""), done
        [line] = done.stderr.splitlines()
        assert line.startswith(f"{script}: ")
        assert f"{unpacked / 'data'}: expected " in line


def test_archive_of_the_demo_data_needs_no_files(python, tmp_path):
    job = Job(tmp_path, tmp_path / "cache", (*SETTINGS, "train.epochs=1", "train.batch_size=128"))
    job.finish()
    made, lines = export(job.run)
    assert lines[0] == "DEMO DATA: this submission is NOT for upload"
    with zipfile.ZipFile(made) as opened:
        opened.extractall(tmp_path)
    folder = tmp_path / "quick-1"
    assert "**DEMO DATA: this submission is NOT for upload.**" in (folder / "README.md").read_text()
    assert "1 drawn now" in finish(python, folder, "prepare_data.py").stdout
    expected = (job.run / "folds.npz").read_bytes()
    assert (folder / "retrained" / "folds.npz").read_bytes() == expected


# What is in it


def test_archive_holds_what_winners_hand_over(job, made):
    names = set(contents(made))
    assert made == job.run.parent / "tiny-archive.zip"
    assert {name.partition("/")[0] for name in names} == {"tiny"}
    top = {name.removeprefix("tiny/") for name in names if name.count("/") == 1}
    assert top == {
        "LICENSE",
        "README.md",
        "SETTINGS.json",
        "directory_structure.txt",
        "entry_points.md",
        "requirements.txt",
        *SCRIPTS,
    }
    of_fit = ("fit.json", "history.csv", "model.keras", "predictions.npz")
    assert {name.removeprefix("tiny/model/") for name in names if "/model/" in name} == {
        "augmentation.png",
        "config.yaml",
        "folds.npz",
        "manifest.json",
        "metrics.json",
        "predictions.npz",
        "submission.csv",
        *(f"fits/{fit}/{name}" for fit in FITS for name in of_fit),
    }
    package = Path(archive.__file__).parents[1]
    sources = {path.relative_to(package.parent).as_posix() for path in package.rglob("*.py")}
    configs = {f"kaggle_digits/configs/{each}.yaml" for each in ("quick", "standard", "best")}
    assert {f"tiny/{name}" for name in sources | configs} <= names
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.parametrize("command", [["check", "--ignore=D"], ["format", "--check"]])
def test_scripts_are_clean(unpacked, command):
    config = f"--config={Path(__file__).parents[2] / 'pyproject.toml'}"
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, config, *SCRIPTS],
        cwd=unpacked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_requirements_are_the_versions_of_the_run(job, made):
    first, *lines = contents(made)["tiny/requirements.txt"].decode().splitlines()
    found = {each.name: each for each in map(Requirement, lines)}
    noted = dict(environment.package_versions())
    assert first == f"# Python {noted.pop('python')}"
    for name in ("tensorflow", "keras", "numpy", "scikit-learn", "albumentations"):
        assert str(found[name].specifier) == f"=={noted[name]}"
    assert {"pandas", "pydantic", "scipy", "jinja2"} <= set(found)
    assert not {"kaggle", "pytest", "kaggle-digits", "jax", "torch"} & set(found)


def test_requirements_of_another_backend_and_of_local_versions():
    noted = {"python": "3.12.1", "torch": "2.5.1+cu121", "jax": "0.4", "keras": "3.14.0"}
    lines = archive._requirements(noted, "torch").decode().splitlines()
    assert {"# Python 3.12.1", "torch==2.5.1", "keras==3.14.0"} <= set(lines)
    assert not [line for line in lines if line.startswith("jax")]


def test_readme_says_what_the_run_was(job, made):
    text = contents(made)["tiny/README.md"].decode()
    metrics, manifest = job.metrics(), json.loads((job.run / "manifest.json").read_text())
    assert text.startswith("# tiny\n")
    wrong = f"{metrics['oof_errors']} of 60 rows wrong"
    assert f"| out-of-fold accuracy | {metrics['oof_accuracy']:.5f} ({wrong}) |" in text
    assert "| GPU or TPU | " in text
    for line in ("processor", "memory", "system", "versions"):
        assert f"| {line} | {environment.description()[line]} |" in text
    assert "the average of 2 convolutional nets,\ntrained under stratified k-fold. This" in text
    assert "the seed 2026" in text
    for fit in FITS:
        assert f"| {fit} | {manifest['fits'][fit]['seed']} |" in text
    assert "- `train.epochs: 3`" in text
    assert "**NOT FOR UPLOAD: it has 30 rows" in text


def test_readme_of_another_split(job, copied):
    """What the README says follows from the config, the rest is as it was."""
    run, folder = Run(copied), RunFolder(copied)
    manifest = json.loads((job.run / "manifest.json").read_text())
    settings = Settings.of_run(run.metrics.demo_data, manifest["backend"])
    config = loading.changed(run.config, {"folds.kind": "none"})
    run.metrics = dataclasses.replace(
        run.metrics,
        oof_accuracy=None,
        expected_leaderboard=None,
        holds_rows_out=False,
        fits_finished=1,
    )
    facts = archive._facts("tiny", run, config, folder, manifest, settings)
    text = archive._rendered(facts)["README.md"].decode()
    assert "a convolutional net,\ntrained under this split: no rows held out, each net is" in text
    assert "| out of fold | no rows held out, so there is no figure and no forecast |" in text


def test_machines_are_named_once_each():
    hardware = {"processor": "A", "cores": 2, "memory_bytes": 2**30, "system": "S"}
    fit = {"hardware": hardware, "packages": {"python": "3.11.7"}, "accelerators": ["T4", "T4"]}
    older = {key: value for key, value in fit.items() if key != "accelerators"}
    machine = {"GPU or TPU": "T4, T4", "processor": "A, 2 cores", "memory": "1.0 GiB"}
    machine |= {"system": "S", "versions": "python 3.11.7"}
    found = archive._machines([fit, older, fit, fit | {"accelerators": []}])
    assert [each["GPU or TPU"] for each in found] == ["T4, T4", "not noted", "none"]
    assert found[0] == machine


def test_directory_structure_is_a_plain_tree():
    paths = ["b/two.py", "b/a/one.py", "top.md"]
    expected = "run/\n    b/\n        a/\n            one.py\n        two.py\n    top.md\n"
    assert archive._tree("run", paths).decode() == expected


def test_credentials_stay_at_home(copied, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    for name in ("kaggle.json", ".env", "access_token", "fits/kaggle.json", "run.log"):
        (copied / name).write_text(SECRET)
    (copied / "fits" / "cnn-fold1" / "kaggle.json").write_text(SECRET)
    # As the run would note them if it was continued now.
    manifest = json.loads((copied / "manifest.json").read_text())
    digest = hashlib.blake2b(SECRET.encode(), digest_size=16).hexdigest()
    manifest["artefacts"] |= {"kaggle.json": digest, "fits/kaggle.json": digest}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    found = contents(export(copied)[0])
    assert not [name for name, content in found.items() if SECRET.encode() in content]


def test_places_of_this_machine_stay_at_home(job, made):
    manifest = json.loads(contents(made)["tiny/model/manifest.json"])
    there = json.loads((job.run / "manifest.json").read_text())
    assert there.pop("data_source") == "data"
    assert manifest == there
    home = str(job.home).encode()
    assert not [name for name, content in contents(made).items() if home in content]


def test_the_place_of_the_data_in_the_config_stays_at_home(job, made, copied):
    place = "/media/mine/digits"
    config = (copied / "config.yaml").read_text()
    assert config.count("\ndata:\n  path: null") == 1
    (copied / "config.yaml").write_text(config.replace("  path: null", f"  path: {place}", 1))
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["artefacts"]["config.yaml"] = files.checksum(copied / "config.yaml")
    (copied / "manifest.json").write_text(json.dumps(manifest))
    found = contents(export(copied)[0])
    assert not [name for name, content in found.items() if place.encode() in content]
    # The checksum of config.yaml is that of the file in the archive.
    assert found == contents(made)


# Repeated, refused


def test_same_run_gives_the_same_bytes(copied, made):
    before = made.read_bytes()
    path, _ = export(copied)
    assert path.read_bytes() == before
    for each in copied.rglob("*"):  # another time changes nothing
        os.utime(each, (2e9, 2e9))
    assert export(copied, path)[0] == path
    assert path.read_bytes() == before


def test_a_file_that_is_there_is_never_replaced(copied, tmp_path):
    out = tmp_path / "mine.zip"
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"mine\.zip: expected no file or this run's archive"):
        export(copied, out)
    assert out.read_bytes() == b"mine"
    with pytest.raises(UserError, match="expected a path for a zip, found a folder"):
        export(copied, tmp_path)


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected the folder of a run, found no manifest"):
        export(tmp_path)


def test_unfinished_run_is_refused(copied):
    values = json.loads((copied / "metrics.json").read_text())
    content = json.dumps(values | {"complete": False, "fits_finished": 1})
    (copied / "metrics.json").write_text(content)
    with pytest.raises(UserError, match="expected a complete run, found 1 of 2 fits finished"):
        export(copied)


def test_run_on_other_data_is_refused(copied):
    values = json.loads((copied / "metrics.json").read_text())
    changes = {"demo_data": False, "not_for_upload": "trained on MNIST"}
    (copied / "metrics.json").write_text(json.dumps(values | changes))
    with pytest.raises(UserError, match=r"found one that was trained on MNIST"):
        export(copied)


def test_run_at_work_is_refused(copied):
    (copied / ".owner").write_text("4711")
    with (
        FileLock(copied / ".lock"),
        pytest.raises(UserError, match="process 4711 is at work in this folder"),
    ):
        export(copied)


@pytest.mark.parametrize(
    "name", ["config.yaml", "folds.npz", "predictions.npz", "fits/cnn-fold2/model.keras"]
)
def test_damaged_run_is_refused(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(files.DamagedError, match=rf"{Path(name).name}: .*differs"):
        export(copied)
    assert not (copied.parent / "tiny-archive.zip").exists()


def test_submission_that_the_fits_did_not_predict_is_refused(copied):
    path = copied / "submission.csv"
    header, first, *rest = path.read_text().splitlines()
    digit = (int(first[-1]) + 1) % 10
    path.write_text("\n".join([header, f"1,{digit}", *rest, ""]))
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["artefacts"]["submission.csv"] = files.checksum(path)
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="it is not what the fits have predicted"):
        export(copied)


def test_callbacks_that_are_not_in_it_are_named(copied):
    values = json.loads((copied / "metrics.json").read_text())
    (copied / "metrics.json").write_text(json.dumps(values | {"callbacks": ["mine:Curve"]}))
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["artefacts"]["metrics.json"] = files.checksum(copied / "metrics.json")
    (copied / "manifest.json").write_text(json.dumps(manifest))
    path, lines = export(copied)
    assert "callbacks are not in the archive: mine:Curve;" in lines[-1]
    assert "not in this folder: mine:Curve." in contents(path)["tiny/README.md"].decode()
