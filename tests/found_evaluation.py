"""The record of an evaluation made by hand: seven ones are right, a 4 is taken for a 9."""

import numpy as np

from kaggle_digits.results.evaluation import CalibrationBins, ClassScore, Evaluation, Mistake
from kaggle_digits.scoring.ensemble import Score

CONFUSION = np.diag([0, 7, *[0] * 8])
CONFUSION[4, 9] = 1
FOUND = Evaluation(
    run="quick-1",
    source="digits.npz",
    part="test",
    out_of_fold=False,
    nets=3,
    score=Score(errors=1, rows=8, accuracy=0.875, interval=(0.53, 0.98)),
    log_loss=0.25,
    classes=tuple(ClassScore(digit, None, 0.5, None, digit) for digit in range(10)),
    confusion=tuple(map(tuple, CONFUSION.tolist())),
    calibration=CalibrationBins((8,), (0.9,), (0.875,), 0.025),
    temperature=1.25,
    calibrated=CalibrationBins((8,), (0.88,), (0.875,), 0.005),
    calibrated_log_loss=0.24,
    mistakes=(Mistake(5, 4, 9, 0.75),),
    rows_in_training=2,
    with_training_rows=Score(errors=1, rows=10, accuracy=0.9, interval=(0.6, 0.98)),
)
