"""What the evaluation of a run on labelled rows has found: the record that `evaluation.json` holds.

Every key, its unit and its meaning: README.md in this folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from kaggle_digits.scoring.calibration import Calibration
from kaggle_digits.scoring.ensemble import CLASSES, Score

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1  # of evaluation.json; raise it when a key changes its meaning


@dataclass(frozen=True)
class ClassScore:
    """How well one digit is recognised; a figure is None where there is nothing to divide by.

    Attributes:
        digit: 0..9.
        precision: of the rows that were taken for it, the fraction that are it.
        recall: of its rows, the fraction that were recognised.
        f1: harmonic mean of the two.
        support: rows of this digit.
    """

    digit: int
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class Mistake:
    """A row that was predicted wrongly.

    Attributes:
        row: its number within the evaluated part, from 0.
        label: what it is.
        predicted: what it was taken for.
        confidence: probability of the predicted class.
    """

    row: int
    label: int
    predicted: int
    confidence: float


@dataclass(frozen=True)
class CalibrationBins:
    """`scoring.calibration.Calibration` as a record.

    Attributes:
        rows: rows in each bin of confidence.
        confidence: their mean confidence.
        accuracy: the fraction of them that is right.
        expected_error: expected calibration error.
    """

    rows: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    expected_error: float

    @classmethod
    def of(cls, found: Calibration) -> CalibrationBins:
        """Make a record of a calibration."""
        columns = (found.rows, found.confidence, found.accuracy)
        return cls(*(tuple(column.tolist()) for column in columns), found.expected_error)

    def arrays(self) -> Calibration:
        """Return it as charts take it."""
        return Calibration(*map(np.array, (self.rows, self.confidence, self.accuracy)))


@dataclass(frozen=True)
class Evaluation:
    """The figures of a run on labelled rows; all but `with_training_rows` are without rows it knew.

    Attributes:
        run: name of the run's folder.
        source: where the rows come from, for people.
        part: which part of it they are: `test.csv` for one.
        out_of_fold: they are the run's own training rows, each predicted by nets that never saw it.
        nets: how many nets predict.
        score: accuracy with its 95 % interval.
        log_loss: mean over rows, nats.
        classes: one for each digit, in order.
        confusion: rows by label (lines) and predicted class.
        calibration: of the probabilities as they are.
        temperature: fitted on the run's out-of-fold predictions; None: there are none, or, out of
            fold, each fold has its own, fitted on the others.
        calibrated: of the probabilities after the temperature; None: there is none.
        calibrated_log_loss: mean over rows after the temperature, nats.
        mistakes: all wrong rows, the most confident first.
        rows_in_training: rows whose pixels are also in the run's training data, which are left out;
            None: that data was not found, so nobody knows.
        with_training_rows: the score with these rows, which is not honest; None: there are none.
        optimistic: out of fold, choices were made by these rows, or perhaps by some of them.
        optimistic_because: who made them, see `RunMetrics`; () in records of earlier versions.
        demo_data: the run was trained on the demo data.
        data: BLAKE2b digest of the rows that were given, out of fold of the run's labels; "": not
            known.
    """

    run: str
    source: str
    part: str
    out_of_fold: bool
    nets: int
    score: Score
    log_loss: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: CalibrationBins
    temperature: float | None = None
    calibrated: CalibrationBins | None = None
    calibrated_log_loss: float | None = None
    mistakes: tuple[Mistake, ...] = ()
    rows_in_training: int | None = 0
    with_training_rows: Score | None = None
    optimistic: bool = False
    optimistic_because: tuple[Literal["search", "training"], ...] = ()
    demo_data: bool = False
    data: str = ""

    @property
    def class_table(self) -> pd.DataFrame:
        """A row for each digit: `precision`, `recall`, `f1`, `support`."""
        import pandas as pd

        return pd.DataFrame([asdict(each) for each in self.classes]).set_index("digit")

    @property
    def confusion_table(self) -> pd.DataFrame:
        """Rows by label (index) and predicted class (columns)."""
        import pandas as pd

        digits = range(CLASSES)
        labels = pd.Index(digits, name="label")
        columns = pd.Index(digits, name="predicted")
        return pd.DataFrame(np.array(self.confusion), index=labels, columns=columns)

    @property
    def mistake_table(self) -> pd.DataFrame:
        """A row for each wrong row: `row`, `label`, `predicted`, `confidence`."""
        import pandas as pd

        columns = list(Mistake.__dataclass_fields__)
        return pd.DataFrame([asdict(each) for each in self.mistakes], columns=columns)
