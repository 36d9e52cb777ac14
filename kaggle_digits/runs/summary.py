"""Finished fits -> the run folder's submission, predictions, metrics and manifest.

Made anew after each fit, so that from the first one on there is a valid submission.
"""

from __future__ import annotations

import numpy as np

from kaggle_digits.config.loading import Config, dump
from kaggle_digits.data import folds, submission_csv
from kaggle_digits.data.digits_csv import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.scoring import ensemble
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training.fit_spec import FitSpec


class Results:
    """Knows what a run has planned and keeps its folder's summary files true.

    Args:
        folder: the run's folder.
        config: the run's config.
        digits: the data.
        specs: all planned fits, each the attempt that it is at.
        skipped: why fits were given up, by the fit's name.
        stop: knows when this invocation began.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        digits: Digits,
        specs: list[FitSpec],
        skipped: dict[str, str],
        stop: TimeBudget,
    ) -> None:
        self._folder, self._config, self._digits = folder, config, digits
        self._specs, self._left_out, self._stop = list(specs), dict(skipped), stop
        first = [np.array(spec.heldout_rows) for spec in specs if spec.member == specs[0].member]
        self._folds = folds.assignment(first, len(digits.train_labels))
        self._seconds_before = folder.read_seconds()
        peak = files.read_json(folder.metrics).get("peak_memory_bytes")
        self._peak_before = peak if isinstance(peak, int) else 0

    def earlier_provisional(self) -> dict:
        """Return the metrics of a provisional submission that an unfinished fit of this run made.

        What another run made is deleted: it would be taken for this one's.
        """
        metrics = files.read_json(self._folder.metrics)
        planned = files.read_json(self._folder.manifest).get("fits")
        identities = [
            plan.get("identity")
            for plan in (planned.values() if isinstance(planned, dict) else ())
            if isinstance(plan, dict)
        ]
        own = {spec.digest() for spec in self._specs}
        changed = self._folder.changed_artefacts()
        is_own = bool(own.intersection(identities))
        if is_own and self._folder.submission.name not in changed:
            # One of finished fits, which are damaged now, stays too until there is a new one.
            sound = not changed and metrics.get("provisional_identity") in own
            return metrics if sound else {}
        for path in (self._folder.submission, self._folder.metrics, self._folder.predictions):
            path.unlink(missing_ok=True)
        return {}

    def begin(self) -> None:
        """Say in the folder whose run it is, before anything expensive is made."""
        files.write_bytes(self._folder.config, dump(self._config).encode())
        split = {
            "folds": self._folds,
            "seed": np.int64(self._config.seed),
            "labels": np.array(files.digest(self._digits.train_labels)),
        }
        self._folder.write_folds(split)
        self._write_manifest(complete=False)

    def note_seconds(self) -> dict[str, float]:
        """Note the seconds of all invocations, so that a kill takes little away; return them."""
        seconds = {
            "wall": self._seconds_before["wall"] + self._stop.seconds(),
            "saving": self._seconds_before["saving"] + files.io_seconds(),
        }
        self._folder.write_seconds(seconds)
        return seconds

    def replace(self, spec: FitSpec) -> None:
        """Plan with another attempt at a fit."""
        own = [(other.member, other.fold) for other in self._specs]
        self._specs[own.index((spec.member, spec.fold))] = spec

    def skip(self, spec: FitSpec, reason: str) -> None:
        """Go on without a fit."""
        self._left_out[spec.name] = reason

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
        if not finished:
            raise UserError(
                f"{folder.folder}: all {len(self._specs)} fits were sick and left out (the first: "
                f"{next(iter(self._left_out.values()))}); start over with a lower "
                "train.learning_rate and --restart"
            )
        complete = len(finished) + len(self._left_out) == len(self._specs)
        if complete:
            sick = {spec.member for spec in self._specs if spec.name in self._left_out}
            whole = [member for member in self._config.members if member not in sick]
            ensemble.check_coverage(finished, len(labels), whole)
        oof, count = ensemble.out_of_fold(finished, len(labels), method)
        test = ensemble.test_probabilities(finished, method)
        # Nets that are still few may be too weak; the submission before stays.
        if complete or self.why_no_submission(test) is None:
            self._write_submission(test)
        arrays = {"oof": oof, "oof_count": count, "test": test.astype(np.float32)}
        files.write_arrays(folder.predictions, arrays | {"labels": labels, "folds": self._folds})
        score = ensemble.accuracy(oof, labels)
        honest = self._untouched_score(oof)
        band = ensemble.expected_leaderboard(finished, honest or score, method)
        metrics = {
            "oof_accuracy": score.accuracy,
            "oof_errors": score.errors,
            "oof_rows": score.rows,
            "oof_interval": list(score.interval),
            "optimistic": self._is_tuned_here(),
            "untouched": _score(honest) if honest else None,
            "expected_leaderboard": list(band),
            "members": self._member_scores(finished),
        }
        return self._write_metrics(metrics, test, complete, len(finished))

    def _is_tuned_here(self) -> bool:
        """Tell whether the settings were chosen on rows that the figures are of."""
        tuned = self._config.tuned
        return bool(tuned) and tuned.train_data == files.digest(self._digits.train_images)

    def _untouched_score(self, oof: np.ndarray) -> ensemble.Score | None:
        """Return the score on the rows that had no part in the choice of the settings, if any."""
        tuned, labels = self._config.tuned, self._digits.train_labels
        if not self._is_tuned_here() or not tuned.untouched:
            return None
        split = folds.stratified(labels, tuned.folds, tuned.seed)
        rows = np.concatenate(split[-tuned.untouched :])
        if np.isnan(oof[rows, 0]).all():
            return None  # no fold that holds them out is finished
        return ensemble.accuracy(oof[rows], labels[rows])

    def why_no_submission(self, test: np.ndarray) -> str | None:
        """Tell why probabilities, (m, 10), make no sane submission; None if they do."""
        try:
            self._checked_content(test)
        except UserError as error:
            return str(error)
        return None

    def update_provisionally(self, spec: FitSpec, test: np.ndarray, epochs: float) -> dict:
        """Make a submission while no fit is finished; the first finished one replaces it.

        Args:
            spec: the unfinished fit.
            test: (m, 10) probabilities of the test rows, from its averaged weights so far.
            epochs: how many it has seen, as a fraction.

        Returns:
            The content of `metrics.json`, without an out-of-fold figure: there is none.

        Raises:
            UserError: the net has learnt too little, its answer is no sane submission.
        """
        self._write_submission(test)
        source = {
            "provisional_fit": spec.name,
            "provisional_identity": spec.digest(),
            "provisional_epochs": epochs,
        }
        return self._write_metrics(source, test, False, 0)

    def _write_submission(self, test: np.ndarray) -> None:
        files.write_bytes(self._folder.submission, self._checked_content(test))
        submission_csv.check_file(self._folder.submission, len(test))

    def _checked_content(self, test: np.ndarray) -> bytes:
        content = submission_csv.to_csv(test.argmax(axis=1).astype(np.uint8))
        submission_csv.check_bytes(content, rows=len(test), name=self._folder.submission.name)
        return content

    def _write_metrics(
        self, metrics: dict, test: np.ndarray, complete: bool, finished: int
    ) -> dict:
        metrics |= {
            "complete": complete,
            "provisional": finished == 0,
            "fits_finished": finished,
            "fits_planned": len(self._specs),
            "skipped": self._left_out,
            "demo_data": self._digits.demo,
            "test_rows_also_in_train": self._digits.duplicates,
        }
        if self._digits.test_labels is not None:
            metrics["test"] = _score(ensemble.accuracy(test, self._digits.test_labels))
        metrics |= self._costs()
        files.write_json(self._folder.metrics, metrics)
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
        spent = self.note_seconds()
        return {
            "images_per_second": images / seconds if seconds else None,
            "wall_seconds": spent["wall"],
            "saving_seconds": spent["saving"],
            "saving_share": spent["saving"] / spent["wall"],
            "peak_memory_bytes": max(self._peak_before, environment.peak_memory_bytes()),
        }

    def _write_manifest(self, complete: bool) -> None:
        manifest = {
            "complete": complete,
            "hashes": "BLAKE2b: data as b2sum prints it, artefacts as b2sum --length=128 does",
            "data": self._digits.hashes,
            "data_source": self._digits.source,
            "demo_data": self._digits.demo,
            "test_rows": len(self._digits.test_images),
            "backend": self._specs[0].backend,
            "folds": files.digest(self._folds),
            "seed": self._config.seed,
            "fits": {
                self._folder.fit_folder(spec.member, spec.fold).name: {
                    # Of a kept fit that other versions made, its own.
                    "identity": (facts or {}).get("digest", spec.digest()),
                    "seed": spec.seed_for("fit"),
                    "finished": facts is not None,
                    "skipped": self._left_out.get(spec.name),
                }
                for spec in self._specs
                for facts in [self._folder.read_fit(spec.member, spec.fold)]
            },
            "artefacts": self._folder.checksums(),
            "packages": environment.package_versions(),
            "hardware": environment.hardware(),
        }
        files.write_json(self._folder.manifest, manifest)


def _score(score: ensemble.Score) -> dict:
    return vars(score) | {"interval": list(score.interval)}
