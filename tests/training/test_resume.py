import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.config.folds_section import Folds
from kaggle_digits.config.schema import Config
from kaggle_digits.data import folds
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.training import fit_spec, resume
from kaggle_digits.training.resume import FitStatus, RunState

LABELS = np.tile(np.arange(10, dtype=np.uint8), 4)
SPLIT = [np.arange(0, 20), np.arange(20, 40)]
CONFIG = Config(
    seed=3, folds={"count": 2}, train={"epochs": 4, "threads": 2}, members={"a": {}, "b": {}}
)
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
        inputs = fit_spec.Inputs(images, LABELS, images[:5])
        self.folder = RunFolder(path)
        self.specs = fit_spec.plan(CONFIG, inputs, SPLIT, "tensorflow")
        self.lines = []

    def finish(self, spec, **changes):
        facts = {
            "identity": spec.identity,
            "digest": spec.digest,
            "packages": PACKAGES,
            "hardware": HARDWARE,
        }
        writers = {"predictions.npz": lambda path: files.write_arrays(path, {"test": np.arange(4)})}
        self.folder.write_fit(spec.member, spec.fold, writers, facts | changes)

    def save_epochs(self, spec, epochs=2):
        state = checkpoint(epochs, [{}] * epochs)
        resume.save_checkpoint(self.folder, spec, state)

    def scan(self, specs=None, allow_changed=False):
        """Return the status of each fit; keep what there is to say."""
        state = resume.scan_fits(self.folder, specs or self.specs, allow_changed)
        self.lines += state.notes
        return list(state.fits)

    def check_environment(self, allow_changed=False):
        self.lines += resume.check_environment(self.folder, self.scan(), allow_changed)

    def split(self, labels=LABELS, config=CONFIG):
        split, notes = resume.read_or_make_split(self.folder, labels, config.folds, config.seed)
        self.lines += notes
        return [rows.tolist() for rows in split]


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
    assert run.lines == []


@pytest.mark.usefixtures("saved")
def test_split_of_other_data_seed_or_count_is_not_used(run):
    labels = LABELS[::-1].copy()
    assert run.split(labels) == made(labels)
    for changes in ({"seed": 4}, {"folds": CONFIG.folds.model_copy(update={"count": 4})}):
        config = CONFIG.model_copy(update=changes)
        assert run.split(config=config) == made(config=config)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "kfold"},
        {"repeats": 2},
        {"kind": "holdout", "count": 3, "holdout": 0.5},
        {"kind": "none"},
    ],
)
def test_other_kinds_of_splits_are_kept_as_they_are(run, settings):
    settings = Folds(**{"count": 2} | settings)
    config = CONFIG.model_copy(update={"folds": settings})
    # Sets that the algorithm would never make.
    split = [np.arange(fold, fold + 3) for fold in range(settings.fits)]
    resume.write_split(run.folder, split, LABELS, settings, CONFIG.seed)
    assert run.split(config=config) == [rows.tolist() for rows in split]
    # Not for other settings with as many sets.
    sets = settings.fits
    for other in (Folds(count=max(2, sets)), Folds(kind="holdout", count=sets, holdout=0.4)):
        config = CONFIG.model_copy(update={"folds": other})
        expected = folds.split(other, LABELS, CONFIG.seed)
        assert run.split(config=config) == [rows.tolist() for rows in expected]
    assert run.lines == []


def test_the_usual_split_is_written_as_before_there_were_others(run, saved):
    before = run.folder.folds.read_bytes()
    resume.write_split(run.folder, SPLIT, LABELS, CONFIG.folds, CONFIG.seed)
    assert run.folder.folds.read_bytes() == before
    assert run.split() == saved


@pytest.mark.usefixtures("saved")
def test_damaged_split_is_reported_and_made_again(run):
    flip_a_byte(run.folder.folds)
    assert run.split() == made()
    (line,) = run.lines
    assert line == f"damaged: {run.folder.folds}: its checksum differs; it is made again"


# How far fits are


def test_in_an_empty_folder_all_is_to_do(run):
    statuses = run.scan()
    assert [status.spec for status in statuses] == run.specs
    assert [status.to_do for status in statuses] == [True] * 4
    assert not run.folder.folder.exists()


def test_finished_fits_are_known(run):
    run.finish(run.specs[2])
    statuses = run.scan()
    assert [status.finished for status in statuses] == [False, False, True, False]
    assert [status.to_do for status in statuses] == [True, True, False, True]
    assert run.lines == []


@pytest.mark.parametrize("name", ["fit.json", "predictions.npz"])
def test_damaged_fit_is_reported_and_to_do(run, name):
    run.finish(run.specs[1])
    path = run.folder.fit_folder("a", 1) / name
    flip_a_byte(path)
    assert run.scan()[1] == FitStatus(run.specs[1])
    (line,) = run.lines
    assert line.startswith(f"damaged: {path}: ")
    assert line.endswith("; a fold 2 is trained again")


def elsewhere(spec):
    """A bank with the same settings, as other versions of the packages would draw it."""
    return replace(spec.bank, images_key="drawn elsewhere")


def with_other(spec, **changes):
    """A specification as another config would make it."""
    settings = spec.settings
    train = settings.train.model_copy(update=changes)
    return replace(spec, settings=settings.model_copy(update={"train": train}))


def test_epochs_of_other_settings_are_refused(run):
    run.save_epochs(with_other(run.specs[1], epochs=9))
    with pytest.raises(UserError, match=r"a-fold2\.state: .* train\.epochs: 9 there, 4 here"):
        run.scan()


def test_epochs_of_this_run_are_no_matter(run):
    run.save_epochs(run.specs[0])
    resume.note_divergence(run.folder, run.specs[1], "reason")
    run.save_epochs(run.specs[1].next_attempt())
    resume.note_divergence(run.folder, run.specs[2], "reason")
    run.save_epochs(run.specs[2])  # of an attempt that is noted as diverged
    statuses = run.scan()
    assert [status.spec.attempt for status in statuses] == [1, 2, 2, 1]
    assert [status.to_do for status in statuses] == [True] * 4
    assert run.lines == []


def test_damaged_epochs_are_to_do(run):
    run.save_epochs(with_other(run.specs[0], epochs=9))
    flip_a_byte(run.folder.fits / "a-fold1.state")
    assert run.scan()[0] == FitStatus(run.specs[0])
    assert run.lines == []  # it is reported when the fit begins


def test_fit_with_other_augmentation_packages(run):
    run.finish(replace(run.specs[0], bank=elsewhere(run.specs[0])))
    with pytest.raises(UserError, match=r"a-fold1: .* version of albumentations or OpenCV"):
        run.scan()
    statuses = run.scan(allow_changed=True)
    assert [status.finished for status in statuses] == [True, False, False, False]
    assert run.lines == []
    # Other settings are refused all the same.
    run.finish(with_other(run.specs[0], epochs=9))
    with pytest.raises(UserError, match=r"another train\.epochs: 9 there, 4 here"):
        run.scan(allow_changed=True)


def test_epochs_with_other_augmentation_packages(run):
    run.save_epochs(replace(run.specs[0], bank=elsewhere(run.specs[0])))
    with pytest.raises(UserError, match=r"a-fold1\.state: .* version of albumentations or OpenCV"):
        run.scan()
    statuses = run.scan(allow_changed=True)
    assert statuses[0] == FitStatus(run.specs[0])
    assert run.lines == [
        "a fold 1 starts from the beginning: its 2 epochs saw images of another version of "
        "albumentations or OpenCV"
    ]


def test_fit_of_other_settings_is_refused(run):
    spec = run.specs[1]
    run.finish(spec, identity=with_other(spec, epochs=9).identity)
    with pytest.raises(UserError, match=r"a-fold2: .* another train\.epochs: 9 there, 4 here"):
        run.scan()


@pytest.mark.parametrize(("member", "fold"), [("c", 0), ("b", 2)])
def test_fit_of_no_member_or_fold_of_the_run_is_refused(run, member, fold):
    run.folder.write_fit(member, fold, {}, {})
    name = f"{member}-fold{fold + 1}: this fit belongs to another run"
    with pytest.raises(UserError, match=f"{name}.*; give another --out"):
        run.scan()


def test_after_one_diverged_attempt_the_second_is_to_do(run):
    resume.note_divergence(run.folder, run.specs[0], "it was so")
    status = run.scan()[0]
    assert status == FitStatus(run.specs[0].next_attempt())
    assert (status.spec.attempt, status.to_do) == (2, True)
    run.finish(run.specs[0].next_attempt())
    assert run.scan()[0] == FitStatus(run.specs[0].next_attempt(), finished=True)


def test_after_two_diverged_attempts_a_fit_is_skipped(run):
    resume.note_divergence(run.folder, run.specs[0], "first reason")
    resume.note_divergence(run.folder, run.specs[0].next_attempt(), "second reason")
    status = run.scan()[0]
    assert (status.skipped, status.finished, status.to_do) == ("second reason", False, False)
    assert [other.skipped for other in run.scan()[1:]] == [None] * 3


def test_diverged_attempts_of_other_settings_do_not_count(run, tiny_images):
    other = CONFIG.model_copy(update={"seed": 4})
    inputs = fit_spec.Inputs(tiny_images, LABELS, tiny_images[:5])
    spec = fit_spec.plan(other, inputs, SPLIT, "tensorflow")[0]
    resume.note_divergence(run.folder, spec, "of another seed")
    resume.note_divergence(run.folder, spec.next_attempt(), "of another seed")
    assert run.scan()[0] == FitStatus(run.specs[0])


def test_damaged_note_is_reported_and_the_first_attempt_made_again(run):
    resume.note_divergence(run.folder, run.specs[0], "first reason")
    path = run.folder.fits / "a-fold1.failed.json"
    flip_a_byte(path)
    assert run.scan()[0] == FitStatus(run.specs[0])
    assert run.lines == [f"damaged: {path}: its checksum differs; it is made again"]


def test_epochs_of_the_second_attempt_are_no_matter_though_the_note_is_lost(run):
    resume.note_divergence(run.folder, run.specs[0], "reason")
    run.save_epochs(run.specs[0].next_attempt())
    flip_a_byte(run.folder.fits / "a-fold1.failed.json")
    assert run.scan()[0].to_do


def test_second_attempt_of_another_bank_version_counts_if_that_is_allowed(run, monkeypatch):
    run.finish(run.specs[0].next_attempt())
    other = replace(run.specs[0], bank=elsewhere(run.specs[0]))
    statuses = run.scan([other], allow_changed=True)
    assert statuses == [FitStatus(other.next_attempt(), finished=True)]


def test_second_attempt_counts_though_the_note_of_the_first_is_lost(run):
    run.finish(run.specs[0].next_attempt())
    assert run.scan()[0] == FitStatus(run.specs[0].next_attempt(), finished=True)


# The state of a run


def test_state_of_a_run(run):
    run.finish(run.specs[0])
    resume.note_divergence(run.folder, run.specs[1], "first")
    resume.note_divergence(run.folder, run.specs[1].next_attempt(), "second")
    resume.note_divergence(run.folder, run.specs[2], "first")
    state = resume.scan_fits(run.folder, run.specs)
    third = run.specs[2].next_attempt()
    assert state.finished == [run.specs[0]]
    assert state.skipped == {"a fold 2": "second"}
    assert state.to_do == [third, run.specs[3]]
    assert [spec.name for spec in state.specs] == [spec.name for spec in run.specs]
    assert (state.is_complete, state.notes) == (False, ())
    # A fit that has got further takes the place of what it was, whatever attempt it is at.
    further = state.with_fit(FitStatus(third, finished=True)).with_fit(
        FitStatus(run.specs[3].next_attempt(), skipped="reason")
    )
    assert (further.finished, further.is_complete) == ([run.specs[0], third], True)
    assert further.skipped == {"a fold 2": "second", "b fold 2": "reason"}
    assert further.specs[3].attempt == 2
    assert state.to_do == [third, run.specs[3]]  # which is as it was


def test_notes_are_kept_while_fits_get_further():
    spec = SimpleNamespace(member="a", fold=0)
    state = RunState((FitStatus(spec),), ("damaged: x",))
    assert state.with_fit(FitStatus(spec, finished=True)).notes == ("damaged: x",)


def test_leftovers_are_cleared(run):
    for spec in run.specs[:2]:
        run.finish(spec)
    flip_a_byte(run.folder.fit_folder("a", 1) / "predictions.npz")
    run.save_epochs(run.specs[0])  # a kill came just after its fit was written
    run.save_epochs(run.specs[1])
    run.save_epochs(run.specs[2])
    for spec in (run.specs[3], run.specs[3].next_attempt()):
        resume.note_divergence(run.folder, spec, "reason")
    resume.clear_leftovers(run.folder, resume.scan_fits(run.folder, run.specs))
    assert sorted(path.name for path in run.folder.fits.iterdir()) == [
        *("a-fold1", "a-fold2.state", "b-fold1.state", "b-fold2.failed.json")
    ]


# Notes of diverged attempts


def test_diverged_attempts_are_noted(run):
    folder, (spec, other) = run.folder, run.specs[:2]
    assert resume.diverged_attempts(folder, spec) == []
    resume.note_divergence(folder, spec, "first")
    assert resume.diverged_attempts(folder, spec) == ["first"]
    resume.note_divergence(folder, spec.next_attempt(), "second")
    assert resume.diverged_attempts(folder, spec) == ["first", "second"]
    assert resume.diverged_attempts(folder, other) == []
    assert folder.read_failures("a", 0) == [
        {"attempt": 1, "fit": spec.digest, "reason": "first"},
        {"attempt": 2, "fit": spec.next_attempt().digest, "reason": "second"},
    ]


def test_a_note_is_never_doubled(run):
    # A kill between the note and what follows has the same attempt noted again.
    spec = run.specs[0]
    for _ in range(2):
        resume.note_divergence(run.folder, spec, "first")
    for _ in range(2):
        resume.note_divergence(run.folder, spec.next_attempt(), "second")
    assert resume.diverged_attempts(run.folder, spec) == ["first", "second"]


def test_notes_of_other_settings_are_passed_over(run):
    old, new = replace(run.specs[0], seed=4), run.specs[0]
    for spec in (old, old.next_attempt()):
        resume.note_divergence(run.folder, spec, "old")
    assert resume.diverged_attempts(run.folder, new) == []
    resume.note_divergence(run.folder, new, "new")
    assert resume.diverged_attempts(run.folder, new) == ["new"]
    assert resume.diverged_attempts(run.folder, old) == []


def test_a_diverged_attempt_leaves_no_epochs_behind(run):
    for spec in run.specs[:2]:
        run.save_epochs(spec)
    resume.note_divergence(run.folder, run.specs[0], "reason")
    assert run.folder.read_state("a", 0) is None
    assert run.folder.read_state("a", 1) is not None


def test_damaged_note_is_an_error(run):
    resume.note_divergence(run.folder, run.specs[0], "reason")
    flip_a_byte(run.folder.failures_path("a", 0))
    with pytest.raises(files.DamagedError, match=r"a-fold1\.failed.json: its checksum differs"):
        resume.diverged_attempts(run.folder, run.specs[0])


def test_damaged_note_is_made_again(run):
    spec = run.specs[0]
    resume.note_divergence(run.folder, spec, "reason")
    flip_a_byte(run.folder.failures_path("a", 0))
    resume.note_divergence(run.folder, spec, "reason")  # the attempt, repeated, diverges again
    assert resume.diverged_attempts(run.folder, spec) == ["reason"]


# Checkpoints; how a fit resumes from one: test_engine.py


def checkpoint(epochs=2, history=({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25})):
    arrays = [np.full((2, 3), number, np.float32) for number in range(12)]
    best = [np.full(2, -number, np.float32) for number in range(11)]
    losses = np.float32([0.5, np.nan])
    history = list(history)
    return SimpleNamespace(epochs=epochs, arrays=arrays, history=history, best=best, losses=losses)


def test_checkpoint_of_a_version_without_short_epochs(run):
    folder, spec = run.folder, run.specs[1]
    resume.save_checkpoint(folder, spec, checkpoint())
    arrays = folder.read_state("a", 1)
    folder.write_state("a", 1, {n: a for n, a in arrays.items() if not n.startswith("losses")})
    assert resume.load_checkpoint(folder, spec).losses.shape == (0,)


def test_checkpoint_is_saved_and_read_back(run):
    folder, spec = run.folder, run.specs[1]
    assert resume.load_checkpoint(folder, spec) is None
    assert resume.read_checkpoint_facts(folder, "a", 1) is None
    resume.save_checkpoint(folder, spec, checkpoint())
    back = resume.load_checkpoint(folder, spec)
    assert (back.epochs, back.history) == (2, checkpoint().history)
    for number, array in enumerate(back.arrays):  # more than ten, and still in order
        np.testing.assert_array_equal(array, np.full((2, 3), number, np.float32), strict=True)
    assert number == 11
    assert [array.tolist() for array in back.best] == [[-n, -n] for n in range(11)]
    np.testing.assert_array_equal(back.losses, np.float32([0.5, np.nan]), strict=True)
    assert resume.read_checkpoint_facts(folder, "a", 1) == {
        "fit": spec.digest,
        "identity": json.loads(json.dumps(spec.identity)),
        "epochs": 2,
        "history": checkpoint().history,
        "packages": PACKAGES,
        "hardware": HARDWARE,
    }


def test_checkpoint_of_another_fit_is_not_resumed_from(run):
    spec = run.specs[1]
    for other in (spec.next_attempt(), replace(spec, seed=4)):
        resume.save_checkpoint(run.folder, other, checkpoint())
        assert resume.load_checkpoint(run.folder, spec) is None
        assert resume.read_checkpoint_facts(run.folder, "a", 1)["fit"] == other.digest


def test_damaged_checkpoint_is_an_error(run):
    resume.save_checkpoint(run.folder, run.specs[1], checkpoint())
    flip_a_byte(run.folder.state_path("a", 1))
    message = r"a-fold2\.state: its checksum differs"
    with pytest.raises(files.DamagedError, match=message):
        resume.load_checkpoint(run.folder, run.specs[1])
    with pytest.raises(files.DamagedError, match=message):
        resume.read_checkpoint_facts(run.folder, "a", 1)


# Who made them


def test_the_same_machine_is_silent(run):
    run.finish(run.specs[0])
    run.save_epochs(run.specs[1])
    run.check_environment()
    assert run.lines == []


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
        "3.9.0 again, or continue all the same with --allow-changed-versions, or start from the "
        "beginning with --restart"
    )
    assert run.lines == []


def test_other_package_versions_that_are_allowed_are_reported(run, machine):
    run.finish(run.specs[0])
    run.save_epochs(run.specs[3])
    machine.packages |= {"keras": "3.10.0", "tensorflow": "2.19.0"}
    run.check_environment(allow_changed=True)
    end = "; the results are not those of one version"
    assert sorted(run.lines) == [
        f"WARNING: {name} was trained with {change}{end}"
        for name in ("a fold 1", "b fold 2")
        for change in ("keras 3.9.0, here is 3.10.0", "tensorflow 2.18.0, here is 2.19.0")
    ]


def test_epochs_of_a_diverged_attempt_count_for_nothing(run, machine):
    resume.note_divergence(run.folder, run.specs[0], "reason")
    run.save_epochs(run.specs[0])
    machine.packages["keras"] = "3.10.0"
    run.check_environment()


def test_fits_that_are_skipped_count_for_nothing(run, machine):
    run.finish(run.specs[0])
    resume.note_divergence(run.folder, run.specs[0], "first")
    resume.note_divergence(run.folder, run.specs[0].next_attempt(), "second")
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
    assert run.lines == []


def test_package_that_is_gone_is_not_compared(run, machine):
    run.finish(run.specs[0])
    del machine.packages["jax"]
    run.check_environment()


@pytest.mark.parametrize("make", [finished, begun])
def test_other_hardware_is_reported(run, machine, make):
    make(run)
    machine.hardware |= {"processor": "Abacus 2", "cores": 8, "memory_bytes": 1, "system": "BSD"}
    run.check_environment()
    assert sorted(run.lines) == [
        f"WARNING: a fold 1 was trained on other hardware ({change}); the last bits may differ"
        for change in ("cores: 4 there, 8 here", "processor: Abacus 1 there, Abacus 2 here")
    ]


def test_fits_that_do_not_say_who_made_them_are_accepted(run, machine):
    spec = run.specs[0]
    run.folder.write_fit("a", 0, {}, {"identity": spec.identity, "digest": spec.digest})
    machine.packages["keras"] = "3.10.0"
    machine.hardware["cores"] = 8
    # Without predictions it is damaged, but that is another matter.
    assert resume.check_environment(run.folder, [FitStatus(spec, finished=True)], False) == []
