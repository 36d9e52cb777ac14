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
from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError
from kaggle_digits.results import record
from kaggle_digits.results.run_report import NET_FORMAT, Layer, NetSummary
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.training import backend, fit, fit_spec, resume

LABELS = np.tile(np.arange(10, dtype=np.uint8), 4)
SPLIT = [np.arange(0, 20), np.arange(20, 40)]
SETTINGS = {
    "seed": 3,
    "folds": {"count": 2},
    "train": {"epochs": 4, "threads": 2},
    "members": {"a": {}, "b": {"train": {"epochs": 6}}},
}


@pytest.fixture
def inputs(tiny_images):
    return fit_spec.Inputs(tiny_images, LABELS, tiny_images[:5])


@pytest.fixture
def plan(inputs):
    def plan(backend="tensorflow", **changes):
        config = Config.model_validate(SETTINGS | changes)
        return fit_spec.plan(config, inputs, SPLIT, backend)

    return plan


# Diverged fits


def trained(steps=1000, accuracy=0.9, loss=0.1, complete=True, epochs=2, **more):
    """What training leaves behind, as far as divergence_reason goes."""
    from kaggle_digits.training.train import TrainingResult

    history = [{"epoch": n, "loss": 9.0, "accuracy": 0.0} for n in range(1, epochs)]
    history += [{"epoch": epochs, "loss": loss, "accuracy": accuracy}] if epochs else []
    return TrainingResult(lambda: None, history, 2.5, 80, steps, complete, **more)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (trained(), None),
        (trained(accuracy=0.2), None),
        (trained(accuracy=0.1999), "training accuracy is 0.200 after 1000 steps"),
        (trained(accuracy=0.1), "training accuracy is 0.100 after 1000 steps"),
        (trained(accuracy=0.1, steps=4321), "training accuracy is 0.100 after 4321 steps"),
        # So few steps prove nothing.
        (trained(accuracy=0.1, steps=999), None),
        # Nor does a fit that is not at its end.
        (trained(accuracy=0.1, complete=False), None),
        (trained(epochs=0, complete=False), None),
        # A loss that is not finite is enough.
        (trained(loss=math.nan, complete=False), "loss is nan in epoch 2"),
        (trained(loss=math.inf, complete=False), "loss is inf in epoch 2"),
        (trained(loss=-math.inf, steps=4, complete=False), "loss is -inf in epoch 2"),
        (trained(loss=1e30), None),
    ],
)
def test_divergence_reason(net, reason):
    assert fit.divergence_reason(net) == reason


def test_divergence_is_judged_by_the_epoch_whose_weights_are_kept():
    collapsed = trained(accuracy=0.1, kept_epoch=1)
    collapsed.history[0]["accuracy"] = 0.97
    assert fit.divergence_reason(collapsed) is None
    useless = trained(kept_epoch=1)  # the last epoch has 0.9, but its weights are gone
    assert fit.divergence_reason(useless) == (
        "training accuracy is 0.000 in epoch 1, the best, after 1000 steps"
    )


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
        "training": SimpleNamespace(history=history, seconds=2.5, images=80),
        "predict_seconds": 0.5,
        "accelerators": ("Tesla T4",),
        "net": NetSummary((Layer("logits", "Dense", (10,), 8),), 8, 16),
    }
    return fit.FitResult(**values | changes)


def test_finished_fit_is_saved_and_read_back(tmp_path, plan):
    folder, spec, done = RunFolder(tmp_path), plan()[3], result()
    fit.save_fit(folder, spec, done)
    files = folder.fit_folder("b", 1)
    assert files == tmp_path / "fits" / "b-fold2"
    names = ["fit.json", "history.csv", "model.keras", "predictions.npz"]
    assert sorted(path.name for path in files.iterdir()) == names
    facts = folder.read_fit("b", 1)
    fit_spec.check_identity(spec, facts["identity"], "there")
    assert facts["digest"] == spec.digest
    assert facts["seconds"] == {"train": 2.5, "predict": 0.5}
    assert facts["train_images"] == 80
    assert facts["accelerators"] == ["Tesla T4"]
    assert record.from_json(NetSummary, facts["net"], NET_FORMAT, files) == done.net
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
    fit.save_fit(folder, specs[0], result())
    fit.save_fit(folder, specs[1], result(), {"peak_memory_bytes": 2**40})
    without, more = (folder.read_fit("a", fold) for fold in (0, 1))
    assert more["peak_memory_bytes"] == 2**40
    assert more.keys() - without.keys() == {"peak_memory_bytes"}
    assert more["digest"] == specs[1].digest


def test_finished_fit_leaves_no_epochs_behind(tmp_path, plan):
    folder, spec = RunFolder(tmp_path), plan()[3]
    state = SimpleNamespace(epochs=2, arrays=[np.zeros(3)], history=[], best=[], losses=np.zeros(0))
    resume.save_checkpoint(folder, spec, state)
    fit.save_fit(folder, spec, result())
    assert folder.read_state("b", 1) is None
    assert [path.name for path in folder.fits.iterdir()] == ["b-fold2"]


def test_nothing_is_left_of_a_fit_whose_net_cannot_be_saved(tmp_path, plan):
    class Broken:
        def save(self, path):
            path.write_bytes(b"half")
            raise OSError(28, os.strerror(28), str(path))

    with pytest.raises(UserError, match=r"model\.keras: cannot be written \(No space left"):
        fit.save_fit(RunFolder(tmp_path), plan()[0], result(model=Broken()))
    assert list((tmp_path / "fits").iterdir()) == []


def test_a_fit_refuses_inputs_that_are_not_its_own(tmp_path, plan, tiny_images):
    # Importing the training module is all that this needs of a backend; `train` is never called.
    other = fit_spec.Inputs(tiny_images[::-1], LABELS, tiny_images[:5])
    with pytest.raises(ValueError, match=f"^a fold 1: expected inputs .*, found {other.key}$"):
        fit.train_fit(plan()[0], other, Cache(tmp_path))


# Training in this process

TINY = {
    "folds": {"count": 2},
    "augment": {"elastic": {"p": 0}, "variants": 3},
    "model": {"stages": [{"width": 2, "kernel": 5, "stride": 2, "pool": "first"}]},
    "train": {"epochs": 2, "batch_size": 10, "warmup_epochs": 0.5, "ema_epochs": 0.5, "threads": 2},
    "members": {"cnn": {}},
}


@pytest.fixture
def tiny(plan):
    return plan(backend=backend.name(), **TINY)[0]


def numbers_drawn(cache_folder):
    return sorted(int(path.stem[-3:]) for path in cache_folder.rglob("variant-*.npy"))


def test_missing_variants_are_drawn_when_they_are_needed(tmp_path, inputs, tiny, monkeypatch):
    monkeypatch.setattr(fit.environment, "usable_cores", lambda: 1)  # as many are drawn at a time
    wanted = [tiny.variants_of_epoch(epoch)[0] for epoch in (0, 1)]
    full = Cache(tmp_path / "full")
    bank.fill(full, tiny.bank, inputs.train_images, range(3))
    there = []

    def on_progress(done, entry):
        there.append(numbers_drawn(tmp_path / "empty"))

    results = []
    from kaggle_digits.training.callbacks import Hooks

    hooks = Hooks(on_progress=on_progress)
    for cache, heard in ((full, None), (Cache(tmp_path / "empty"), hooks)):
        net = fit.train_fit(tiny, inputs, cache, hooks=heard)
        results.append(fit.finish_fit(tiny, inputs, net))
    one, other = results
    assert one.net == other.net
    assert one.net.parameters == net.model.count_params()
    assert one.heldout.tobytes() == other.heldout.tobytes()
    assert one.test.tobytes() == other.test.tobytes()
    assert (one.heldout.shape, one.test.shape) == ((20, 10), (5, 10))
    # Each no sooner than it is needed, and the third never: 2 steps and an end in each epoch.
    assert there == 3 * [[wanted[0]]] + 3 * [sorted(wanted)]


@pytest.fixture
def training(monkeypatch):
    """What training is asked for; nothing is trained."""
    asked = {}

    def train(settings, data, seed, checkpoint, hooks):
        asked.update(settings=settings, data=data, seed=seed, checkpoint=checkpoint, hooks=hooks)
        return "a net"

    monkeypatch.setattr("kaggle_digits.training.train.train", train)
    return asked


def test_variants_of_the_next_epochs_are_drawn_along(tmp_path, inputs, tiny, monkeypatch, training):
    monkeypatch.setattr(fit.environment, "usable_cores", lambda: 2)
    cache = Cache(tmp_path)
    spec = dataclasses.replace(
        tiny,
        settings=tiny.settings.model_copy(
            update={"train": tiny.settings.train.model_copy(update={"epochs": 3})}
        ),
    )
    fit.train_fit(spec, inputs, cache)
    variants = [spec.variants_of_epoch(epoch)[0] for epoch in range(3)]
    images = training["data"].images(1)
    assert numbers_drawn(tmp_path) == sorted(variants[1:])  # one a core, from this epoch on
    np.testing.assert_array_equal(images, cache.read_variant(spec.bank.key, variants[1]))
    training["data"].images(0)
    assert numbers_drawn(tmp_path) == [0, 1, 2]


def test_variants_are_not_drawn_for_epochs_that_never_come(
    tmp_path, inputs, tiny, monkeypatch, training
):
    monkeypatch.setattr(fit.environment, "usable_cores", lambda: 64)
    fit.train_fit(tiny, inputs, Cache(tmp_path))
    training["data"].images(1)  # the last one
    assert numbers_drawn(tmp_path) == [tiny.variants_of_epoch(1)[0]]


def test_each_row_reads_its_own_variant(tmp_path, inputs, plan, training):
    spec = plan(backend=backend.name(), **TINY | {"augment": {"variant_order": "own"}})[0]
    cache = Cache(tmp_path)
    fit.train_fit(spec, inputs, cache)
    for epoch in range(spec.settings.train.epochs):
        images = training["data"].images(epoch)
        assert numbers_drawn(tmp_path) == spec.variants_of_epoch(epoch)  # all are needed at once
        of_rows = spec.variant_of_rows(epoch, len(images))
        assert len(set(of_rows)) > 1
        for row, number in enumerate(of_rows):
            expected = cache.read_variant(spec.bank.key, number)[row]
            np.testing.assert_array_equal(images[row], expected)


def test_what_training_is_asked_for(tmp_path, inputs, tiny, training):
    checkpoint, hooks = object(), object()
    assert fit.train_fit(tiny, inputs, Cache(tmp_path), checkpoint, hooks) == "a net"
    assert (training["checkpoint"], training["hooks"]) == (checkpoint, hooks)
    assert training["settings"] == tiny.settings
    assert training["seed"] == tiny.seed_for("fit")
    data = training["data"]
    assert data.rows.tolist() == list(range(20, 40))
    assert data.labels is inputs.train_labels
    assert data.clean is inputs.train_images


# Memory


@pytest.mark.parametrize(("size", "advice"), [(128, 64), (5, 2), (3, 2), (2, 2)])
def test_lack_of_memory_names_the_batch_size(tmp_path, inputs, plan, monkeypatch, size, advice):
    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr("kaggle_digits.training.train.train", fail)
    spec = plan(backend=backend.name(), train={"epochs": 4, "batch_size": size, "threads": 2})[0]
    with pytest.raises(fit.OutOfMemory) as caught:
        fit.train_fit(spec, inputs, Cache(tmp_path))
    assert isinstance(caught.value, UserError)
    assert str(caught.value) == (
        f"a fold 1: not enough memory for train.batch_size={size}; close other programs, or "
        f"repeat with --set train.batch_size={advice} and another --out"
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
        fit.train_fit(tiny, inputs, Cache(tmp_path))
    assert caught.value is error


# One real fit, twice

IN_THIS_PROCESS = """
import pickle, sys
from pathlib import Path
import numpy as np
from kaggle_digits.training import backend, fit, fit_spec
from kaggle_digits.data import folds
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.config.schema import Config

folder = Path(sys.argv[1])
config = Config.model_validate({
    "folds": {"count": 2},
    "augment": {"elastic": {"p": 0}},
    "model": {"stages": [{"width": 4, "pool": "first"}]},
    "train": {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.5, "ema_epochs": 1, "threads": 2},
})
generator = np.random.default_rng(5)
images = generator.integers(0, 256, (200, 28, 28), dtype=np.uint8)
labels = np.arange(200, dtype=np.uint8) % 10
images[np.arange(200), 2 * labels.astype(int)] = 255  # a bright line that tells the class
inputs = fit_spec.Inputs(images, labels, images[:50, ::-1])
cache = Cache(folder / "cache")
spec = fit_spec.plan(config, inputs, folds.stratified(labels, 2, config.seed), backend.name())[1]
(folder / "given.pickle").write_bytes(pickle.dumps((spec, inputs, cache)))
backend.configure(spec.settings.train.threads)
trained = fit.train_fit(spec, inputs, cache)
fit.save_fit(RunFolder(folder / "here"), spec, fit.finish_fit(spec, inputs, trained))
"""

IN_A_FRESH_PROCESS = """
import pickle, sys
from pathlib import Path
from kaggle_digits.training import backend, fit, fit_spec
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder

folder = Path(sys.argv[1])
spec, inputs, cache = pickle.loads((folder / "given.pickle").read_bytes())
backend.configure(spec.settings.train.threads)
trained = fit.train_fit(spec, inputs, cache)
fit.save_fit(RunFolder(folder / "fresh"), spec, fit.finish_fit(spec, inputs, trained))
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
