"""A report of a run made by hand: four nets, twenty training rows, five test rows."""

import numpy as np

from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.results.run_report import FitReport, Layer, NetSummary, RunReport
from kaggle_digits.scoring import ensemble
from kaggle_digits.scoring.ensemble import FitPredictions
from kaggle_digits.system.console import Fact

LABELS = np.tile(np.arange(10, dtype=np.uint8), 2)
FOLDS = np.arange(20) % 2  # even rows, odd rows
NET = NetSummary((Layer("logits", "Dense", (10,), 7850),), 7850, 15_680)
TEST = np.uint8([3, 1, 4, 1, 5])


def sure(labels, top=0.91):
    """Probabilities: `top` for the given classes, the rest for the others alike."""
    return np.where(np.eye(10)[labels] == 1, top, (1 - top) / 9).astype(np.float32)


def predictions(member, fold, wrong, test):
    """Predict all held-out rows rightly, but for those in `wrong`: row -> (class, probability)."""
    rows = np.flatnonzero(np.equal(FOLDS, fold))
    heldout = sure(LABELS[rows])
    for row, (label, top) in wrong.items():
        heldout[rows == row] = sure([label], top)
    return FitPredictions(member, fold, rows, heldout, sure(np.uint8(test)))


def fit(member, fold, **history):
    curves = {"epoch": (1, 2), "loss": (0.5, 0.25), "accuracy": (0.75, 0.875)}
    curves |= {"learning_rate": (0.01, 0.001)} | history
    return FitReport(member, fold, curves, 2.0, 0.5, 300, NET)


# Row 4, a 4, is taken for a 9 by both members, surely; row 7 by one, but not by the average. The
# nets give test row 1 their own ideas.
PREDICTIONS = (
    predictions("a", 0, {4: (9, 0.97)}, TEST),
    predictions("a", 1, {}, [3, 7, 4, 1, 5]),
    predictions("b", 0, {4: (9, 0.95)}, [3, 7, 4, 1, 5]),
    predictions("b", 1, {7: (1, 0.5)}, TEST),
)
OOF, _ = ensemble.out_of_fold(PREDICTIONS, 20, "arithmetic")
TEST_PROBABILITIES = ensemble.test_probabilities(PREDICTIONS, "arithmetic")


def _scores(member):
    own = [each for each in PREDICTIONS if each.member == member]
    whole = ensemble.accuracy(ensemble.out_of_fold(own, 20, "arithmetic")[0], LABELS)
    by_fold = {
        f"fold{each.fold + 1}": ensemble.accuracy(each.heldout, LABELS[each.heldout_rows])
        for each in own
    }
    return MemberScore(**vars(whole), fits=by_fold)


METRICS = RunMetrics(
    complete=True,
    provisional=False,
    fits_finished=4,
    fits_planned=4,
    oof_accuracy=0.95,
    oof_errors=1,
    oof_rows=20,
    oof_interval=(0.76387, 0.99112),
    expected_leaderboard=(0.9, 0.98),
    members={member: _scores(member) for member in "ab"},
    test_rows=28_000,
    images_per_second=150.0,
    wall_seconds=20.0,
    saving_seconds=1.0,
    drawing_seconds=3.0,
    reporting_seconds=2.0,
    peak_memory_bytes=3 * 2**29,
)
IMAGES = np.random.default_rng(1).integers(0, 256, (25, 28, 28), np.uint8)
REPORT = RunReport(
    name="quick-1",
    metrics=METRICS,
    method="arithmetic",
    fits=tuple(fit(member, fold) for member in "ab" for fold in (0, 1)),
    predictions=PREDICTIONS,
    labels=LABELS,
    folds=FOLDS,
    oof=OOF,
    test=TEST_PROBABILITIES,
    submitted=TEST,
    train_images=IMAGES[:20],
    test_images=IMAGES[20:],
    augmentation=b"a picture",
    config="seed: 7\n",
    changes={"train.epochs": ("2", "7"), "members.cnn": ("", "{}")},
    facts={"seed": "7", "processor": "Some CPU, 2 cores"},
    next_step=Fact("upload it", "kaggle-digits submit submissions/quick-1", "command"),
)
# Begun, and only a provisional submission is there.
PROVISIONAL = RunReport(
    name="quick-1",
    metrics=RunMetrics(
        complete=False,
        provisional=True,
        fits_finished=0,
        fits_planned=4,
        provisional_fit="a fold 1",
        provisional_epochs=1.5,
        test_rows=28_000,
        wall_seconds=3.0,
    ),
    method="arithmetic",
    fits=(),
    predictions=(),
    labels=np.zeros(0, np.uint8),
    folds=np.zeros(0, np.int16),
    oof=np.zeros((0, 10), np.float32),
    test=np.zeros((0, 10), np.float32),
    submitted=TEST,
)
