"""A run folder whose fits are written by hand, for the tests of this room."""

import json
from types import SimpleNamespace

import numpy as np

from kaggle_digits.config.schema import Config
from kaggle_digits.data import folds
from kaggle_digits.data.digits import Digits
from kaggle_digits.runs import figures, summary
from kaggle_digits.runs.costs import Clock
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.training import fit_spec
from kaggle_digits.training.resume import FitStatus, RunState

LABELS = np.tile(np.arange(10, dtype=np.uint8), 2)
SPLIT = [np.arange(0, 20, 2), np.arange(1, 20, 2)]  # even rows, odd rows
TEST_LABELS = np.uint8([3, 1, 4, 1, 5])
CONFIG = Config(seed=11, folds={"count": 2}, members={"a": {}, "b": {}}, train={"threads": 2})
IMAGES = np.random.default_rng(1).integers(0, 256, (25, 28, 28), np.uint8)
HISTORY = "epoch,loss,accuracy\n1,0.5,0.75\n2,0.25,0.875\n"
AFTER_50_SECONDS = SimpleNamespace(seconds=lambda: 50.0)


def sure(labels, top=0.91):
    """Probabilities: `top` for the given classes, the rest for the others alike."""
    return np.where(np.eye(10)[labels] == 1, top, (1 - top) / 9).astype(np.float32)


class Run:
    """A run folder whose fits are written by hand; no net is trained."""

    def __init__(
        self,
        path,
        config=CONFIG,
        test_labels=None,
        demo=False,
        split=SPLIT,
        labels=LABELS,
        images=IMAGES,
        callbacks=(),
        not_for_upload=None,
    ):
        self.split, self.labels = split, labels
        train_images = images[: len(labels)]
        digits = Digits(
            train_images=train_images,
            train_labels=labels,
            test_images=images[20:],
            test_labels=test_labels,
            hashes={"train.csv": "aa", "test.csv": "bb"},
            source="somewhere",
            demo=demo,
            leaked_rows=2,
            not_for_upload=not_for_upload,
        )
        inputs = fit_spec.Inputs(train_images, labels, images[20:])
        self.folder = RunFolder(path)
        self.specs = fit_spec.plan(config, inputs, split, "tensorflow")
        self.plan = figures.RunPlan(config, digits, inputs, split, self.specs, callbacks)
        self.state = RunState(tuple(map(FitStatus, self.specs)))
        self.clock = Clock(self.folder, AFTER_50_SECONDS)

    def begin(self):
        summary.begin(self.folder, self.plan, self.state)

    def finish(self, member, fold, heldout=None, test=TEST_LABELS, seconds=2.0, images=300, **more):
        """Write a fit; it is right everywhere unless the test says otherwise.

        `more` are further facts for its `fit.json`.
        """
        (spec,) = (s for s in self.specs if (s.member, s.fold) == (member, fold))
        heldout = sure(self.labels[self.split[fold]]) if heldout is None else heldout
        test = sure(test) if np.ndim(test) == 1 else test
        self.folder.write_fit(
            member,
            fold,
            {
                "predictions.npz": lambda path: files.write_arrays(
                    path, {"heldout": heldout, "test": test}
                ),
                "history.csv": lambda path: path.write_text(HISTORY),
            },
            {
                "identity": spec.identity,
                "digest": spec.digest,
                "train_images": images,
                "seconds": {"train": seconds, "predict": 9.0},
                **more,
            },
        )
        self.state = self.state.with_fit(FitStatus(spec, finished=True))

    def finish_all(self):
        for member in ("a", "b"):
            for fold in (0, 1):
                self.finish(member, fold)

    def skip(self, spec, reason):
        self.state = self.state.with_fit(FitStatus(spec, skipped=reason))

    def update(self):
        return summary.update(self.folder, self.plan, self.state, self.clock)

    def update_provisionally(self, spec, test, epochs):
        """Write the submission of an unfinished fit as the pipeline does."""
        found = figures.summarise_provisionally(self.plan, self.state, spec, test, epochs)
        summary.write_submission(self.folder, self.plan, test)
        return summary.write_metrics(self.folder, self.plan, self.state, self.clock, found)

    def earlier_provisional(self):
        return summary.earlier_provisional(self.folder, self.state)

    def manifest(self):
        return json.loads(self.folder.manifest.read_text())


def provenance(holdout_folds=1, seed=5, **changes):
    """Facts of a search on the rows of `Run`."""
    split = folds.stratified(LABELS, 2, seed)
    held_out = sorted(row for rows in split[2 - holdout_folds :] for row in rows)
    values = {
        "train_data": files.digest(IMAGES[:20], LABELS),
        "holdout_digest": files.digest(IMAGES[held_out], LABELS[held_out]),
        "searched_digest": "of the other rows",
        "seed": seed,
        "folds": 2,
        "holdout_folds": holdout_folds,
        "trials": 9,
    }
    return values | changes
