"""The run folder: the only module, with `fit_files`, that knows the names of a run's files.

What other modules compute comes here as bytes or arrays.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import BadZipFile

from kaggle_digits.errors import UserError
from kaggle_digits.storage import evaluation_folder, files
from kaggle_digits.storage.evaluation_folder import EvaluationFolder
from kaggle_digits.storage.fit_files import FAILURES, FitFiles

# Of a run folder and of each artefact in it; raised when files that are read later change.
FORMAT = 1
SUBMISSIONS = Path("submissions")  # where runs and searches make their folders
KERNELS = SUBMISSIONS / "kernels"  # where kernels are built


class RunFolder(FitFiles):
    """Everything that a run leaves behind.

    Args:
        folder: is created by the first write.
    """

    kind, format = "run", FORMAT
    earlier_keys = frozenset(("hashes", "fits", "artefacts"))

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, record=folder / "manifest.json")
        self.submission = folder / "submission.csv"
        self.metrics = folder / "metrics.json"
        self.config = folder / "config.yaml"
        self.manifest = self.record
        self.predictions = folder / "predictions.npz"
        self.folds = folder / "folds.npz"
        self.augmentation = folder / "augmentation.png"
        self.log = folder / "run.log"
        self.submitted = folder / "submitted.json"  # what of it was uploaded to Kaggle
        self.report = folder / "report.html"
        self.pictures = folder / "report"  # of the report
        self.fits = folder / "fits"

    def places(self) -> list[Path]:
        """List the folders that its owner writes to."""
        return [self.folder, self.fits, self.pictures]

    def is_new(self) -> bool:
        """Return whether no run has done more in it than to create the folder."""
        marks = (self.manifest, self.config, self.fits)
        return self.folder.is_dir() and self.may_be_used() and not any(m.exists() for m in marks)

    def data_source(self) -> Path | None:
        """Return where the run's data was, as `sources.find_source` takes it; None: not known."""
        source = files.read_json(self.manifest).get("data_source")
        return Path(source).expanduser() if isinstance(source, str) else None

    def package_versions(self) -> dict[str, str]:
        """Return the versions of the packages that made the run."""
        return _dict(files.read_json(self.manifest).get("packages"))

    def made_by(self) -> tuple[str, str]:
        """Return the name of the run's config and the git revision of the code that made the run.

        The code is that which worked on it last. Either is "" where it was not noted.
        """
        manifest = files.read_json(self.manifest)
        noted = (manifest.get("config_name"), manifest.get("git_revision"))
        name, revision = (value if isinstance(value, str) else "" for value in noted)
        return name, revision

    def joined_from(self) -> list[str]:
        """Return the names of the runs that it was joined from; [] where it trains itself."""
        sources = _dict(files.read_json(self.manifest).get("joined")).get("sources")
        return [str(_dict(source).get("name")) for source in sources or ()]

    def has_config(self) -> bool:
        """Return whether a run has begun in it, whose config can be read."""
        return self.config.is_file()

    def check_begun(self) -> None:
        """Refuse a folder in which no run of this version has begun.

        Raises:
            UserError: says what was found.
        """
        if not self.has_config():
            found = "no config.yaml in it" if self.folder.is_dir() else "no such folder"
            if self.folder.is_file():
                found = "a file"
            raise UserError(
                f"{self.folder}: expected the folder of a run, found {found}; give the folder that "
                "kaggle-digits run names at its end"
            )
        self.check_usable()

    def was_reported(self) -> bool:
        """Return whether the result of a complete run has been shown to its end."""
        return (self.folder / ".reported").exists()

    def note_reported(self, reported: bool) -> None:
        """Note that the result has been shown, or that there will be another one."""
        if reported:
            files.write_bytes(self.folder / ".reported", b"")
        else:
            (self.folder / ".reported").unlink(missing_ok=True)

    def read_seconds(self) -> dict[str, float]:
        """Read the seconds of all earlier invocations: wall, and of it saving and others."""
        noted = files.read_json(self.folder / ".seconds")
        # They only inform: a damaged number counts as none.
        return {
            name: float(noted[name]) if isinstance(noted.get(name), int | float) else 0.0
            for name in ("wall", "saving", "drawing", "reporting")
        }

    def write_seconds(self, seconds: dict[str, float]) -> None:
        """Note the seconds of all invocations so far."""
        files.write_json(self.folder / ".seconds", seconds)

    def made_by_run(self) -> list[Path]:
        """List all that a run leaves behind, there or not, except whose folder it is."""
        return [
            self.fits,
            self.pictures,
            self.report,
            self.submission,
            self.metrics,
            self.config,
            self.manifest,
            self.predictions,
            self.folds,
            self.augmentation,
            self.log,
            self.folder / ".seconds",
            self.folder / ".reported",
        ]

    def evaluations(self) -> list[EvaluationFolder]:
        """List the evaluations of the run that are stored in its folder."""
        found = map(EvaluationFolder, sorted(self.folder.glob(f"{evaluation_folder.PREFIX}*")))
        return [each for each in found if each.holds_evaluation()]

    def clear(self) -> None:
        """Delete what a run and its evaluations leave behind, except whose folder it is.

        Nothing else is touched.
        """
        for evaluation in self.evaluations():
            evaluation.remove()
        for path in self.made_by_run():
            if path in (self.fits, self.pictures):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def remove_report(self) -> None:
        """Delete the report, if there is one: what it shows is no longer what the run has found."""
        self.report.unlink(missing_ok=True)
        shutil.rmtree(self.pictures, ignore_errors=True)

    def digest_of_result(self) -> str:
        """Hash what a report is made of: the config, and what the ensemble predicts."""
        parts = (self.config, self.predictions)
        return files.digest(*(files.checksum(path) if path.is_file() else "" for path in parts))

    def read_predictions(self) -> files.Arrays:
        """Read what the run's ensemble predicts.

        Raises:
            UserError: the file is missing or not as it was written.
        """
        try:
            arrays = files.read_arrays(self.predictions)
            split = "folds" if "folds" in arrays else "held_out"
            return arrays | {name: arrays[name] for name in ("labels", "oof", "test", split)}
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
            text = f"{self.predictions}: it cannot be read ({error}); repeat the command that made"
            raise UserError(f"{text} the run") from error

    def write_folds(self, arrays: files.Arrays) -> None:
        """Write the split."""
        files.write_versioned_arrays(self.folds, arrays, self.format)

    def read_folds(self) -> files.Arrays | None:
        """Read the split, None if there is none.

        Raises:
            files.DamagedError: the file is not as it was written.
            UserError: another version of this program wrote it.
        """
        return files.read_versioned_arrays(self.folds, self.format)

    def changed_artefacts(self) -> list[str]:
        """Name the summary files that are missing or differ from the manifest.

        A fit has checksums of its own; the log grows.
        """
        artefacts = _dict(files.read_json(self.manifest).get("artefacts"))
        summary = [
            (self.folder / name, expected)
            for name, expected in artefacts.items()
            if "/" not in name
        ]
        return [
            path.name
            for path, expected in summary
            if not path.is_file() or files.checksum(path) != expected
        ]

    def torn(self) -> list[str]:
        """Name what is whole but of another moment than the manifest, of what all fits change.

        A process that ends while it writes the summary leaves it so; `run` makes it again.
        """
        written = {path.name for path in (self.submission, self.predictions, self.metrics)}
        changed = written.intersection(self.changed_artefacts())
        return sorted(name for name in changed if (self.folder / name).is_file())

    def wrote(self, path: Path, content: bytes) -> bool:
        """Return whether a summary file's content is the one that the manifest knows."""
        artefacts = _dict(files.read_json(self.manifest).get("artefacts"))
        return artefacts.get(path.name) == files.checksum_of(content)

    def read_submitted(self) -> list[dict]:
        """Read what of the run was uploaded to Kaggle; [] where nothing can be read."""
        noted = files.read_json(self.submitted).get("submissions")
        return [each for each in noted if isinstance(each, dict)] if isinstance(noted, list) else []

    def write_submitted(self, submissions: list[dict]) -> None:
        """Write what of the run was uploaded to Kaggle, a row of the ledger each."""
        files.write_json(self.submitted, {"format": self.format, "submissions": submissions})

    def handed_over(self) -> dict[str, bytes]:
        """Read what a finished run is used and repeated from.

        These are only files that a run makes, so that nothing else that is stored in its folder
        gets into other hands; neither the log nor the place of the data, which are of this machine.

        Returns:
            Each file's content by its path within the folder.

        Raises:
            files.DamagedError: a file is not as it was written, or missing.
        """
        manifest = files.read_json(self.manifest)
        if not manifest:
            raise files.DamagedError(self.manifest, "it is missing or no JSON object")
        summary = [self.submission, self.metrics, self.config, self.predictions, self.folds]
        known = [*summary, self.augmentation]
        changed = self.changed_artefacts()
        for path in known:
            if path.name in changed or (path in summary and not path.is_file()):
                raise files.DamagedError(path, "it is missing or differs from manifest.json")
        for member, fold in self.finished_fits():
            self.read_fit_arrays(member, fold)  # compares all its files' checksums
            names = ("fit.json", *self.read_fit(member, fold)["checksums"])
            known += [self.fit_folder(member, fold) / name for name in names]
        for path in self.fits.glob(f"*{FAILURES}"):
            known += [path] if self.parse_fit_name(path.name.removesuffix(FAILURES)) else []
        contents = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in known
            if path.is_file()
        }
        manifest.pop("data_source", None)
        return contents | {self.manifest.name: files.json_bytes(manifest)}

    def checksums(self) -> dict[str, str]:
        """Hash every artefact by its path within the folder.

        Not those that change later, nor reports and evaluations, which can be made at any time.
        """
        changing = {self.manifest, self.log, self.submitted, self.report, self.pictures}
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path: path.relative_to(self.folder) for path in paths}
        return {
            name.as_posix(): files.checksum(path)
            for path, name in names.items()
            if changing.isdisjoint((path, path.parent))
            and not name.parts[0].startswith(evaluation_folder.PREFIX)
            and not any(part.startswith(".") for part in name.parts)
        }


def _dict(value: object) -> dict:
    """Return a dict as it is; {} for anything else that a damaged file may hold."""
    return value if isinstance(value, dict) else {}
