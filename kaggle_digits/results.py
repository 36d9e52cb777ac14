"""Finished fits -> the run folder's submission, predictions, metrics and manifest.

Made anew after each fit, so that from the first one on there is a valid submission.
"""

from __future__ import annotations

import time

import numpy as np

from kaggle_digits import disk, ensemble, folds, machine, store, submission
from kaggle_digits.config import Config, dump
from kaggle_digits.data import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.fits import FitSpec


class Results:
    """Knows what a run has planned and keeps its folder's summary files true.

    Args:
        folder: the run's folder.
        config: the run's config.
        digits: the data.
        specs: all planned fits.
        start: `time.monotonic()` at the start of this invocation.
    """

    def __init__(
        self,
        folder: store.RunFolder,
        config: Config,
        digits: Digits,
        specs: list[FitSpec],
        start: float,
    ) -> None:
        self._folder, self._config, self._digits = folder, config, digits
        self._specs, self._start = specs, start
        first = [np.array(spec.heldout_rows) for spec in specs if spec.member == specs[0].member]
        self._folds = folds.assignment(first, len(digits.train_labels))
        self._seconds_before = folder.read_seconds()
        self._peak_before = disk.read_json(folder.metrics).get("peak_memory_bytes", 0)

    def begin(self) -> None:
        """Say in the folder whose run it is, before anything expensive is made."""
        disk.write_bytes(self._folder.config, dump(self._config).encode())
        split = {
            "folds": self._folds,
            "seed": np.int64(self._config.seed),
            "labels": np.array(disk.digest(self._digits.train_labels)),
        }
        self._folder.write_folds(split)
        self._write_manifest(complete=False)

    def note_seconds(self) -> None:
        """Note the wall time of all invocations, so that a kill takes little of it away."""
        self._folder.write_seconds(self._seconds_before + time.monotonic() - self._start)

    def update(self) -> dict:
        """Make the submission, the predictions and the figures from the finished fits.

        Returns:
            The content of `metrics.json`.

        Raises:
            UserError: a fit's files are damaged, or the disk is full.
        """
        folder, labels = self._folder, self._digits.train_labels
        method = self._config.ensemble.method
        finished = self._finished()
        complete = len(finished) == len(self._specs)
        if complete:
            ensemble.check_coverage(finished, len(labels), self._config.members)
        oof, count = ensemble.out_of_fold(finished, len(labels), method)
        test = ensemble.test_probabilities(finished, method)
        answer = test.argmax(axis=1).astype(np.uint8)
        content = submission.to_csv(answer)
        try:
            submission.check_bytes(content, rows=len(answer), name=folder.submission.name)
        except UserError:
            # Nets that are still few may be too weak; the submission before stays.
            if complete:
                raise
        else:
            disk.write_bytes(folder.submission, content)
            submission.check_file(folder.submission, len(answer))
        arrays = {"oof": oof, "oof_count": count, "test": test.astype(np.float32)}
        disk.write_arrays(folder.predictions, arrays | {"labels": labels, "folds": self._folds})
        score = ensemble.accuracy(oof, labels)
        band = ensemble.expected_leaderboard(finished, score, method)
        metrics = {
            "oof_accuracy": score.accuracy,
            "oof_errors": score.errors,
            "oof_rows": score.rows,
            "oof_interval": list(score.interval),
            "expected_leaderboard": list(band),
            "complete": complete,
            "fits_finished": len(finished),
            "fits_planned": len(self._specs),
            "members": self._member_scores(finished),
            "practice_data": self._digits.practice,
            "test_rows_also_in_train": self._digits.duplicates,
        }
        if self._digits.test_labels is not None:
            metrics["test"] = _score(ensemble.accuracy(test, self._digits.test_labels))
        metrics |= self._costs()
        disk.write_json(folder.metrics, metrics)
        self._write_manifest(complete)
        return metrics

    def _finished(self) -> list[ensemble.FitPredictions]:
        finished = []
        for spec in self._specs:
            if self._folder.read_fit(spec.member, spec.fold) is not None:
                arrays = self._folder.read_fit_arrays(spec.member, spec.fold)
                rows = np.array(spec.heldout_rows)
                finished.append(
                    ensemble.FitPredictions(
                        spec.member, spec.fold, rows, arrays["heldout"], arrays["test"]
                    )
                )
        return finished

    def _member_scores(self, finished: list[ensemble.FitPredictions]) -> dict[str, dict]:
        """Return each member's score, and under `fits` that of each of its fits."""
        labels, method = self._digits.train_labels, self._config.ensemble.method
        scores = {}
        for member in self._config.members:
            own = [fit for fit in finished if fit.member == member]
            if own:
                oof, _ = ensemble.out_of_fold(own, len(labels), method)
                scores[member] = _score(ensemble.accuracy(oof, labels)) | {
                    "fits": {
                        f"fold{fit.fold + 1}": _score(
                            ensemble.accuracy(fit.heldout, labels[fit.heldout_rows])
                        )
                        for fit in own
                    }
                }
        return scores

    def _costs(self) -> dict[str, float]:
        facts = [self._folder.read_fit(spec.member, spec.fold) for spec in self._specs]
        images = sum(fact["train_images"] for fact in facts if fact)
        seconds = sum(fact["seconds"]["train"] for fact in facts if fact)
        self.note_seconds()
        return {
            "images_per_second": images / seconds,
            "wall_seconds": self._folder.read_seconds(),
            "peak_memory_bytes": max(self._peak_before, machine.peak_memory_bytes()),
        }

    def _write_manifest(self, complete: bool) -> None:
        manifest = {
            "complete": complete,
            "hashes": "BLAKE2b: data as b2sum prints it, artefacts as b2sum --length=128 does",
            "data": self._digits.hashes,
            "data_source": self._digits.source,
            "practice_data": self._digits.practice,
            "test_rows": len(self._digits.test_images),
            "backend": self._specs[0].backend,
            "folds": disk.digest(self._folds),
            "seed": self._config.seed,
            "fits": {
                self._folder.fit_folder(spec.member, spec.fold).name: {
                    "identity": spec.digest(),
                    "seed": spec.seed_for("fit"),
                    "finished": self._folder.read_fit(spec.member, spec.fold) is not None,
                }
                for spec in self._specs
            },
            "artefacts": self._folder.checksums(),
            "packages": machine.package_versions(),
            "hardware": machine.hardware(),
        }
        disk.write_json(self._folder.manifest, manifest)


def _score(score: ensemble.Score) -> dict:
    return vars(score) | {"interval": list(score.interval)}
