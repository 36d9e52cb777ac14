"""The page of an evaluation made by hand."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
from found_evaluation import FOUND

from kaggle_digits.report import evaluation_page
from kaggle_digits.results.evaluation import Mistake

IMAGES = np.random.default_rng(1).integers(0, 256, (100, 28, 28), np.uint8)


def text_of(page):
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", page).split())).replace(" ,", ",")


def test_equal_records_give_equal_pages_that_refer_to_nothing_outside():
    page = evaluation_page.page(FOUND, IMAGES)
    assert page == evaluation_page.page(FOUND, IMAGES)
    assert page.count('<svg role="img"') == 3
    assert "http" not in page.replace("http-equiv", "")
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(set(ids)) == len(ids)


def test_figures_stand_on_it():
    page = text_of(evaluation_page.page(FOUND, IMAGES))
    for part in (
        "Evaluation of quick-1 on digits.npz",
        "KNOWN ROWS 2 rows of 10 are also in the run's training data, and left out.",
        "accuracy 0.87500 1 of 8 rows wrong",
        "95 % interval 0.53000 to 0.98000",
        "log loss 0.25000 nats a row after a temperature 0.24000",
        "expected calibration error 0.02500",
        "accuracy with known rows 0.90000 1 of 10 rows wrong not honest: nets know some of them",
        "4 taken for 9 75.0 % sure row 6",
        "digits.npz, test",
        "1.250, fitted on the run's out-of-fold predictions",
    ):
        assert part in page, part
    assert "DEMO DATA" not in page


def test_gallery_is_of_the_rows_that_are_wrong():
    mistakes = tuple(Mistake(row, 1, 2, 0.5) for row in range(70))
    page = evaluation_page.page(replace(FOUND, mistakes=mistakes), IMAGES)
    assert page.count('<img src="data:image/png;base64,') == evaluation_page.MISTAKES
    assert "60 of 70. Rows count from 1." in text_of(page)
    assert "36 more" in text_of(page)
    few = evaluation_page.page(replace(FOUND, mistakes=mistakes[:2]), IMAGES)
    assert few.count("<img") == 2
    assert "<details>" not in few


def test_without_images_it_says_so():
    page = evaluation_page.page(FOUND, None)
    assert "<img" not in page
    assert "1 rows are wrong; they cannot be shown" not in page
    assert "1 row is wrong; it cannot be shown" in text_of(page)
    right = replace(FOUND, mistakes=())
    assert "None: every row is right." in text_of(evaluation_page.page(right, IMAGES))


def test_demo_data_and_cross_fitting():
    found = replace(FOUND, demo_data=True, out_of_fold=True, temperature=None)
    page = evaluation_page.page(found, IMAGES)
    assert "<title>DEMO DATA: Evaluation of quick-1, out of fold</title>" in page
    assert page.count("DEMO DATA</b>") == 1
    assert "each fold's is fitted on the other folds" in text_of(page)


def test_without_a_temperature():
    found = replace(FOUND, temperature=None, calibrated=None, calibrated_log_loss=None)
    page = evaluation_page.page(found, IMAGES)
    assert "temperature" not in text_of(page)
