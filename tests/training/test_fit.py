import csv
import dataclasses
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.augmentation import bank
from kaggle_digits.config.loading import Config
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.training import backend, fit_spec
from kaggle_digits.training import fit as fits

LABELS = np.tile(np.arange(10, dtype=np.uint8), 4)
SPLIT = [np.arange(0, 20), np.arange(20, 40)]
SETTINGS = {
    "seed": 3,
    "folds": {"count": 2},
    "train": {"epochs": 4},
    "members": {"a": {}, "b": {"train": {"epochs": 6}}},
}


@pytest.fixture
def inputs(tiny_images):
    return fit_spec.Inputs.of(tiny_images, LABELS, tiny_images[:5])


@pytest.fixture
def plan(inputs):
    def plan(backend="tensorflow", **changes):
        config = Config.model_validate(SETTINGS | changes)
        return fit_spec.plan(config, inputs, SPLIT, backend)

    return plan


# Sick fits


def trained(steps=1000, accuracy=0.9, loss=0.1, complete=True, epochs=2):
    """What training leaves behind, as far as divergence_reason goes."""
    history = [{"epoch": n, "loss": 9.0, "accuracy": 0.0} for n in range(1, epochs)]
    history += [{"epoch": epochs, "loss": loss, "accuracy": accuracy}] if epochs else []
    return SimpleNamespace(history=history, steps=steps, complete=complete)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (trained(), None),
        (trained(accuracy=0.2), None),
        (trained(accuracy=0.1999), "its training accuracy was 0.200 after 1000 steps"),
        (trained(accuracy=0.1), "its training accuracy was 0.100 after 1000 steps"),
        (trained(accuracy=0.1, steps=4321), "its training accuracy was 0.100 after 4321 steps"),
        # So few steps prove nothing.
        (trained(accuracy=0.1, steps=999), None),
        # Nor does a fit that is not at its end.
        (trained(accuracy=0.1, complete=False), None),
        (trained(epochs=0, complete=False), None),
        # A loss that is none says it all.
        (trained(loss=math.nan, complete=False), "the loss was nan in epoch 2"),
        (trained(loss=math.inf, complete=False), "the loss was inf in epoch 2"),
        (trained(loss=-math.inf, steps=4, complete=False), "the loss was -inf in epoch 2"),
        (trained(loss=1e30), None),
    ],
)
def test_sickness(net, reason):
    assert fits.divergence_reason(net) == reason


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_sick_attempts_are_noted(folder, plan):
    spec, other = plan()[:2]
    assert fits.diverged_attempts(folder, spec) == []
    fits.note_divergence(folder, spec, "first")
    assert fits.diverged_attempts(folder, spec) == ["first"]
    fits.note_divergence(folder, spec.next_attempt(), "second")
    assert fits.diverged_attempts(folder, spec) == ["first", "second"]
    assert fits.diverged_attempts(folder, other) == []
    assert folder.read_failures("a", 0) == [
        {"attempt": 1, "fit": spec.digest(), "reason": "first"},
        {"attempt": 2, "fit": spec.next_attempt().digest(), "reason": "second"},
    ]


def test_a_note_is_never_doubled(folder, plan):
    # A kill between the note and what follows has the same attempt noted again.
    spec = plan()[0]
    for _ in range(2):
        fits.note_divergence(folder, spec, "first")
    for _ in range(2):
        fits.note_divergence(folder, spec.next_attempt(), "second")
    assert fits.diverged_attempts(folder, spec) == ["first", "second"]


def test_notes_of_other_settings_are_passed_over(folder, plan):
    old, new = plan(seed=4)[0], plan()[0]
    for spec in (old, old.next_attempt()):
        fits.note_divergence(folder, spec, "old")
    assert fits.diverged_attempts(folder, new) == []
    fits.note_divergence(folder, new, "new")
    assert fits.diverged_attempts(folder, new) == ["new"]
    assert fits.diverged_attempts(folder, old) == []


def test_a_sick_attempt_leaves_no_epochs_behind(folder, plan):
    spec, other = plan()[:2]
    for each in (spec, other):
        fits.save_state(folder, each, state())
    fits.note_divergence(folder, spec, "reason")
    assert folder.read_state("a", 0) is None
    assert folder.read_state("a", 1) is not None


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_note_is_told(folder, plan):
    fits.note_divergence(folder, plan()[0], "reason")
    flip_a_byte(folder.fits / "a-fold1.failed.json")
    with pytest.raises(files.DamagedError, match=r"a-fold1\.failed.json: its checksum differs"):
        fits.diverged_attempts(folder, plan()[0])


def test_damaged_note_is_made_again(folder, plan):
    spec = plan()[0]
    fits.note_divergence(folder, spec, "reason")
    flip_a_byte(folder.fits / "a-fold1.failed.json")
    fits.note_divergence(folder, spec, "reason")  # the attempt that was repeated is as sick
    assert fits.diverged_attempts(folder, spec) == ["reason"]


# What an unfinished fit goes on from


def state(epochs=2, history=({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25})):
    arrays = [np.full((2, 3), number, np.float32) for number in range(12)]
    return SimpleNamespace(epochs=epochs, arrays=arrays, history=list(history))


def test_state_is_saved_and_read_back(folder, plan):
    spec = plan()[1]
    assert fits.load_state(folder, spec) is None
    assert fits.state_facts(folder, spec) is None
    fits.save_state(folder, spec, state())
    back = fits.load_state(folder, spec)
    assert (back.epochs, back.history) == (2, state().history)
    for number, array in enumerate(back.arrays):  # more than ten, and still in order
        np.testing.assert_array_equal(array, np.full((2, 3), number, np.float32), strict=True)
    assert number == 11
    facts = fits.state_facts(folder, spec)
    assert (facts["epochs"], facts["packages"]["numpy"]) == (2, np.__version__)
    assert facts["hardware"]["cores"] == os.cpu_count()


def test_state_of_another_fit_is_not_gone_on_from(folder, plan):
    spec = plan()[1]
    for other in (spec.next_attempt(), plan(seed=4)[1]):
        fits.save_state(folder, other, state())
        assert fits.load_state(folder, spec) is None
        assert fits.state_facts(folder, spec) is None
        assert fits.read_state_facts(folder, "a", 1)["fit"] == other.digest()


def test_damaged_state_is_told(folder, plan):
    fits.save_state(folder, plan()[1], state())
    flip_a_byte(folder.fits / "a-fold2.state")
    for read in (fits.load_state, fits.state_facts):
        with pytest.raises(files.DamagedError, match=r"a-fold2\.state: its checksum differs"):
            read(folder, plan()[1])


def test_a_fit_starts_where_nothing_is_saved(folder, plan):
    said = []
    assert fits.resume(folder, plan()[1], said.append) is None
    # Epochs of other settings are nothing to go on from either.
    fits.save_state(folder, plan(seed=4)[1], state())
    assert fits.resume(folder, plan()[1], said.append) is None
    assert said == []


def test_a_fit_goes_on_where_it_was_cut_off(folder, plan):
    fits.save_state(folder, plan()[1], state())
    said = []
    back = fits.resume(folder, plan()[1], said.append)
    assert (back.epochs, back.history, len(back.arrays)) == (2, state().history, 12)
    assert said == ["a fold 2 goes on after epoch 2, saved before it was cut off"]


def test_a_fit_starts_over_where_what_was_saved_is_damaged(folder, plan):
    fits.save_state(folder, plan()[1], state())
    path = folder.fits / "a-fold2.state"
    flip_a_byte(path)
    said = []
    assert fits.resume(folder, plan()[1], said.append) is None
    assert said == [f"damaged: {path}: its checksum differs; a fold 2 starts over"]


# Saving


class FakeNet:
    """Stands for a `keras.Model`, so that no backend has to start."""

    def save(self, path):
        assert path.suffix == ".keras"
        path.write_bytes(b"a net")


def result(**changes):
    generator = np.random.default_rng(1)
    history = [
        {"epoch": 1, "loss": 0.5, "accuracy": 0.25},
        {"epoch": 2, "loss": 0.125, "accuracy": 0.75},
    ]
    values = {
        "model": FakeNet(),
        "heldout": generator.random((20, 10), np.float32),
        "test": generator.random((5, 10), np.float32),
        "history": history,
        "train_seconds": 2.5,
        "predict_seconds": 0.5,
        "train_images": 80,
    }
    return fits.FitResult(**values | changes)


def test_finished_fit_is_saved_and_read_back(tmp_path, plan):
    folder, spec, done = RunFolder(tmp_path), plan()[3], result()
    fits.save_fit(folder, spec, done)
    files = folder.fit_folder("b", 1)
    assert files == tmp_path / "fits" / "b-fold2"
    names = ["fit.json", "history.csv", "model.keras", "predictions.npz"]
    assert sorted(path.name for path in files.iterdir()) == names
    facts = folder.read_fit("b", 1)
    fit_spec.check_identity(spec, facts["identity"], "there")
    assert facts["digest"] == spec.digest()
    assert facts["seconds"] == {"train": 2.5, "predict": 0.5}
    assert facts["train_images"] == 80
    assert sorted(facts["checksums"]) == ["history.csv", "model.keras", "predictions.npz"]
    arrays = folder.read_fit_arrays("b", 1)
    np.testing.assert_array_equal(arrays["heldout"], done.heldout)
    np.testing.assert_array_equal(arrays["test"], done.test)
    with (files / "history.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["epoch", "loss", "accuracy"],
            ["1", "0.5", "0.25"],
            ["2", "0.125", "0.75"],
        ]


def test_finished_fit_may_have_further_facts(tmp_path, plan):
    folder, specs = RunFolder(tmp_path), plan()
    fits.save_fit(folder, specs[0], result())
    fits.save_fit(folder, specs[1], result(), {"peak_memory_bytes": 2**40})
    without, more = (folder.read_fit("a", fold) for fold in (0, 1))
    assert more["peak_memory_bytes"] == 2**40
    assert more.keys() - without.keys() == {"peak_memory_bytes"}
    assert more["digest"] == specs[1].digest()


def test_finished_fit_leaves_no_epochs_behind(tmp_path, plan):
    folder, spec = RunFolder(tmp_path), plan()[3]
    fits.save_state(folder, spec, state())
    fits.save_fit(folder, spec, result())
    assert folder.read_state("b", 1) is None
    assert [path.name for path in folder.fits.iterdir()] == ["b-fold2"]


def test_nothing_is_left_of_a_fit_whose_net_cannot_be_saved(tmp_path, plan):
    class Broken:
        def save(self, path):
            path.write_bytes(b"half")
            raise OSError(28, os.strerror(28), str(path))

    with pytest.raises(UserError, match=r"model\.keras: cannot be written \(No space left"):
        fits.save_fit(RunFolder(tmp_path), plan()[0], result(model=Broken()))
    assert list((tmp_path / "fits").iterdir()) == []


def test_a_fit_refuses_inputs_that_are_not_its_own(tmp_path, plan, tiny_images):
    # Importing the training module is all that this needs of a backend; `train` is never called.
    other = fit_spec.Inputs.of(tiny_images[::-1], LABELS, tiny_images[:5])
    with pytest.raises(ValueError, match=f"made for inputs .*, given {other.key}"):
        fits.train_fit(plan()[0], other, Cache(tmp_path))


# Training in this process

TINY = {
    "folds": {"count": 2},
    "augment": {"elastic": {"p": 0}, "variants": 3},
    "model": {"stages": [{"width": 2, "kernel": 5, "stride": 2, "pool": "first"}]},
    "train": {"epochs": 2, "batch_size": 10, "warmup_epochs": 0.5, "ema_epochs": 0.5},
    "members": {"cnn": {}},
}


@pytest.fixture
def tiny(plan):
    return plan(backend=backend.name(), **TINY)[0]


def numbers_drawn(cache_folder):
    return sorted(int(path.stem[-3:]) for path in cache_folder.rglob("variant-*.npy"))


def test_missing_variants_are_drawn_when_they_are_needed(tmp_path, inputs, tiny, monkeypatch):
    monkeypatch.setattr(fits.os, "cpu_count", lambda: 1)  # as many are drawn at a time
    wanted = [tiny.variant_of_epoch(epoch) for epoch in (0, 1)]
    full = Cache(tmp_path / "full")
    bank.fill(full, tiny.bank_key, inputs.train_images, tiny.settings.augment, tiny.seed, range(3))
    there = []

    def listener(done, entry):
        there.append(numbers_drawn(tmp_path / "empty"))

    results = []
    for cache, heard in ((full, None), (Cache(tmp_path / "empty"), listener)):
        net = fits.train_fit(tiny, inputs, cache, heard)
        results.append(fits.finish_fit(tiny, inputs, net))
    one, other = results
    assert one.heldout.tobytes() == other.heldout.tobytes()
    assert one.test.tobytes() == other.test.tobytes()
    assert (one.heldout.shape, one.test.shape) == ((20, 10), (5, 10))
    # Each no sooner than it is needed, and the third never: 2 steps and an end in each epoch.
    assert there == 3 * [[wanted[0]]] + 3 * [sorted(wanted)]


@pytest.fixture
def training(monkeypatch):
    """What training is asked for; nothing is trained."""
    asked = {}

    def train(settings, **options):
        asked.update(options, settings=settings)
        return "a net"

    monkeypatch.setattr("kaggle_digits.training.train.train", train)
    return asked


def test_variants_of_the_next_epochs_are_drawn_along(tmp_path, inputs, tiny, monkeypatch, training):
    monkeypatch.setattr(fits.os, "cpu_count", lambda: 2)
    cache = Cache(tmp_path)
    spec = dataclasses.replace(
        tiny,
        settings=tiny.settings.model_copy(
            update={"train": tiny.settings.train.model_copy(update={"epochs": 3})}
        ),
    )
    fits.train_fit(spec, inputs, cache)
    variants = [spec.variant_of_epoch(epoch) for epoch in range(3)]
    images = training["images"](1)
    assert numbers_drawn(tmp_path) == sorted(variants[1:])  # one a core, from this epoch on
    np.testing.assert_array_equal(images, cache.read_variant(spec.bank_key, variants[1]))
    training["images"](0)
    assert numbers_drawn(tmp_path) == [0, 1, 2]


def test_variants_are_not_drawn_for_epochs_that_never_come(
    tmp_path, inputs, tiny, monkeypatch, training
):
    monkeypatch.setattr(fits.os, "cpu_count", lambda: 64)
    fits.train_fit(tiny, inputs, Cache(tmp_path))
    training["images"](1)  # the last one
    assert numbers_drawn(tmp_path) == [tiny.variant_of_epoch(1)]


def test_what_training_is_asked_for(tmp_path, inputs, tiny, training):
    options = {name: object() for name in ("listener", "state", "keep", "stop")}
    assert fits.train_fit(tiny, inputs, Cache(tmp_path), **options) == "a net"
    assert {name: training[name] for name in options} == options
    assert training["settings"] == tiny.settings
    assert training["seed"] == tiny.seed_for("fit")
    assert training["rows"].tolist() == list(range(20, 40))
    assert training["labels"] is inputs.train_labels
    assert training["clean"] is inputs.train_images


# Memory


@pytest.mark.parametrize(("size", "advice"), [(128, 64), (5, 2), (3, 2), (2, 2)])
def test_want_of_memory_names_the_batch_size(tmp_path, inputs, plan, monkeypatch, size, advice):
    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr("kaggle_digits.training.train.train", fail)
    spec = plan(backend=backend.name(), train={"epochs": 4, "batch_size": size})[0]
    with pytest.raises(UserError) as caught:
        fits.train_fit(spec, inputs, Cache(tmp_path))
    assert str(caught.value) == (
        f"a fold 1: the memory does not suffice for train.batch_size={size}; close other "
        f"programs, or repeat with --set train.batch_size={advice} and another --out"
    )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such shape"),
        UserError("/data/allocate/run: cannot be written (No space left on device)"),
    ],
)
def test_other_errors_of_training_are_left_alone(tmp_path, inputs, tiny, monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("kaggle_digits.training.train.train", fail)
    with pytest.raises(type(error)) as caught:
        fits.train_fit(tiny, inputs, Cache(tmp_path))
    assert caught.value is error


# One real fit, twice

IN_THIS_PROCESS = """
import json, sys
from pathlib import Path
import numpy as np
from kaggle_digits.training import backend
from kaggle_digits.training import fit as fits
from kaggle_digits.training import fit_spec
from kaggle_digits.data import folds
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.config.loading import Config

folder = Path(sys.argv[1])
config = Config.model_validate({
    "folds": {"count": 2},
    "augment": {"elastic": {"p": 0}},
    "model": {"stages": [{"width": 4, "pool": "first"}]},
    "train": {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.5, "ema_epochs": 1},
})
generator = np.random.default_rng(5)
images = generator.integers(0, 256, (200, 28, 28), dtype=np.uint8)
labels = np.arange(200, dtype=np.uint8) % 10
images[np.arange(200), 2 * labels.astype(int)] = 255  # a bright line that tells the class
inputs = fit_spec.Inputs.of(images, labels, images[:50, ::-1])
cache = Cache(folder / "cache")
inputs.put_into(cache)
spec = fit_spec.plan(config, inputs, folds.stratified(labels, 2, config.seed), backend.name())[1]
(folder / "spec.json").write_text(json.dumps(spec.to_json()))
backend.configure(spec.settings.train.threads)
trained = fits.train_fit(spec, inputs, cache)
fits.save_fit(RunFolder(folder / "here"), spec, fits.finish_fit(spec, inputs, trained))
"""

IN_A_FRESH_PROCESS = """
import json, sys
from pathlib import Path
from kaggle_digits.training import backend
from kaggle_digits.training import fit as fits
from kaggle_digits.training import fit_spec
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder

folder = Path(sys.argv[1])
spec = fit_spec.FitSpec.from_json(json.loads((folder / "spec.json").read_text()))
cache = Cache(folder / "cache")
inputs = fit_spec.Inputs.from_cache(cache, spec.inputs_key)
backend.configure(spec.settings.train.threads)
trained = fits.train_fit(spec, inputs, cache)
fits.save_fit(RunFolder(folder / "fresh"), spec, fits.finish_fit(spec, inputs, trained))
"""


def test_a_fresh_process_gets_the_same_bytes_from_the_specification_alone(tmp_path, process_env):
    for script in (IN_THIS_PROCESS, IN_A_FRESH_PROCESS):
        command = [sys.executable, "-c", script, str(tmp_path)]
        done = subprocess.run(command, env=process_env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    here, fresh = (RunFolder(tmp_path / name) for name in ("here", "fresh"))
    path = here.fit_folder("cnn", 1) / "predictions.npz"
    again = fresh.fit_folder("cnn", 1) / "predictions.npz"
    assert path.read_bytes() == again.read_bytes()
    arrays = here.read_fit_arrays("cnn", 1)
    assert {name: (a.shape, a.dtype) for name, a in arrays.items()} == {
        "heldout": ((100, 10), np.dtype(np.float32)),
        "test": ((50, 10), np.dtype(np.float32)),
    }
    np.testing.assert_allclose(arrays["heldout"].sum(axis=1), 1, rtol=1e-5)
    assert here.read_fit("cnn", 1)["identity"] == fresh.read_fit("cnn", 1)["identity"]
    assert here.read_fit("cnn", 1)["train_images"] == 2 * 96  # 6 whole batches of 16 of 100 rows
    with (fresh.fit_folder("cnn", 1) / "history.csv").open(newline="") as file:
        assert [line["epoch"] for line in csv.DictReader(file)] == ["1", "2"]
