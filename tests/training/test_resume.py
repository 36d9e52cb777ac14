import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from kaggle_digits.config.loading import Config
from kaggle_digits.data import folds
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.training import fit as fits
from kaggle_digits.training import fit_spec, resume

LABELS = np.tile(np.arange(10, dtype=np.uint8), 4)
SPLIT = [np.arange(0, 20), np.arange(20, 40)]
CONFIG = Config(seed=3, folds={"count": 2}, train={"epochs": 4}, members={"a": {}, "b": {}})
PACKAGES = {"python": "3.12.4", "tensorflow": "2.18.0", "jax": "0.4.30", "keras": "3.9.0"}
HARDWARE = {"processor": "Abacus 1", "cores": 4, "memory_bytes": 2**34, "system": "Linux"}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """This machine as far as plans see it; a test may change it."""
    found = SimpleNamespace(packages=dict(PACKAGES), hardware=dict(HARDWARE))
    monkeypatch.setattr(resume.environment, "package_versions", lambda: found.packages)
    monkeypatch.setattr(resume.environment, "hardware", lambda: found.hardware)
    return found


class Run:
    """A run folder whose fits are written by hand."""

    def __init__(self, path, images):
        inputs = fit_spec.Inputs.of(images, LABELS, images[:5])
        self.folder = RunFolder(path)
        self.specs = fit_spec.plan(CONFIG, inputs, SPLIT, "tensorflow")
        self.console = Console(file=io.StringIO(), soft_wrap=True)
        self.reporter = Reporter(self.console)

    def finish(self, spec, **changes):
        facts = {
            "identity": spec.identity(),
            "digest": spec.digest(),
            "packages": PACKAGES,
            "hardware": HARDWARE,
        }
        writers = {"predictions.npz": lambda path: files.write_arrays(path, {"test": np.arange(4)})}
        self.folder.write_fit(spec.member, spec.fold, writers, facts | changes)

    def save_epochs(self, spec, epochs=2):
        state = SimpleNamespace(epochs=epochs, arrays=[np.arange(3)], history=[{}] * epochs)
        fits.save_state(self.folder, spec, state)

    def scan_fits(self):
        return resume.scan_fits(self.folder, self.specs, self.reporter)

    def check_environment(self, allow_changed=False):
        resume.check_environment(self.folder, self.scan_fits(), allow_changed, self.reporter)

    def split(self, labels=LABELS, config=CONFIG):
        split = resume.read_or_make_split(self.folder, labels, config, self.reporter)
        return [rows.tolist() for rows in split]

    def said(self):
        return self.console.file.getvalue().splitlines()


@pytest.fixture
def run(tmp_path, tiny_images):
    return Run(tmp_path / "run", tiny_images)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# The split


def made(labels=LABELS, config=CONFIG):
    return [rows.tolist() for rows in folds.stratified(labels, config.folds.count, config.seed)]


@pytest.fixture
def saved(run):
    """A split that the algorithm would never make, so that one can tell who made it."""
    arrays = {
        "folds": folds.assignment(SPLIT, len(LABELS)),
        "seed": np.int64(CONFIG.seed),
        "labels": np.array(files.digest(LABELS)),
    }
    run.folder.write_folds(arrays)
    return [rows.tolist() for rows in SPLIT]


def test_split_is_made_where_there_is_none(run):
    assert run.split() == made()
    assert not run.folder.folder.exists()


def test_saved_split_is_used(run, saved):
    assert saved != made()
    assert run.split() == saved
    assert run.said() == []


@pytest.mark.usefixtures("saved")
def test_split_of_other_data_seed_or_count_is_not_used(run):
    labels = LABELS[::-1].copy()
    assert run.split(labels) == made(labels)
    for changes in ({"seed": 4}, {"folds": CONFIG.folds.model_copy(update={"count": 4})}):
        config = CONFIG.model_copy(update=changes)
        assert run.split(config=config) == made(config=config)


@pytest.mark.usefixtures("saved")
def test_damaged_split_is_told_and_made_again(run):
    flip_a_byte(run.folder.folds)
    assert run.split() == made()
    (line,) = run.said()
    assert line == f"damaged: {run.folder.folds}: its checksum differs; it is made again"


# How far fits are


def test_in_an_empty_folder_all_is_to_do(run):
    statuses = run.scan_fits()
    assert [standing.spec for standing in statuses] == run.specs
    assert [standing.to_do for standing in statuses] == [True] * 4
    assert not run.folder.folder.exists()


def test_finished_fits_are_known(run):
    run.finish(run.specs[2])
    statuses = run.scan_fits()
    assert [standing.finished for standing in statuses] == [False, False, True, False]
    assert [standing.to_do for standing in statuses] == [True, True, False, True]
    assert run.said() == []


@pytest.mark.parametrize("name", ["fit.json", "predictions.npz"])
def test_damaged_fit_is_told_and_to_do(run, name):
    run.finish(run.specs[1])
    path = run.folder.fit_folder("a", 1) / name
    flip_a_byte(path)
    assert run.scan_fits()[1] == resume.FitStatus(run.specs[1])
    (line,) = run.said()
    assert line.startswith(f"damaged: {path}: ")
    assert line.endswith("; a fold 2 is trained again")


def with_other(spec, **changes):
    """A specification as another config would make it."""
    settings = spec.settings
    train = settings.train.model_copy(update=changes)
    return replace(spec, settings=settings.model_copy(update={"train": train}))


def test_epochs_of_other_settings_are_refused(run):
    run.save_epochs(with_other(run.specs[1], epochs=9))
    with pytest.raises(UserError, match=r"a-fold2\.state: .* train\.epochs: 9 there, 4 here"):
        run.scan_fits()


def test_epochs_of_this_run_are_no_matter(run):
    run.save_epochs(run.specs[0])
    fits.note_divergence(run.folder, run.specs[1], "reason")
    run.save_epochs(run.specs[1].next_attempt())
    fits.note_divergence(run.folder, run.specs[2], "reason")
    run.save_epochs(run.specs[2])  # of an attempt that is noted as sick
    statuses = run.scan_fits()
    assert [standing.spec.attempt for standing in statuses] == [1, 2, 2, 1]
    assert [standing.to_do for standing in statuses] == [True] * 4
    assert run.said() == []


def test_damaged_epochs_are_to_do(run):
    run.save_epochs(with_other(run.specs[0], epochs=9))
    flip_a_byte(run.folder.fits / "a-fold1.state")
    assert run.scan_fits()[0] == resume.FitStatus(run.specs[0])
    assert run.said() == []  # it is told of when the fit begins


def test_fit_with_other_augmentation_packages(run):
    run.finish(replace(run.specs[0], bank_key="drawn elsewhere"))
    with pytest.raises(UserError, match=r"a-fold1: .* version of albumentations or OpenCV"):
        run.scan_fits()
    statuses = resume.scan_fits(run.folder, run.specs, run.reporter, allow_changed=True)
    assert [standing.finished for standing in statuses] == [True, False, False, False]
    assert run.said() == []
    # Other settings are refused all the same.
    run.finish(with_other(run.specs[0], epochs=9))
    with pytest.raises(UserError, match=r"another train\.epochs: 9 there, 4 here"):
        resume.scan_fits(run.folder, run.specs, run.reporter, allow_changed=True)


def test_epochs_with_other_augmentation_packages(run):
    run.save_epochs(replace(run.specs[0], bank_key="drawn elsewhere"))
    with pytest.raises(UserError, match=r"a-fold1\.state: .* version of albumentations or OpenCV"):
        run.scan_fits()
    statuses = resume.scan_fits(run.folder, run.specs, run.reporter, allow_changed=True)
    assert statuses[0] == resume.FitStatus(run.specs[0])
    assert run.said() == [
        "a fold 1 starts over: its 2 epochs saw images of another version of albumentations or "
        "OpenCV"
    ]


def test_fit_of_other_settings_is_refused(run):
    spec = run.specs[1]
    run.finish(spec, identity=spec.identity() | {"settings.train.epochs": 9})
    with pytest.raises(UserError, match=r"a-fold2: .* another train\.epochs: 9 there, 4 here"):
        run.scan_fits()


@pytest.mark.parametrize(("member", "fold"), [("c", 0), ("b", 2)])
def test_fit_of_no_member_or_fold_of_the_run_is_refused(run, member, fold):
    run.folder.write_fit(member, fold, {}, {})
    name = f"{member}-fold{fold + 1}: this fit belongs to another run"
    with pytest.raises(UserError, match=f"{name}.*; give another --out"):
        run.scan_fits()


def test_after_one_sick_attempt_the_second_is_to_do(run):
    fits.note_divergence(run.folder, run.specs[0], "it was so")
    standing = run.scan_fits()[0]
    assert standing == resume.FitStatus(run.specs[0].next_attempt())
    assert (standing.spec.attempt, standing.to_do) == (2, True)
    run.finish(run.specs[0].next_attempt())
    assert run.scan_fits()[0] == resume.FitStatus(run.specs[0].next_attempt(), finished=True)


def test_after_two_sick_attempts_a_fit_is_left_out(run):
    fits.note_divergence(run.folder, run.specs[0], "first reason")
    fits.note_divergence(run.folder, run.specs[0].next_attempt(), "second reason")
    standing = run.scan_fits()[0]
    assert (standing.skipped, standing.finished, standing.to_do) == ("second reason", False, False)
    assert [other.skipped for other in run.scan_fits()[1:]] == [None] * 3


def test_sick_attempts_of_other_settings_do_not_count(run, tiny_images):
    other = CONFIG.model_copy(update={"seed": 4})
    inputs = fit_spec.Inputs.of(tiny_images, LABELS, tiny_images[:5])
    spec = fit_spec.plan(other, inputs, SPLIT, "tensorflow")[0]
    fits.note_divergence(run.folder, spec, "of another seed")
    fits.note_divergence(run.folder, spec.next_attempt(), "of another seed")
    assert run.scan_fits()[0] == resume.FitStatus(run.specs[0])


def test_damaged_note_is_told_and_the_first_attempt_made_again(run):
    fits.note_divergence(run.folder, run.specs[0], "first reason")
    path = run.folder.fits / "a-fold1.failed.json"
    flip_a_byte(path)
    assert run.scan_fits()[0] == resume.FitStatus(run.specs[0])
    assert run.said() == [f"damaged: {path}: its checksum differs; it is made again"]


def test_epochs_of_the_second_attempt_are_no_matter_though_the_note_is_lost(run):
    fits.note_divergence(run.folder, run.specs[0], "reason")
    run.save_epochs(run.specs[0].next_attempt())
    flip_a_byte(run.folder.fits / "a-fold1.failed.json")
    assert run.scan_fits()[0].to_do


def test_second_attempt_of_another_bank_version_counts_if_that_is_allowed(run, monkeypatch):
    run.finish(run.specs[0].next_attempt())
    other = replace(run.specs[0], bank_key="f" * 32)
    statuses = resume.scan_fits(run.folder, [other], run.reporter, allow_changed=True)
    assert statuses == [resume.FitStatus(other.next_attempt(), finished=True)]


def test_second_attempt_counts_though_the_note_of_the_first_is_lost(run):
    run.finish(run.specs[0].next_attempt())
    assert run.scan_fits()[0] == resume.FitStatus(run.specs[0].next_attempt(), finished=True)


# Who made them


def test_the_same_machine_is_silent(run):
    run.finish(run.specs[0])
    run.save_epochs(run.specs[1])
    run.check_environment()
    assert run.said() == []


def finished(run):
    run.finish(run.specs[0])


def begun(run):
    run.save_epochs(run.specs[0])


@pytest.mark.parametrize("make", [finished, begun])
def test_other_package_versions_are_refused(run, machine, make):
    make(run)
    machine.packages["keras"] = "3.10.0"
    with pytest.raises(UserError) as caught:
        run.check_environment()
    assert str(caught.value) == (
        f"{run.folder.folder}: a fold 1 was trained with keras 3.9.0, here is 3.10.0; use keras "
        "3.9.0 again, or go on all the same with --allow-changed-versions, or start over with "
        "--restart"
    )
    assert run.said() == []


def test_other_package_versions_that_are_allowed_are_told(run, machine):
    run.finish(run.specs[0])
    run.save_epochs(run.specs[3])
    machine.packages |= {"keras": "3.10.0", "tensorflow": "2.19.0"}
    run.check_environment(allow_changed=True)
    end = "; the results are not those of one version"
    assert sorted(run.said()) == [
        f"WARNING: {name} was trained with {change}{end}"
        for name in ("a fold 1", "b fold 2")
        for change in ("keras 3.9.0, here is 3.10.0", "tensorflow 2.18.0, here is 2.19.0")
    ]


def test_epochs_of_a_sick_attempt_count_for_nothing(run, machine):
    fits.note_divergence(run.folder, run.specs[0], "reason")
    run.save_epochs(run.specs[0])
    machine.packages["keras"] = "3.10.0"
    run.check_environment()


def test_fits_that_are_left_out_count_for_nothing(run, machine):
    run.finish(run.specs[0])
    fits.note_divergence(run.folder, run.specs[0], "first")
    fits.note_divergence(run.folder, run.specs[0].next_attempt(), "second")
    machine.packages["keras"] = "3.10.0"
    run.check_environment()


def test_damaged_epochs_count_for_nothing(run, machine):
    run.save_epochs(run.specs[0])
    flip_a_byte(run.folder.fits / "a-fold1.state")
    machine.packages["keras"] = "3.10.0"
    run.check_environment()


@pytest.mark.parametrize(
    ("package", "version", "matters"),
    [
        ("tensorflow", "2.18.1", True),  # the backend of these fits
        ("jax", "0.5.0", False),
        ("torch", "2.5.0", False),
        ("python", "3.12.9", False),
        ("python", "3.13.4", True),
        ("numpy", "2.3.0", False),  # not known of the fit
    ],
)
def test_which_versions_matter(run, machine, package, version, matters):
    run.finish(run.specs[0])
    machine.packages[package] = version
    if matters:
        with pytest.raises(UserError, match=f"{package} {PACKAGES[package]}, here is {version}"):
            run.check_environment()
    else:
        run.check_environment()
    assert run.said() == []


def test_package_that_is_gone_is_not_compared(run, machine):
    run.finish(run.specs[0])
    del machine.packages["jax"]
    run.check_environment()


@pytest.mark.parametrize("make", [finished, begun])
def test_other_hardware_is_told(run, machine, make):
    make(run)
    machine.hardware |= {"processor": "Abacus 2", "cores": 8, "memory_bytes": 1, "system": "BSD"}
    run.check_environment()
    assert sorted(run.said()) == [
        f"WARNING: a fold 1 was trained on other hardware ({change}); the last bits may differ"
        for change in ("cores: 4 there, 8 here", "processor: Abacus 1 there, Abacus 2 here")
    ]


def test_fits_that_do_not_say_who_made_them_are_accepted(run, machine):
    spec = run.specs[0]
    run.folder.write_fit("a", 0, {}, {"identity": spec.identity(), "digest": spec.digest()})
    machine.packages["keras"] = "3.10.0"
    machine.hardware["cores"] = 8
    # Without predictions it is damaged, but that is another matter.
    resume.check_environment(
        run.folder, [resume.FitStatus(spec, finished=True)], False, run.reporter
    )
    assert run.said() == []
