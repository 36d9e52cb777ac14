"""A run folder as a value for notebooks: its figures, predictions, curves and nets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data import folds
from kaggle_digits.data.submission_csv import check_file, to_csv
from kaggle_digits.errors import UserError
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import summary
from kaggle_digits.scoring import ensemble
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.training import backend, machine_settings

if TYPE_CHECKING:
    import keras
    import pandas as pd

PROGRESS_BATCHES = 8  # that are predicted at once
CLASSES = [str(digit) for digit in range(ensemble.CLASSES)]


class Run:
    """What a run has left in its folder so far; read when it is first asked for.

    Args:
        folder: the run's folder.

    Raises:
        UserError: there is no run in it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = RunFolder(Path(folder))
        if not self._folder.manifest.is_file():
            found = "no manifest.json in it" if self.folder.is_dir() else "no such folder"
            if self.folder.is_file():
                found = "a file"
            raise UserError(
                f"{folder}: expected the folder of a run, found {found}; give the folder that "
                "kaggle-digits run names at its end"
            )
        self._folder.check_usable()

    def __repr__(self) -> str:
        if not self._folder.predictions.is_file():
            return f"Run({str(self.folder)!r}, no fit finished)"
        found = self.metrics
        score = (
            f"out-of-fold accuracy {found.oof_accuracy:.5f}" if found.oof else "no rows held out"
        )
        covered = f", {found.rows_covered}" if found.complete and found.rows_covered else ""
        fits = f"{found.fits_finished} of {found.fits_planned} fits"
        return f"Run({str(self.folder)!r}, {score}{covered}, {fits})"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._folder.folder

    @cached_property
    def config(self) -> Config:
        """The resolved config."""
        return loading.load(str(self._folder.config))

    @cached_property
    def metrics(self) -> RunMetrics:
        """The figures, see `kaggle_digits/results/README.md`."""
        if not self._folder.metrics.is_file():
            raise self._nothing_finished()
        return summary.read_metrics(self._folder)

    @cached_property
    def submission(self) -> pd.DataFrame:
        """The submission: `ImageId` from 1, `Label`."""
        import pandas as pd

        labels = check_file(self._folder.submission, rows=None, balanced=False)
        return pd.DataFrame({"ImageId": np.arange(1, len(labels) + 1), "Label": labels})

    @cached_property
    def oof(self) -> pd.DataFrame:
        """A row for each training row: `label`, `fold` (from 1), `predicted`, a column per class.

        Out-of-fold probabilities; NaN and `predicted` -1 where no fit has held the row out yet.
        Where folds hold rows out several times or never, `times_held_out` stands in the place of
        `fold`; which folds these are: `held_out`.
        """
        arrays = self._arrays
        table = self._probabilities(arrays["oof"])
        table.insert(0, "label", arrays["labels"])
        if "folds" in arrays:
            table.insert(1, "fold", arrays["folds"] + 1)
        else:
            table.insert(1, "times_held_out", self.held_out.sum(axis=1))
        return table

    @cached_property
    def held_out(self) -> pd.DataFrame:
        """A row for each training row, a column for each fold (from 1): whether it holds it out.

        The fits of fold 2 were trained on `~run.held_out[2]`.
        """
        import pandas as pd

        sets = folds.from_arrays(self._arrays)
        rows = np.arange(len(self._arrays["labels"]))
        return pd.DataFrame({fold: np.isin(rows, held) for fold, held in enumerate(sets, start=1)})

    @cached_property
    def test(self) -> pd.DataFrame:
        """A row for each test row, by `ImageId`: `predicted` and a probability per class."""
        table = self._probabilities(self._arrays["test"])
        table.index = np.arange(1, len(table) + 1)
        return table.rename_axis("ImageId")

    @cached_property
    def members(self) -> pd.DataFrame:
        """A row for each finished fit: `member`, `fold`, `errors`, `rows`, `accuracy`, `interval`.

        The interval is the 95 % one of the accuracy on the rows that the fit's fold holds out;
        where it holds none out, both are missing.
        """
        import pandas as pd

        nothing = {"errors": 0, "rows": 0, "accuracy": np.nan, "interval": None}
        rows = [
            {
                "member": name,
                "fold": int(fold.removeprefix("fold")),
                **(vars(score) if score else nothing),
            }
            for name, member in self.metrics.members.items()
            for fold, score in member.fits.items()
        ]
        columns = ["member", "fold", "errors", "rows", "accuracy", "interval"]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row for each epoch of each finished fit: `member`, `fold`, `epoch`, `loss` and others.

        Further columns: `accuracy`, `learning_rate`, `seconds`, `images_per_second`. Loss and
        accuracy are those of the training, on augmented images.
        """
        import pandas as pd

        tables = []
        for member, fold in self._folder.finished_fits():
            table = pd.read_csv(self._folder.history_path(member, fold))
            table.insert(0, "member", member)
            table.insert(1, "fold", fold + 1)
            tables.append(table)
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def predict(
        self, images: np.ndarray, on_progress: Callable[[float], None] = lambda nets: None
    ) -> np.ndarray:
        """Predict images with the ensemble of all finished nets.

        Args:
            images: (n, 28, 28) or (n, 784) or one (28, 28), uint8 or whole numbers of 0..255, white
                on black as in the competition.
            on_progress: is called with the number of nets that are done, a fraction within one.

        Returns:
            (n, 10) float32 probabilities.

        Raises:
            UserError: the images have another shape or other values, a net is damaged, or no fit is
                finished.
        """
        return self._predicted_by_nets(images, on_progress).astype(np.float32)

    def submission_bytes(self, images: np.ndarray | None = None) -> bytes:
        """Make the content of a submission from what the finished fits predict.

        Args:
            images: of other test rows, in their order, as in `predict`; None: the run's own test
                rows, as its fits have predicted them, without a net or a backend.

        Returns:
            A CSV with the columns `ImageId`, from 1, and `Label`.

        Raises:
            UserError: the images are none, a fit's files are damaged, or no fit is finished.
        """
        if images is None:
            test = self._averaged(
                lambda member, fold: self._folder.read_fit_arrays(member, fold)["test"]
            )
        else:
            test = self._predicted_by_nets(images)
        return to_csv(test.argmax(axis=1))

    def _predicted_by_nets(
        self, images: np.ndarray, on_progress: Callable[[float], None] = lambda nets: None
    ) -> np.ndarray:
        """Return (n, 10) float64 probabilities, see `predict`."""
        images = _checked_images(images)
        if not self._folder.finished_fits():
            raise self._nothing_finished()
        backend.configure(machine_settings.as_begun(self.config).train.threads)
        from kaggle_digits.training.train import PREDICT_BATCH, predict

        # Of whole batches, so that what a net predicts of an image does not depend on the pieces;
        # with `test_shift` the last bits of unsure ones may.
        piece, nets_done = PROGRESS_BATCHES * PREDICT_BATCH, count()

        def test_of(member: str, fold: int) -> np.ndarray:
            self._folder.check_net(member, fold)
            net, done = self._net(self._folder.model_path(member, fold)), next(nets_done)
            test_shift = self.config.member(member).augment.test_shift
            found = []
            for start in range(0, max(len(images), 1), piece):
                found.append(predict(net, images[start : start + piece], test_shift))
                on_progress(done + min((start + piece) / max(len(images), 1), 1))
            return np.concatenate(found)

        return self._averaged(test_of)

    def _net(self, path: Path) -> keras.Model:
        """Read a net."""
        import keras

        try:
            return keras.models.load_model(path)
        except (TypeError, ValueError) as error:
            made_by = self._folder.package_versions().get("keras")
            if made_by == keras.__version__:
                raise
            # Nets of a later Keras have settings that an earlier one does not know.
            raise UserError(
                f"{path}: saved by Keras {made_by}, Keras {keras.__version__} cannot read it; "
                f"pip install keras=={made_by}"
            ) from error

    def _averaged(self, test_of: Callable[[str, int], np.ndarray]) -> np.ndarray:
        """Average (n, 10) probabilities of each finished fit, given by member and fold."""
        nothing = np.zeros(0, np.int64), np.zeros((0, 10), np.float32)
        fits = [
            ensemble.FitPredictions(member, fold, *nothing, test_of(member, fold))
            for member, fold in self._folder.finished_fits()
        ]
        if not fits:
            raise self._nothing_finished()
        settings = self.config.ensemble
        return ensemble.test_probabilities(
            ensemble.weighted(fits, settings.weights), settings.method
        )

    @cached_property
    def _arrays(self) -> files.Arrays:
        if not self._folder.predictions.is_file():
            raise self._nothing_finished()
        return self._folder.read_predictions()

    def _nothing_finished(self) -> UserError:
        return UserError(f"{self.folder}: no fit is finished yet; continue the run first")

    def _probabilities(self, probabilities: np.ndarray) -> pd.DataFrame:
        import pandas as pd

        table = pd.DataFrame(probabilities, columns=CLASSES)
        known = ~np.isnan(probabilities[:, 0])
        table.insert(0, "predicted", np.where(known, probabilities.argmax(axis=1), -1))
        return table


def _checked_images(images: np.ndarray) -> np.ndarray:
    """Return (n, 28, 28) uint8."""
    images = np.asarray(images)
    if images.shape[-2:] != (28, 28) and (images.ndim > 2 or images.shape[-1:] != (784,)):
        raise UserError(
            f"predict: expected images of 28 x 28 or 784 pixels, found shape {images.shape}"
        )
    if images.size and not (
        np.issubdtype(images.dtype, np.number)
        and images.min() >= 0
        and images.max() <= 255
        and (images == np.rint(images)).all()
    ):
        raise UserError("predict: expected whole numbers of 0 to 255, found others; scale them")
    return images.reshape(-1, 28, 28).astype(np.uint8)
