"""Finished runs whose fits are written by hand, on tiny files; no net is trained."""

from types import SimpleNamespace

import numpy as np

from kaggle_digits.config import loading
from kaggle_digits.data.digits import read_digits
from kaggle_digits.data.sources import find_source
from kaggle_digits.runs import figures, summary
from kaggle_digits.runs.costs import Clock
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.training import fit_spec, resume
from kaggle_digits.training.resume import FitStatus, RunState

ROWS, TEST_ROWS, FOLDS = 40, 10, 2
LABELS = np.tile(np.arange(10, dtype=np.uint8), ROWS // 10)
TEST_LABELS = np.arange(10, dtype=np.uint8)
HEADER = ",".join(["label", *(f"pixel{index}" for index in range(784))])


def write_data(folder, labels=LABELS, ink=255):
    """Write train.csv and test.csv; each image has one pixel of its own."""
    folder.mkdir(parents=True)
    pixels = np.diag(np.full(784, ink))[: len(labels) + TEST_ROWS]
    lines = [",".join(map(str, row)) for row in pixels]
    train = [f"{label},{line}" for label, line in zip(labels, lines, strict=False)]
    test = [HEADER.removeprefix("label,"), *lines[len(labels) :]]
    (folder / "train.csv").write_text("\n".join([HEADER, *train]) + "\n")
    (folder / "test.csv").write_text("\n".join(test) + "\n")
    return folder


def sure(labels, top=0.91):
    """Probabilities: `top` for the given classes, the rest for the others alike."""
    return np.where(np.eye(10)[labels] == 1, top, (1 - top) / 9).astype(np.float32)


def wrong_at(*rows, top=0.91, labels=LABELS):
    """Out-of-fold probabilities that are sure of the label, and of the next class at some rows."""
    predicted = labels.copy()
    predicted[list(rows)] = (labels[list(rows)] + 1) % 10
    return sure(predicted, top)


def write_run(folder, data, members, *, settings=(), unfinished=(), skipped=(), seconds=20.0):
    """Write a run's folder as the pipeline leaves it.

    Args:
        folder: is made.
        data: folder of `write_data`.
        members: name -> (n, 10) out-of-fold probabilities; its nets are right on the test rows.
        settings: further values of --set.
        unfinished: (member, fold) of fits that are not there.
        skipped: (member, fold) of fits that diverged.
        seconds: wall time of the run.

    Returns:
        The folder.
    """
    sections = {"cnn": None} | {name: {} for name in members}
    overrides = [
        f"members={loading.in_line(sections)}",
        f"folds.count={FOLDS}",
        "train.threads=2",
        *settings,
    ]
    config = loading.without_tuning(loading.load("quick", overrides))
    digits = read_digits(find_source(data))
    inputs = fit_spec.Inputs(digits.train_images, digits.train_labels, digits.test_images)
    run = RunFolder(folder)
    split, _ = resume.read_or_make_split(run, inputs.train_labels, config.folds, config.seed)
    specs = fit_spec.plan(config, inputs, split, "tensorflow")
    plan = figures.RunPlan(config, digits, inputs, split, specs, config_name="quick")
    state = RunState(tuple(map(FitStatus, specs)))
    with run.locked():
        summary.begin(run, plan, state)
        for spec in specs:
            if (spec.member, spec.fold) in skipped:
                state = state.with_fit(FitStatus(spec, skipped="loss is nan"))
            elif (spec.member, spec.fold) not in unfinished:
                _write_fit(run, spec, members[spec.member][spec.heldout])
                state = state.with_fit(FitStatus(spec, finished=True))
        clock = Clock(run, SimpleNamespace(seconds=lambda: seconds))
        summary.update(run, plan, state, clock)
        run.note_reported(state.is_complete)
    return folder


def _write_fit(run, spec, heldout):
    arrays = {"heldout": heldout, "test": sure(TEST_LABELS)}
    run.write_fit(
        spec.member,
        spec.fold,
        {
            "model.keras": lambda path: path.write_bytes(spec.name.encode()),
            "predictions.npz": lambda path: files.write_arrays(path, arrays),
        },
        {
            "identity": spec.identity,
            "digest": spec.digest,
            "train_images": 100,
            "seconds": {"train": 2.0, "predict": 1.0},
        },
    )


def write_pair(home):
    """Write data and two runs on the same folds, quick-1 of one member and pair of two."""
    write_data(home / "data")
    write_run(home / "quick-1", home / "data", {"cnn": wrong_at(0, 1)})
    pair = {"cnn": wrong_at(1, 2, top=0.8), "big": wrong_at(1, 3, top=0.7)}
    write_run(home / "pair", home / "data", pair, settings=["model.dropout=0.5"], seconds=30.0)
    return home
