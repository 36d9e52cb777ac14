import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from found_evaluation import FOUND

from kaggle_digits.results import evaluation, record
from kaggle_digits.results.evaluation import CalibrationBins, Evaluation
from kaggle_digits.scoring.calibration import Calibration


def test_record_survives_its_file():
    dumped = json.loads(json.dumps(record.to_json(FOUND, evaluation.FORMAT)))
    assert list(dumped) == ["format", *(field.name for field in fields(Evaluation))]
    assert dumped["mistakes"] == [{"row": 5, "label": 4, "predicted": 9, "confidence": 0.75}]
    assert record.from_json(Evaluation, dumped, evaluation.FORMAT, Path("e.json")) == FOUND


def test_tables():
    assert FOUND.class_table.loc[3, ["recall", "support"]].tolist() == [0.5, 3]
    assert FOUND.confusion_table.loc[4, 9] == 1
    assert FOUND.confusion_table.to_numpy().sum() == 8
    assert (FOUND.confusion_table.index.name, FOUND.confusion_table.columns.name) == (
        "label",
        "predicted",
    )
    assert FOUND.mistake_table.to_dict("records") == [
        {"row": 5, "label": 4, "predicted": 9, "confidence": 0.75}
    ]


def test_a_table_without_mistakes_has_its_columns():
    none = replace(FOUND, mistakes=()).mistake_table
    assert none.columns.tolist() == ["row", "label", "predicted", "confidence"]
    assert len(none) == 0


def test_calibration_there_and_back():
    found = Calibration(np.array([1, 3]), np.array([0.5, 0.9]), np.array([1.0, 2 / 3]))
    bins = CalibrationBins.of(found)
    assert bins == CalibrationBins((1, 3), (0.5, 0.9), (1.0, 2 / 3), pytest.approx(0.3))
    assert bins.arrays().expected_error == pytest.approx(0.3)
