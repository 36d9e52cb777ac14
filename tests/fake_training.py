"""Fits that take their time by a clock of the test: nothing is trained, all else is real."""

import math
from types import SimpleNamespace

import numpy as np

from kaggle_digits.config.schema import Config
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import time_budget
from kaggle_digits.system.time_budget import Signals, TimeBudget
from kaggle_digits.training import engine, fit, fit_spec, resume, time_left

ROWS, TEST_ROWS, STEPS, EPOCHS = 100, 20, 5, 4  # of each fit: 50 rows in 5 steps
LABELS = np.tile(np.arange(10, dtype=np.uint8), 10)
TEST_LABELS = np.tile(np.uint8([3, 1, 4, 0, 5, 9, 2, 6, 8, 7]), 2)
SPLIT = [np.arange(0, 50), np.arange(50, 100)]
CONFIG = Config(
    seed=11,
    folds={"count": 2},
    train={"epochs": EPOCHS, "batch_size": 10, "learning_rate": 0.008, "threads": 2},
    members={"a": {}},
)
RESERVE = 4.0  # seconds that are kept free for the end
FIRST, SECOND = ("a fold 1", 1), ("a fold 2", 1)


def sure(labels):
    """Probabilities: 0.91 for the given classes, 0.01 for each other."""
    return np.where(np.eye(10)[labels] == 1, 0.91, 0.01).astype(np.float32)


class FakeNet:
    def save(self, path):
        path.write_bytes(b"a net")


class FakeTraining:
    """Real folders, specifications and checkpoints; a second a step, and two before them.

    The contract is that of `train.train`: the hooks hear of each step and epoch, an epoch is kept
    before anybody can stop, and a loss that is not finite ends training.

    Args:
        path: an empty folder.
        limit: the time limit, seconds.
        config: with members of `EPOCHS` epochs.
        missing: variants that are not in the bank yet.
        test_rows: rows to predict; 0 as in a search.
    """

    def __init__(self, path, limit=None, config=CONFIG, missing=(), test_rows=TEST_ROWS):
        images = np.random.default_rng(1).integers(0, 256, (ROWS + TEST_ROWS, 28, 28), np.uint8)
        self.now = 0.0
        self.signals = Signals()
        self.budget = TimeBudget(limit, self.signals, start=0.0)
        self.inputs = fit_spec.Inputs(images[:ROWS], LABELS, images[ROWS : ROWS + test_rows])
        self.folder = RunFolder(path / "run")
        self.cache = Cache(path / "cache")
        self.specs = fit_spec.plan(config, self.inputs, SPLIT, "tensorflow")
        for number in set(range(EPOCHS)) - set(missing):
            self.cache.write_variant(self.specs[0].bank.key, number, images[:2])
        # What a test may change.
        self.start_seconds, self.step_seconds, self.finish_seconds = 2.0, 1.0, 0.0
        self.losses = {}  # by fold and attempt
        self.last_epochs = {}  # by fold, where early stopping ends it
        self.heldout, self.test = {}, {}  # by fold and attempt
        self.provisional = sure(TEST_LABELS)
        self.at_step = {}  # steps done in this process -> what happens then
        # What happened.
        self.steps = 0
        self.begun, self.predicted, self.resumed, self.callbacks = [], [], [], []

    def install(self, monkeypatch):
        """Put clock and training in the place of the real ones."""
        clock = SimpleNamespace(monotonic=lambda: self.now)
        for module in (engine, time_budget, time_left):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(engine, "FORWARD_SPEEDUP", 2.0)
        monkeypatch.setattr(time_budget, "GRACE_SECONDS", 20.0)
        monkeypatch.setattr(time_budget, "EXIT_SECONDS", RESERVE)
        monkeypatch.setattr(time_budget, "EXIT_FRACTION", 0.0)
        monkeypatch.setattr(engine.backend, "configure", lambda threads: None)
        monkeypatch.setattr(fit, "train_fit", self.train_fit)
        monkeypatch.setattr(fit, "finish_fit", self.finish_fit)
        monkeypatch.setattr("kaggle_digits.training.train.predict", self.predict)

    def sleep(self, seconds):
        """Let the machine sleep."""
        self.now += seconds

    def train_fit(self, spec, inputs, cache, checkpoint, hooks):
        assert (inputs.key, cache.folder) == (spec.inputs_key, self.cache.folder)
        self.begun.append((spec.name, spec.attempt))
        self.resumed.append(checkpoint.epochs if checkpoint else 0)
        self.callbacks.append(hooks.callbacks)
        began = self.now
        self.now += self.start_seconds
        history = list(checkpoint.history) if checkpoint else []
        loss = self.losses.get((spec.fold, spec.attempt), 0.5)
        last = self.last_epochs.get(spec.fold, EPOCHS)
        for epoch in range(len(history), last):
            for step in range(1, STEPS + 1):
                self.now += self.step_seconds
                self.steps += 1
                self.at_step.get(self.steps, lambda: None)()
                done = epoch + step / STEPS
                hooks.on_progress(done, None)
                if step < STEPS and hooks.must_stop(done):
                    return self.trained(history)
            entry = {"epoch": epoch + 1, "loss": loss, "accuracy": 0.9, "images_per_second": 10.0}
            if spec.settings.train.picks_on_heldout:
                entry |= {"val_loss": 0.5 - 0.125 * min(epoch, 1), "val_accuracy": 0.9}
            entry["seconds"] = self.now - began
            began = self.now
            history.append(entry)
            if not math.isfinite(loss):
                return self.trained(history)
            hooks.on_checkpoint(checkpoint_after(epoch + 1, history))
            hooks.on_progress(epoch + 1.0, entry)
            if hooks.must_stop(epoch + 1.0):
                break
        return self.trained(history, last)

    def trained(self, history, last=EPOCHS):
        return SimpleNamespace(
            model="a net",
            history=history,
            steps=STEPS * len(history),
            complete=len(history) == last and math.isfinite(history[-1]["loss"]),
            kept=history[-1] if history else None,
            kept_epoch=None,
            seconds=20.0,
            images=200,
        )

    def finish_fit(self, spec, inputs, trained):
        self.now += self.finish_seconds
        at = spec.fold, spec.attempt
        return fit.FitResult(
            model=FakeNet(),
            heldout=self.heldout.get(at, sure(LABELS[spec.heldout])),
            test=self.test.get(at, sure(TEST_LABELS)),
            training=trained,
            predict_seconds=self.finish_seconds,
        )

    def predict(self, model, images):
        assert (model, images.shape) == ("a net", (TEST_ROWS, 28, 28))
        self.predicted.append(self.now)
        return self.provisional

    def saved(self):
        """Return the epochs that unfinished fits have saved, in the order of the fits."""
        facts = [
            resume.read_checkpoint_facts(self.folder, spec.member, spec.fold) for spec in self.specs
        ]
        return [found and found["epochs"] for found in facts]

    def finished(self):
        """Return the names of the finished fits, as the folder has them."""
        return [f"{member} fold {fold + 1}" for member, fold in self.folder.finished_fits()]


def checkpoint_after(epochs, history):
    return SimpleNamespace(
        epochs=epochs,
        arrays=[np.zeros(3)],
        history=list(history),
        best=[],
        losses=np.zeros(0, np.float32),
    )


def epochs_before(epochs, seconds=5.0):
    """Return a history of some epochs in an earlier process."""
    entry = {"loss": 0.7, "accuracy": 0.8, "images_per_second": 10.0, "seconds": seconds}
    return [{"epoch": epoch} | entry for epoch in range(1, epochs + 1)]
