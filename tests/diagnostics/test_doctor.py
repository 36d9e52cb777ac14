import io
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from kaggle_digits.config.folds_section import Folds
from kaggle_digits.config.schema import Config
from kaggle_digits.diagnostics import doctor
from kaggle_digits.errors import UserError
from kaggle_digits.results.search_records import TrialResult
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter
from kaggle_digits.training import fit_spec, resume
from kaggle_digits.tuning.search_folder import SearchFolder

LABELS = np.tile(np.arange(10, dtype=np.uint8), 4)
SPLIT = [np.arange(0, 20), np.arange(20, 40)]
CONFIG = Config(
    folds={"count": 2},
    members={"a": {}, "b": {}},
    augment={"variants": 3},
    train={"threads": 2},
)


@pytest.fixture
def run(tmp_path, tiny_images):
    """A run folder: member a is finished, b was cut off after epoch 2 of its first fold."""
    inputs = fit_spec.Inputs(tiny_images, LABELS, tiny_images[:5])
    specs = fit_spec.plan(CONFIG, inputs, SPLIT, "tensorflow")
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        pass
    for spec in specs[:2]:
        facts = {"identity": spec.identity, "digest": spec.digest}
        facts |= {"packages": environment.package_versions(), "hardware": environment.hardware()}
        writers = {"predictions.npz": lambda path: files.write_arrays(path, {"test": np.zeros(3)})}
        folder.write_fit(spec.member, spec.fold, writers, facts)
    arrays = {"arrays": [np.zeros(4)], "best": [], "losses": np.zeros(0)}
    checkpoint = SimpleNamespace(epochs=2, history=[], **arrays)
    resume.save_checkpoint(folder, specs[2], checkpoint)
    files.write_json(folder.metrics, {"oof_accuracy": 0.5})
    planned = {
        folder.fit_folder(spec.member, spec.fold).name: {"identity": spec.digest} for spec in specs
    }
    manifest = {"backend": "tensorflow", "fits": planned, "artefacts": folder.checksums()}
    files.write_json(folder.manifest, manifest)
    return folder


def found(folder):
    """Return {name: (found, problem)}."""
    return {each.name: (each.found, each.problem) for each in doctor.examine_run(folder)}


def test_sound_run(run):
    assert found(run) == {
        "a-fold1": ("finished, undamaged", False),
        "a-fold2": ("finished, undamaged", False),
        "b-fold1": ("resumes after epoch 2", False),
        "b-fold2": ("not started", False),
        "its command with --out would": (
            "reuse 2 of 4 fits, resume b-fold1, train 1 from the start, write the submission again "
            "from all of them",
            False,
        ),
    }


def test_damage_is_named_and_nothing_is_touched(run):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    damage(run.metrics)
    damage(run.fit_folder("a", 0) / "predictions.npz")
    damage(run.fits / "b-fold1.state")
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    report = found(run)
    assert report["metrics.json"] == (
        "differs from its checksum in manifest.json, or is missing",
        True,
    )
    assert report["a-fold1"] == (
        "damaged: predictions.npz: its checksum in fit.json differs",
        True,
    )
    assert report["b-fold1"] == ("damaged: b-fold1.state: its checksum differs", True)
    assert report["its command with --out would"][0].startswith(
        "reuse 1 of 4 fits, train 3 from the start"
    )
    after = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    assert after == before


def test_fit_of_other_settings_or_versions_and_a_skipped_one(run):
    manifest = files.read_json(run.manifest)
    manifest["fits"]["a-fold2"]["identity"] = "another"
    manifest["fits"]["b-fold1"]["skipped"] = "the loss was nan in epoch 1"
    files.write_json(run.manifest, manifest)
    facts = run.read_fit("a", 0)
    facts["packages"]["keras"] = "3.0.0"
    facts["checksum"] = files.digest_json(facts)
    files.write_json(run.fit_folder("a", 0) / "fit.json", facts)
    report = found(run)
    here = environment.package_versions()["keras"]
    assert report["a-fold1"] == (f"finished, but trained with keras 3.0.0 (here {here})", True)
    assert report["a-fold2"] == ("was trained with other settings or data", True)
    assert report["b-fold1"] == ("skipped: the loss was nan in epoch 1", False)


def test_run_in_use(run):
    with run.locked():
        expected = f"by process {os.getpid()}; the findings below may change"
        assert found(run)["in use"] == (expected, False)
    assert "in use" not in found(run)


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match=r"expected the folder of a run or a search, found no"):
        doctor.examine(CONFIG, "quick", None, tmp_path, tmp_path, Reporter(Console()))


def test_folder_of_an_earlier_version(tmp_path, run):
    for path in run.folder.glob(".*"):
        path.unlink()
    with pytest.raises(UserError, match=r"run: expected .*found other files"):
        doctor.examine(CONFIG, "quick", None, tmp_path, run.folder, Reporter(Console()))
    earlier = {"hashes": "BLAKE2b", "fits": {}, "artefacts": {}}
    files.write_json(run.manifest, earlier)
    with pytest.raises(UserError, match=r"run: made by an earlier version of kaggle-digits; give"):
        doctor.examine(CONFIG, "quick", None, tmp_path, run.folder, Reporter(Console()))


def test_search_folder(tmp_path, run):
    folder = SearchFolder(tmp_path / "search")
    identity = {"config": {}, "data": {}, "backend": "tensorflow"}
    files.write_json(folder.identity, folder.stamp | identity)
    whole, damaged = folder.candidate("a" * 32), folder.holdout_fits("b" * 32)
    writers = {"predictions.npz": lambda path: files.write_arrays(path, {"heldout": np.zeros(3)})}
    for candidate in (whole, damaged):
        candidate.write_fit("cnn", 0, writers, {})
    folder.write_result(TrialResult("0", "a" * 32, {}, "completed"))
    folder.write_result(TrialResult("1", "c" * 32, {}, "running"))
    found = {each.name: (each.found, each.problem) for each in doctor.examine_search(folder)}
    assert found == {
        "trials": ("1 completed, 1 running", False),
        "best.yaml": ("not written yet", False),
        "its command with --out would": ("reuse 2 finished fits, resume trial 1", False),
    }
    (damaged.fit_folder("cnn", 0) / "predictions.npz").write_bytes(b"")
    with folder.locked():
        found = {each.name: (each.found, each.problem) for each in doctor.examine_search(folder)}
    assert found[f"{'b' * 32} cnn-fold1"] == ("damaged: its checksum in fit.json differs", True)
    assert found["in use"][0].startswith(f"by process {os.getpid()};")
    assert found["its command with --out would"][0].startswith("reuse 1 finished fits")


@pytest.mark.parametrize("content", ["", "{}", '{"fits": 3}'])
def test_manifest_that_cannot_be_read(run, content):
    run.manifest.write_text(content)
    assert found(run) == {
        "manifest.json": ("unreadable; repeating the command writes it again", True)
    }


@pytest.mark.parametrize("fits", [{"cnn-foldX": {}}, {"a-fold1": 3}])
def test_manifest_that_is_damaged_in_a_fit(run, fits):
    files.write_json(run.manifest, files.read_json(run.manifest) | {"fits": fits})
    assert found(run)["manifest.json"][1] is True


def test_disk_needed_by_hand():
    # One stage of width 2: kernel 9 * 2, batch norm 4 * 2; pooled to 14 x 14 x 2 = 392 inputs of
    # the last layer: 392 * 10 + 10. Keras counts all of them: 3,956.
    stage = {"width": 2, "pool": "first"}
    config = Config(
        folds={"count": 2},
        augment={"variants": 3},
        model={"stages": [stage], "dense": []},
        members={"a": {}, "b": {}, "c": {"augment": {"rotate": [0, 1], "variants": 5}}},
    )
    in_cache, in_run = doctor.disk_needed(config, train_rows=100, test_rows=50)
    # Parsed images, a copy of those of train while the bank is drawn, and eight variants.
    assert in_cache == 784 * (100 + 50) + 784 * 100 + 784 * 100 * (3 + 5)
    weights = 4 * 3956
    assert in_run == 3 * 2 * (weights + 4 * 10 * (50 + 50)) + 10 * weights
    # Ten nets that hold out 20 rows each, or one that holds none out.
    folds = Folds(kind="holdout", count=10, holdout=0.2)
    _, in_run = doctor.disk_needed(config.model_copy(update={"folds": folds}), 100, 50)
    assert in_run == 3 * 10 * (weights + 4 * 10 * (20 + 50)) + 10 * weights
    folds = Folds(kind="none")
    _, in_run = doctor.disk_needed(config.model_copy(update={"folds": folds}), 100, 50)
    assert in_run == 3 * (weights + 4 * 10 * 50) + 10 * weights


def test_full_disk_and_missing_data_are_problems(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAGGLE_DIGITS_DATA", raising=False)
    places = list(doctor._places(CONFIG, "mine", None, tmp_path / "cache"))
    assert [(each.name, each.problem) for each in places] == [
        ("data", False),
        ("cache", False),
        (f"disk of {tmp_path / 'cache'}", True),
        ("disk of submissions", True),
    ]
    assert "NOT FOR UPLOAD" in places[0].found
    assert "a whole run of mine takes" in places[2].found
    (absent,) = doctor._places(CONFIG, "mine", str(tmp_path / "absent"), tmp_path / "cache")
    assert absent.problem
    assert "absent: expected a folder or a zip" in absent.found


def test_requirements_out_of_their_range_are_problems(monkeypatch):
    metadata = {"Requires-Python": "<3"}
    installed = {"here": "2.0", "pre": "3.1"}

    def version(name):
        try:
            return installed[name]
        except KeyError:
            raise doctor.importlib.metadata.PackageNotFoundError(name) from None

    required = ["here>=1,<2", "pre>=3", "absent", 'extra>=1; extra == "test"']
    monkeypatch.setattr(doctor.importlib.metadata, "metadata", lambda name: metadata)
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: required)
    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    assert [(each.name, each.problem) for each in doctor._requirements()] == [
        ("python", True),
        ("here", True),
        ("pre", False),
        ("absent", True),
    ]


def test_first_problem_is_the_one_line(run, monkeypatch):
    monkeypatch.setattr(doctor, "_installation", lambda: iter(()))
    monkeypatch.setattr(doctor, "_places", lambda *given: iter(()))
    console = Console(file=io.StringIO())
    doctor.examine(CONFIG, "quick", None, run.folder, run.folder, Reporter(console))
    assert console.file.getvalue().rstrip().endswith("no problems found")
    run.metrics.unlink()
    with pytest.raises(UserError, match=r"^doctor: 1 problem; the first: metrics\.json: differs"):
        doctor.examine(CONFIG, "quick", None, run.folder, run.folder, Reporter(console))


def test_command_on_this_machine(tmp_path, process_env):
    done = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", "doctor", "--cache", "cache"],
        env=process_env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "backend",
        "devices: ",
        "precision",
        "auto is ",
        "NOT FOR UPLOAD",
        "GiB free",
        "no problems found",
    ):
        assert part in done.stdout
    assert list(tmp_path.iterdir()) == []
