import json
from dataclasses import asdict

from kaggle_digits.results.comparison import (
    Comparison,
    PairTest,
    RowDifference,
    RunEntry,
    SettingDifference,
)


def test_what_is_not_known_of_a_run_is_none():
    entry = RunEntry("holiday", "other")
    assert {entry.accuracy, entry.fits, entry.kaggle, entry.date, entry.complete} == {None}
    assert (entry.config, entry.problem, entry.demo, entry.running) == ("", "", False, False)


def test_comparison_is_json():
    found = Comparison(
        (RunEntry("a", "run"), RunEntry("b", "run", accuracy=0.5)),
        (SettingDifference("train.epochs", ("7", None)),),
        (PairTest("a", "b", 9, 1, 2, 1.0, 1.0, True),),
        9,
        3,
        (RowDifference(4, 7, (7, 1), (0.9, 0.2)),),
    )
    values = json.loads(json.dumps(asdict(found)))
    assert values["runs"][1]["accuracy"] == 0.5
    assert values["settings"] == [{"key": "train.epochs", "values": ["7", None]}]
    assert values["tests"][0]["corrected"] == 1.0
    assert values["differences"][0]["predicted"] == [7, 1]
