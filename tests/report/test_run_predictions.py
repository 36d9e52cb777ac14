"""What is said of the predictions of a run made by hand."""

import re
from dataclasses import replace

import numpy as np
from reported import OOF, PREDICTIONS, REPORT

from kaggle_digits.report import run_predictions
from kaggle_digits.report.run_predictions import Found


def rows_of(table):
    return [[cell.text for cell in cells] for cells in table.rows]


def found(**changes):
    return Found(replace(REPORT, **changes))


def test_gallery_of_mistakes():
    (tile,) = run_predictions.mistakes_gallery(found())
    assert (tile.title, tile.notes) == ("4 taken for 9", ("96.0 % sure", "row 5"))
    assert run_predictions.mistakes_gallery(found(train_images=None)) == []


def test_label_that_all_nets_contradict():
    # Twice 0.96 for a 9; that of the rows labelled 9 is 0.91.
    assert rows_of(run_predictions.labels_table(found())) == [
        ["5", "4", "9", "96.0", "0.44", "2", "suspected"]
    ]
    assert run_predictions.labels_sentence(found()) == (
        "All nets that never saw them contradict 1 training row of 20. The label of 1 is suspected "
        "to be wrong: all nets give one other digit, as surely as they give it to rows that have "
        "it as their label."
    )


def test_no_label_is_contradicted():
    right = found(
        predictions=PREDICTIONS[1:2], oof=np.where(np.arange(20)[:, None] % 2, OOF, np.nan)
    )
    assert run_predictions.labels_sentence(right) == (
        "No training row is contradicted by all nets that never saw it."
    )


def test_rows_on_which_nets_disagree():
    table = run_predictions.disagreements_table(found())
    assert rows_of(table) == [["2", "1", "46.0", "2", "1 by 2, 7 by 2"]]
    assert len(table.thumbnails) == 1
    assert run_predictions.disagreements_sentence(found()) == (
        "The 4 nets disagree on 1 of 5 test rows."
    )
    # Two of three say 7, but the mean is surer of the 1 that is submitted.
    most_are_outvoted = run_predictions.disagreements_table(found(predictions=PREDICTIONS[:3]))
    assert rows_of(most_are_outvoted) == [["2", "1", "46.0", "1", "7 by 2, 1 by 1"]]
    one = found(predictions=PREDICTIONS[:1])
    assert run_predictions.disagreements_table(one) is None
    assert "needs at least two finished fits" in run_predictions.disagreements_sentence(one)


def test_least_certain_test_digits():
    first, second, *_ = run_predictions.uncertain_gallery(found())
    assert (first.title, first.notes) == ("read as 1", ("46.0 % sure", "ImageId 2"))
    assert second.notes[0] == "91.0 % sure"


def test_what_averaging_gains():
    averaged, on_test = run_predictions.ensembling_sentences(found())
    # Nets are wrong in rows 4, 4 and 7, of 40 predictions.
    assert averaged == (
        "Out of fold a single net is right on 0.92500 of the rows, on average (1.5 wrong); the "
        "average of 2 members on 0.95000 (1 wrong of 20 rows that all have predicted)."
    )
    assert on_test.startswith("On the test rows all 4 nets are averaged, those of all folds: ")
    assert rows_of(run_predictions.members_table(found())) == [
        ["a", "1", "0.95000", "2", "1", "0", "1"],
        ["b", "2", "0.90000", "1", "0", "0", "1"],
    ]


def test_one_member_gains_nothing_out_of_fold():
    one = found(predictions=PREDICTIONS[:2])
    assert next(run_predictions.ensembling_sentences(one)) == (
        "Out of fold each row is predicted by one member's net alone, so averaging shows nothing "
        "there."
    )
    assert run_predictions.members_table(one) is None


def test_selected_members_are_not_judged_by_the_rows_that_selected_them():
    selected = found(is_selected=True)
    assert run_predictions.members_table(selected) is None
    first, second, third = run_predictions.ensembling_sentences(selected)
    assert first == (
        "Out of fold the ensemble is right on 0.95000 of the rows (1 wrong of 20), each judged by "
        "weights that were selected without its fold."
    )
    assert second == run_predictions.SELECTED
    assert third.startswith("On the test rows all 4 nets are averaged")


def test_calibration_sentence():
    fitted = re.compile(
        r"Expected calibration error 0\.\d{4} as predicted, 0\.\d{4} after a temperature that was "
        r"fitted, for each row, on other rows\."
    )
    assert fitted.fullmatch(run_predictions.calibration_sentence(found()))
    # Where folds overlap or leave rows out, parts of the rows stand in their place.
    assert fitted.fullmatch(run_predictions.calibration_sentence(found(folds=None)))
    one = found(folds=np.zeros(20, int))
    assert run_predictions.calibration_sentence(one).endswith(" as predicted.")
