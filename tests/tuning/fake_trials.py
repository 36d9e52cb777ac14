"""Training in no time: nets whose predictions, losses and seconds a test chooses."""

import math
from types import SimpleNamespace

import numpy as np

from kaggle_digits.augmentation import bank
from kaggle_digits.storage.cache import Cache
from kaggle_digits.system import time_budget
from kaggle_digits.training import engine, fit, time_left

RATE = "train.learning_rate"
SETTINGS = {
    "seed": 5,
    "folds": {"count": 4},
    "augment": {"variants": 2, "elastic": {"p": 0}},
    # 3 * 3 * 4 weights and 4 * 4 of batch norm, then 7 * 7 * 4 * 10 + 10 in the head; the
    # convolution has 14 * 14 places.
    "model": {"stages": [{"width": 4, "stride": 2, "pool": "first"}]},
    "train": {
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 0.02,
        "warmup_epochs": 0.5,
        "threads": 2,
    },
}
PARAMETERS = 36 + 16 + 1970
FLOPS = 2 * (14 * 14 * 36 + 1960)
RIGHT, LESS_SURE, WRONG = 0.9, 0.6, 0.1  # probabilities of the true class


class FakeNet:
    def save(self, path):
        path.write_bytes(b"a net")


class FakeTraining:
    """In the place of training: each epoch takes its seconds, each fit has its predictions.

    The contract is that of `train.train`: a checkpoint is kept before anyone hears of an epoch or
    stops it. An epoch has two steps. The clock goes on by the epochs' seconds alone.
    """

    def __init__(self):
        self.true = {}  # (rate, fold) -> probabilities of the true class, (50,); else RIGHT
        self.losses = {}  # (fold, attempt) -> loss
        self.seconds = [1.0, 1.0]  # by epoch
        self.begun = []  # (fit, epochs that it resumes from)
        self.callbacks = []  # of each fit begun
        self.now = 0.0
        self.at_epoch = lambda spec, epoch: None

    def install(self, monkeypatch):
        monkeypatch.setattr(fit, "train_fit", self.train_fit)
        monkeypatch.setattr(fit, "finish_fit", self.finish_fit)
        monkeypatch.setattr(bank, "fill", lambda *args, **options: 0)
        monkeypatch.setattr(Cache, "has_variant", lambda *args: True)
        clock = SimpleNamespace(monotonic=lambda: self.now)
        for module in (time_budget, engine, time_left):
            monkeypatch.setattr(module, "time", clock)

    def true_of(self, spec):
        found = self.true.get((spec.settings.train.learning_rate, spec.fold))
        return [RIGHT] * len(spec.heldout_rows) if found is None else found

    def train_fit(self, spec, inputs, cache, checkpoint, hooks):
        from kaggle_digits.training.callbacks import Checkpoint
        from kaggle_digits.training.train import TrainingResult

        history = list(checkpoint.history) if checkpoint else []
        self.begun.append((spec.name, len(history)))
        self.callbacks.append([make() for make in hooks.callbacks])
        epochs, loss = spec.settings.train.epochs, self.losses.get((spec.fold, spec.attempt), 0.5)
        for epoch in range(len(history), epochs):
            self.now += self.seconds[epoch] / 2
            hooks.on_progress(epoch + 0.5, None)
            self.at_epoch(spec, epoch + 0.5)
            if hooks.must_stop(epoch + 0.5):
                break
            self.now += self.seconds[epoch] / 2
            hooks.on_progress(epoch + 1.0, None)
            entry = {"epoch": epoch + 1, "loss": loss, "accuracy": 0.9}
            history.append(entry | {"seconds": self.seconds[epoch]})
            if not math.isfinite(loss):
                break
            hooks.on_checkpoint(Checkpoint(epoch + 1, [np.zeros(3)], list(history)))
            hooks.on_progress(epoch + 1.0, history[-1])
            self.at_epoch(spec, epoch + 1.0)
            if hooks.must_stop(epoch + 1.0):
                break
        return TrainingResult(
            make_model=FakeNet,
            history=history,
            seconds=sum(entry["seconds"] for entry in history),
            images=300,
            steps=5 * len(history),
            complete=len(history) == epochs and math.isfinite(loss),
        )

    def finish_fit(self, spec, inputs, trained):
        place = np.arange(len(spec.heldout_rows))
        labels = inputs.train_labels[spec.heldout]
        true = np.array(self.true_of(spec), np.float32)
        heldout = np.zeros((len(place), 10), np.float32)
        heldout[place, labels] = true
        heldout[place, (labels + 1) % 10] = 1 - true
        return fit.FitResult(
            model=trained.model,
            heldout=heldout,
            test=np.zeros((0, 10), np.float32),
            training=trained,
            predict_seconds=0.25,
        )
